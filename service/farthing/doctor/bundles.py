"""Checks each route's bundle in a process of its own, as a worker would load it: digests, fields and golden events.

A process of its own, because an instruction that this CPU lacks ends it, and because compiling kernels cannot be
stopped otherwise. It keeps nothing: neither kernels nor byte code.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from farthing.doctor.checks import Row, failed, ok, skipped, warning
from farthing.errors import FarthingError
from farthing.sections import RouteSettings

TIMEOUT_S: Final = 12.0
"""Loading takes about two seconds with kept kernels; compiling them may take a minute."""


async def bundle(route: RouteSettings) -> list[Row]:
    """Load a route's bundle and give known events to it."""
    check = f"bundle of {route.source}"
    wanted = json.dumps({"bundle": route.bundle, "fields": route.fields, "max_event_bytes": route.max_event_bytes})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-B", "-m", "farthing.doctor.bundles", wanted,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        return [
            warning(
                check,
                f"not loaded within {TIMEOUT_S:.0f} s, most likely because kernels are being compiled",
                f"run `farthing model warm {route.bundle}`, then this again",
            )
        ]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    code = process.returncode or 0
    if code < 0:
        name = signal.Signals(-code).name
        mend = "set NUMBA_CPU_NAME to this CPU, or use an image made for it" if name == "SIGILL" else "report it"
        return [failed(check, f"loading it ended with {name}", mend)]
    try:
        return rows_of(check, route.bundle, json.loads(output))
    except ValueError:
        last = (errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
        return [failed(check, f"loading it ended with exit code {code}: {last}", "report it")]


def rows_of(check: str, bundle: str, found: Mapping[str, Any]) -> list[Row]:
    """Say what the process found."""
    if "error" in found:
        what, _, mend = str(found["error"]).partition("; ")
        return [failed(check, what, mend or f"copy the bundle again, and try `farthing model verify {bundle}`")]
    rows = [
        ok(check, f"{found['model']}: digests hold, and {found['golden_events']} known events have their scores here")
    ]
    return [*rows, *signature(check, found)]


def signature(check: str, found: Mapping[str, Any]) -> list[Row]:
    """Say whether the bundle is signed; nothing where signatures are not asked for."""
    if "signature" not in found:
        return []
    good, text = found["signature"]
    mend = "sign it, or fetch it again from where it was signed"
    return [ok(f"{check}: signature", text) if good else failed(f"{check}: signature", text, mend)]


def no_route() -> Row:
    """Return the row for settings without a route."""
    return skipped("bundle", "there is no route")


def main(arguments: Sequence[str]) -> int:
    """Load a bundle and print what was found as JSON."""
    from farthing.kernels.cache import KernelCache
    from farthing.model.scorer import Scorer

    KernelCache.save_overload = lambda *_: None  # type: ignore[method-assign]
    wanted = json.loads(arguments[0])
    try:
        scorer = Scorer.load(
            wanted["bundle"], max_event_bytes=wanted["max_event_bytes"], fields=wanted["fields"], verify=False
        )
        found: dict[str, Any] = {"model": scorer.model_id, "golden_events": scorer.verify().golden_events}
    except FarthingError as error:
        found = {"error": str(error)}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from farthing.doctor.checks import Row, failed, ok, skipped, warning
from farthing.errors import BundleError, FarthingError
from farthing.sections import RouteSettings

if TYPE_CHECKING:
    from farthing.scoring.signature import TrustedKeys

TIMEOUT_S: Final = 12.0
"""Loading takes about two seconds with kept kernels; compiling them may take a minute."""


async def bundle(route: RouteSettings, trusted_keys: Sequence[str] = ()) -> list[Row]:
    """Load a route's bundle and give known events to it; with keys, its signature must be by one of them."""
    check = f"bundle of {route.source}"
    wanted = json.dumps(
        {
            "bundle": route.bundle, "fields": route.fields, "max_event_bytes": route.max_event_bytes,
            "trusted_keys": trusted_keys,
        }
    )  # fmt: skip
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
        if not mend and found.get("missing"):
            what, _, mend = what.rpartition(". ")
        mend = mend or f"copy the bundle again, and try `farthing model verify {bundle}`"
        return [failed(check, what, mend), *signature(check, found)]
    rows = [
        ok(check, f"{found['model']}: digests hold, and {found['golden_events']} known events have their scores here")
    ]
    return [*rows, *signature(check, found)]


def signature(check: str, found: Mapping[str, Any]) -> list[Row]:
    """Say whether the bundle is signed; nothing where signatures are not asked for."""
    if "signature" not in found:
        return []
    good, text = found["signature"]
    mend = "sign it (`farthing model sign`), or get it again from who signed it"
    return [ok(f"{check}: signature", text) if good else failed(f"{check}: signature", text, mend)]


def signed(folder: Path, trusted: TrustedKeys) -> tuple[bool, str]:
    """Check the signature of the bundle in a folder: whether it is right, and what was found."""
    from farthing.scoring.column_bundle import COLUMN_MANIFEST, is_column_bundle
    from farthing.scoring.manifest import MANIFEST

    file = folder / (COLUMN_MANIFEST if is_column_bundle(folder) else MANIFEST)
    try:
        trusted.check(file, file.read_bytes())
    except (BundleError, OSError) as error:
        return False, str(error)
    return True, f"by the key in {' or '.join(name for name, _ in trusted.keys)}"


def no_route() -> Row:
    """Return the row for settings without a route."""
    return skipped("bundle", "there is no route")


def main(arguments: Sequence[str]) -> int:
    """Load a bundle and print what was found as JSON."""
    from farthing.kernels.cache import KernelCache
    from farthing.model.scorer import Scorer
    from farthing.model.shipped import find_bundle
    from farthing.payload import naming
    from farthing.scoring.signature import TrustedKeys

    KernelCache.save_overload = lambda *_: None  # type: ignore[method-assign]
    wanted = json.loads(arguments[0])
    found: dict[str, Any] = {"missing": True}
    try:
        folder = find_bundle(wanted["bundle"])
        found = {}
        with naming("model.trusted_keys:"):
            trusted = TrustedKeys.read(wanted["trusted_keys"])
        if trusted:
            found["signature"] = signed(folder, trusted)
        scorer = Scorer.load(folder, max_event_bytes=wanted["max_event_bytes"], fields=wanted["fields"], verify=False)
        found |= {"model": scorer.model_id, "golden_events": scorer.verify().golden_events}
    except FarthingError as error:
        found["error"] = str(error)
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

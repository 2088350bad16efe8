"""Takes the traffic to estimate with from a running ledger: volume, sizes, rows and scripts of real events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from farthing.errors import ConfigError
from farthing.ledger.client import ask
from farthing.meter.opponents import Traffic
from farthing.meter.study import TokenBasis
from farthing.meter.usage import SizeCount


@dataclass(frozen=True, slots=True)
class Live:
    """One route as the ledger has seen it."""

    topic: str
    task: str
    events_per_day: int
    events_per_day_from: str  # what the volume is extrapolated from, in words
    traffic: Traffic
    tokens: TokenBasis | None  # None: no text was sampled


def read_live(address: str, task: str | None = None, token_file: Path | None = None) -> Live:
    """Ask the ledger at ``address`` for its busiest route, or for the busiest with ``task``.

    ``token_file`` is the setting ``ledger.token_file``.

    Raises
    ------
    ConfigError
        Nothing was scored, or no route has the task; the address is not valid, or is not a ledger's.
    StartError
        Nothing answers there, or the ledger is not ready.
    """
    statement = ask(address, "/api/statement?window=all", token_file)
    try:
        routes = [route for route in statement["routes"] if route["scored"]]
        with_task = [route for route in routes if task in (None, route["task"])]
        if not with_task:
            tasks = ", ".join(sorted({route["task"] for route in routes})) or "nothing"
            raise ConfigError(
                f"--ledger {address}: it has scored {tasks}, and no {task or 'event'}; leave out --ledger or --task"
            )
        chosen = max(with_task, key=lambda route: (route["events_per_day"], route["scored"]))
        if statement["comparison"] is None:
            raise ConfigError(f"--ledger {address}: its events fit into no context window of the models compared with")
        return _live(chosen, str(statement["comparison"]["events_per_day_from"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--ledger {address}: this Farthing cannot read its statement ({type(error).__name__}: {error}); "
            "are both of the same version?"
        ) from error


def _live(route: Mapping[str, Any], basis: str) -> Live:
    # How many events are in each class is not used, only the sizes of their calls.
    calls = {at: SizeCount(int(one["calls"]), int(one["prompt_bytes"])) for at, one in enumerate(route["sizes"])}
    traffic = Traffic(calls, Fraction(int(route["rows"]), int(route["scored"])))
    scripts = {name: int(size) for name, size in route["sampled_bytes_by_script"].items() if size}
    return Live(
        str(route["topic"]), str(route["task"]), max(int(route["events_per_day"]), 1), basis, traffic,
        TokenBasis(scripts) if scripts else None,
    )  # fmt: skip

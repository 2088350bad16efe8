"""One finding is one row: what was looked at, how it is, what was found and, if it is wrong, its mend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from farthing.errors import FarthingError

State = Literal["ok", "warning", "failed", "skipped"]
STATES: Final = ("ok", "warning", "failed", "skipped")

CHECK_TIMEOUT_S: Final = 5.0
"""For one check that asks a broker."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    check: str
    state: State
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        return asdict(self)


def ok(check: str, found: str) -> Row:
    """Return a row of what is as it should be."""
    return Row(check, "ok", found)


def warning(check: str, found: str, mend: str) -> Row:
    """Return a row of what works, but not as well or as long as it should."""
    return Row(check, "warning", found, mend)


def failed(check: str, found: str, mend: str) -> Row:
    """Return a row of what does not work."""
    return Row(check, "failed", found, mend)


def skipped(check: str, why: str, mend: str = "") -> Row:
    """Return a row of what could not be looked at."""
    return Row(check, "skipped", why, mend)


def passed(rows: Iterable[Row]) -> bool:
    """Whether nothing has failed."""
    return all(row.state != "failed" for row in rows)


def counted(rows: Sequence[Row]) -> str:
    """Return how many rows there are of each state, in words."""
    counts = [(sum(row.state == state for row in rows), state) for state in STATES]
    return ", ".join(f"{n} {state}" for n, state in counts if n)


async def within(
    check: str,
    ask: Callable[[], Awaitable[list[Row]]],
    errors: tuple[type[BaseException], ...],
    *,
    seconds: float = CHECK_TIMEOUT_S,
) -> list[Row]:
    """Run one check. What it raises of ``errors``, or the end of its time, becomes its row."""
    try:
        return await asyncio.wait_for(ask(), seconds)
    except TimeoutError:
        return [failed(check, f"no answer within {seconds:.0f} s", "look at the brokers, and at the network between")]
    except FarthingError as error:
        found, _, mend = str(error).partition("; ")
        return [failed(check, found, mend or "see the message")]
    except errors as error:
        text = f"{type(error).__name__} {error}".strip()
        return [failed(check, f"the broker answers {text}", "look at the broker's log, and check this client's rights")]

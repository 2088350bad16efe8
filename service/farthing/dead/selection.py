"""Chooses letters: by reason, partition, time and fields, as the flags of ``farthing dead`` say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from farthing.dead.letters import Letter
from farthing.errors import ConfigError
from farthing.payload.paths import ABSENT, FieldPath, parse_path

_AGO: Final = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PLACE: Final = re.compile(r"([0-9]{1,10}):([0-9]{1,19})")
UNREADABLE: Final = object()
"""What :func:`read_json` returns for a value that is not JSON."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant. An empty part of it leaves nothing out."""

    reasons: frozenset[str] = frozenset()
    partitions: frozenset[int] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None  # before this time
    fields: tuple[tuple[FieldPath, Any], ...] = ()
    places: frozenset[tuple[int, int]] = frozenset()

    def takes(self, letter: Letter) -> bool:
        """Whether this letter is meant."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.partitions and letter.partition not in self.partitions:
            return False
        if self.places and (letter.partition, letter.offset) not in self.places:
            return False
        if self.since_ms is not None and letter.at_ms < self.since_ms:
            return False
        if self.until_ms is not None and letter.at_ms >= self.until_ms:
            return False
        if not self.fields:
            return True
        event = read_json(letter.value)
        return all(_is(path.find(event), wanted) for path, wanted in self.fields)


def make_selection(
    *, reasons: Sequence[str] = (), partitions: Sequence[int] = (), since: str | None = None, until: str | None = None,
    fields: Sequence[str] = (), places: Sequence[str] = (), now_ms: int,
) -> Selection:  # fmt: skip
    """Read the flags.

    Raises
    ------
    ConfigError
        One of them cannot be read; the message names it and shows how it is written.
    """
    return Selection(
        frozenset(reason.lower() if reason.isupper() else reason for reason in reasons),
        frozenset(partitions),
        None if since is None else parse_time(since, flag="--since", now_ms=now_ms),
        None if until is None else parse_time(until, flag="--until", now_ms=now_ms),
        tuple(_parse_field(text) for text in fields),
        frozenset(_parse_place(text) for text in places),
    )


def parse_time(text: str, *, flag: str, now_ms: int) -> int:
    """Read a time as ms since the epoch: ``2026-11-27``, ``2026-11-27T08:30:00Z``, or ``90m`` for 90 minutes ago.

    Raises
    ------
    ConfigError
        It is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_ms - int(ago[1]) * _SECONDS[ago[2]] * 1000
    try:
        time = datetime.fromisoformat(text.strip())
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{flag} {text}: write a time such as 2026-11-27T08:30:00Z (UTC where no zone is given), or how long ago: "
            "30s, 90m, 12h, 7d"
        ) from error


def read_json(value: bytes | None) -> object:
    """Read a value as JSON; UNREADABLE if it is none, or too deep or too large for Python."""
    try:
        return json.loads(value or b"")
    except (ValueError, RecursionError):
        return UNREADABLE


def _parse_field(text: str) -> tuple[FieldPath, Any]:
    path, equals, wanted = text.partition("=")
    if not equals:
        raise ConfigError(f"--field {text}: write PATH=VALUE, as in --field user.id=42 or --field lang=en")
    parsed = parse_path(path.strip().removeprefix("."))  # jq begins its paths with a dot
    if parsed.array >= 0:
        raise ConfigError(f"--field {text}: a path through an array leads to many values; name one of an object")
    value = read_json(wanted.encode())
    return parsed, wanted if value is UNREADABLE else value


def _parse_place(text: str) -> tuple[int, int]:
    match = _PLACE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(
            f"{text}: write PARTITION:OFFSET of the event in its source, as `farthing dead show` prints it"
        )
    return int(match[1]), int(match[2])


def _is(found: object, wanted: object) -> bool:
    """Whether a field has the value that was asked for: 1 is not true, and 42 may be meant as the text "42" too."""
    if found is ABSENT or found is UNREADABLE:
        return False
    if isinstance(found, str) and not isinstance(wanted, str):
        return found == json.dumps(wanted)
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)

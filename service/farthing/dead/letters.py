"""Takes dead letters apart: the event as it came, and what Farthing said of it in headers of its own.

Headers whose names are not known here are kept and shown, so that letters of a newer version can be read too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from farthing.blocks import FetchedPartition, RecordBlock
from farthing.wire import Arena, Limits, decode_whole, letter_key
from farthing.wire.varint import MAX_VARINT_BYTES, read_varlong_reference

PREFIX: Final = b"farthing.error."
KEY_HEADER: Final = b"farthing.error.key"
"""Header of a letter whose own key is another, because its topic is compacted: the event's key."""
RESERVED: Final = b"farthing."
FOREIGN: Final = "(not written by Farthing)"
NO_REASON: Final = "(no reason)"
_SHA256: Final = re.compile("[0-9a-f]{64}")
_SHOWN_BYTES: Final = 4096  # of a header of ours: no honest one is longer

Header = tuple[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Letter:
    """One record of a dead-letter topic."""

    topic: str
    partition: int
    position: int  # its own offset, in the dead-letter topic
    timestamp_ms: int  # of the record
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]  # the event's own
    error: dict[str, str]  # what follows ``farthing.error.`` in a header's name -> its value
    named: str | None = None  # the event's topic, where only the letter's key had room for it

    @property
    def offset(self) -> int | None:
        """The event's offset in its source; None if the letter does not say, because Farthing did not write it."""
        return _number(self.error.get("offset"))

    @property
    def log(self) -> int:
        """Which log of its source the event is of: 0, or a number from 1 on if that one has taken another's place."""
        return _number(self.error.get("log")) or 0

    @property
    def reason(self) -> str:
        """Why the event could not be scored."""
        return FOREIGN if self.offset is None else self.error.get("reason", NO_REASON)

    @property
    def source(self) -> str | None:
        """The topic that the event came from; None if the letter had no room to say."""
        return self.error.get("topic", self.named)

    @property
    def at_ms(self) -> int:
        """When it was written, as far as it says; else the time of its record, which is the event's."""
        time_ms = _number(self.error.get("time_ms"))
        return self.timestamp_ms if time_ms is None else time_ms

    @property
    def event_timestamp_ms(self) -> int:
        """The event's own timestamp."""
        stated = _number(self.error.get("timestamp_ms"))
        return self.timestamp_ms if stated is None else stated

    @property
    def batch_stop(self) -> int | None:
        """The offset after the last event, if the letter holds a whole record batch that could not be read."""
        return _number(self.error.get("next_offset"))

    @property
    def is_bare(self) -> bool:
        """Whether there was room for the reason and the event's place only, and perhaps for its value's digest."""
        return self.offset is not None and "topic" not in self.error

    @property
    def cut(self) -> tuple[str, ...]:
        """Which parts of the event are not whole in the letter."""
        if self.is_bare:
            return ("key", "value", "headers")
        return tuple(part for part in ("key", "value", "headers") if f"{part}_bytes" in self.error)

    def digest(self, part: str) -> bytes | None:
        """Return the SHA-256 of the event's whole ``key`` or ``value``, a null one's as an empty one's.

        None if the letter does not say it.
        """
        if part not in self.cut:
            return hashlib.sha256((self.key if part == "key" else self.value) or b"").digest()
        stated = self.error.get(f"{part}_sha256", "")
        return bytes.fromhex(stated) if _SHA256.fullmatch(stated) else None

    @property
    def place(self) -> str:
        """Where the event is in its source: ``PARTITION:OFFSET``."""
        return f"{self.partition}:{self.offset if self.offset is not None else '?'}"


def read_letters(part: FetchedPartition, arena: Arena, limits: Limits | None = None) -> Iterator[Letter]:
    """Yield the letters that one fetch returned, in log order; of one over the limits there is the head only.

    Raises
    ------
    DecodeError
        A record batch cannot be read; those before it have been yielded.
    """
    for records in decode_whole(part, arena, limits or Limits()):
        for k in range(len(records)):
            yield _letter(part, records, k)
        for segment in records.segments:
            if segment.fault is not None:
                raise segment.fault


def _letter(part: FetchedPartition, records: RecordBlock, k: int) -> Letter:
    own, error = [], {}
    key, has_moved = bytes_at(records, records.key_start[k], records.key_stop[k]), False
    for name, value in record_headers(records, k):
        if name == KEY_HEADER:
            key, has_moved = value, True
        elif name.startswith(PREFIX):
            text = (value or b"")[:_SHOWN_BYTES].decode("utf-8", "replace")
            error[name.removeprefix(PREFIX).decode("utf-8", "replace")] = text
        elif not name.startswith(RESERVED):
            own.append((name, value))
    value = bytes_at(records, records.value_start[k], records.value_stop[k])
    letter = Letter(
        part.topic, part.partition, int(records.offsets[k]), int(records.timestamps_ms[k]), key, value, tuple(own),
        error,
    )  # fmt: skip
    if has_moved or key is None or letter.offset is None:
        return letter
    # In a compacted topic the key is the event's place; where no header has the event's, it has none.
    place = letter_key(letter.source or "", letter.partition, letter.offset, letter.log)
    if not letter.is_bare:
        return replace(letter, key=None) if key == place else letter
    named = key.removesuffix(place).decode("utf-8", "replace")
    return replace(letter, key=None, named=named) if key.endswith(place) and named else letter


def record_headers(records: RecordBlock, row: int) -> list[Header]:
    """Return one record's headers; :func:`farthing.wire.decode` has checked their lengths."""
    at, stop, found = int(records.headers_start[row]), int(records.headers_stop[row]), []
    for _ in range(int(records.header_count[row])):
        size, at = read_varlong_reference(records.buffer, at, stop, MAX_VARINT_BYTES)
        name = records.buffer[at : at + size].tobytes()
        at += size
        size, at = read_varlong_reference(records.buffer, at, stop, MAX_VARINT_BYTES)
        found.append((name, None if size < 0 else records.buffer[at : at + size].tobytes()))
        at += max(size, 0)
    return found


def bytes_at(records: RecordBlock, start: int, stop: int) -> bytes | None:
    """Return a key's or a value's bytes; None if it is null."""
    return None if start < 0 else records.buffer[start:stop].tobytes()


def _number(text: str | None) -> int | None:
    """Read decimal digits; None for anything else: a header may be anybody's."""
    number = int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 20 else None
    return number if number is None or number < 1 << 63 else None

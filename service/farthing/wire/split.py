"""Takes a batch of ours apart and puts its records together again, for the rare one that a broker refuses.

Plain Python: it runs for batches that are refused, and for no others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from farthing.blocks import Bytes, OutputBatch
from farthing.wire import codec, layout
from farthing.wire.dead import DEAD_OFFSET_HEADER, DEAD_TIMESTAMP_HEADER
from farthing.wire.encode import TIMESTAMP_HEADER, pack
from farthing.wire.topic_limits import NO_TIMESTAMP
from farthing.wire.varint import MAX_VARINT_BYTES, MAX_VARLONG_BYTES, read_varlong_reference, varlong
from farthing.wire.write import header_bytes, seal

_NO_LIMIT: Final = 1 << 62
_NULL: Final = varlong(-1)  # as a length


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One record of a batch, without its place in it."""

    timestamp_ms: int
    key_and_value: bytes  # encoded, with their lengths
    headers: bytes  # encoded, without their number
    header_count: int

    @property
    def has_null_key(self) -> bool:
        """Whether it has no key."""
        return self.key_and_value.startswith(_NULL)

    def header(self, name: bytes) -> bytes | None:
        """Return the value of the last header with this name; None where it has none, or a null."""
        data, at, found = np.frombuffer(self.headers, np.uint8), 0, None
        for _ in range(self.header_count):
            size, at = read_varlong_reference(data, at, len(data), MAX_VARINT_BYTES)
            key = self.headers[at : at + size]
            at += size
            size, at = read_varlong_reference(data, at, len(data), MAX_VARINT_BYTES)
            if key == name:
                found = None if size < 0 else self.headers[at : at + size]
            at += max(size, 0)
        return found

    def untimed(self) -> OutputRecord:
        """Return the record without a timestamp, and with a header that states the one it had."""
        if self.timestamp_ms == NO_TIMESTAMP:
            return self
        name = TIMESTAMP_HEADER if self.header(DEAD_OFFSET_HEADER) is None else DEAD_TIMESTAMP_HEADER
        stated = header_bytes(name.decode(), str(self.timestamp_ms))
        known = self.header(name) is not None  # the event's, which was moved already
        return replace(
            self,
            timestamp_ms=NO_TIMESTAMP,
            headers=self.headers if known else self.headers + stated,
            header_count=self.header_count + (0 if known else 1),
        )


def records_of(batch: OutputBatch) -> list[OutputRecord]:
    """Return a batch's records in order."""
    base_timestamp = int(layout.be64(batch.data, layout.BASE_TIMESTAMP))
    data = _unpacked(batch)
    raw, at, records = data.tobytes(), 0, []
    for _ in range(batch.record_count):
        length, at = read_varlong_reference(data, at, len(data), MAX_VARINT_BYTES)
        stop = at + length
        delta, here = read_varlong_reference(data, at + 1, stop, MAX_VARLONG_BYTES)
        _, start = read_varlong_reference(data, here, stop, MAX_VARINT_BYTES)
        here = start
        for _ in ("key", "value"):
            size, here = read_varlong_reference(data, here, stop, MAX_VARINT_BYTES)
            here += max(size, 0)
        count, after = read_varlong_reference(data, here, stop, MAX_VARINT_BYTES)
        records.append(OutputRecord(_wrapped(base_timestamp + delta), raw[start:here], raw[after:stop], count))
        at = stop
    return records


def batch_of(records: Sequence[OutputRecord], like: OutputBatch) -> OutputBatch:
    """Lay records out as one batch for the same place, with the same compression."""
    base, newest = records[0].timestamp_ms, max(record.timestamp_ms for record in records)
    parts = [b"\0" * layout.HEADER_BYTES]
    for k, record in enumerate(records):
        body = b"\0" + varlong(_wrapped(record.timestamp_ms - base)) + varlong(k) + record.key_and_value
        body += varlong(record.header_count) + record.headers
        parts += [varlong(len(body)), body]
    number = int(layout.be16(like.data, layout.ATTRIBUTES)) & layout.CODEC_MASK
    data, number = pack(np.frombuffer(bytearray(b"".join(parts)), np.uint8), number, _NO_LIMIT)
    seal(data, number, len(records), base, newest)
    return OutputBatch(like.topic, like.partition, data, len(records), newest)


def halves(batch: OutputBatch) -> tuple[OutputBatch, OutputBatch]:
    """Return a batch of two or more records as two batches, in order."""
    records = records_of(batch)
    middle = len(records) // 2
    return batch_of(records[:middle], batch), batch_of(records[middle:], batch)


def untimed(batch: OutputBatch, places: Collection[int]) -> OutputBatch | None:
    """Return a batch whose records at ``places`` have no timestamps, all of them if none is named.

    None if they had none before.
    """
    records = records_of(batch)
    chosen = set(places) or range(len(records))
    changed = [record.untimed() if k in chosen else record for k, record in enumerate(records)]
    return None if changed == records else batch_of(changed, batch)


def _wrapped(number: int) -> int:
    """Return a 64-bit integer as it is after an overflow: a difference of timestamps may not fit."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _unpacked(batch: OutputBatch) -> Bytes:
    number = int(layout.be16(batch.data, layout.ATTRIBUTES)) & layout.CODEC_MASK
    packed = batch.data[layout.HEADER_BYTES :]
    if not number:
        return packed
    room = 4 * len(packed) + (1 << 16)
    while True:  # a batch of ours: it expands to what we once compressed
        out = np.empty(room, np.uint8)
        try:
            return out[: codec.decompress_into(number, packed.data, out)]
        except codec.CodecError:
            if room > 1 << 31:
                raise
            room *= 8

"""Writes the identity of an idempotent producer (KIP-98) into a batch that is otherwise ready."""

from __future__ import annotations

from farthing.blocks import Bytes
from farthing.kernels.jit import kernel
from farthing.wire import layout
from farthing.wire.crc32c import append_zeros, crc32c, crc32c_reference
from farthing.wire.layout import be16, be32, put_be


def stamp_producer(
    batch: Bytes, producer_id: int, producer_epoch: int, base_sequence: int, *, transactional: bool = False
) -> None:
    """Write an idempotent producer's identity (KIP-98) into a batch's header, in place, and update its CRC.

    ``transactional`` makes it part of the producer's transaction. The new checksum is computed from the old one and the
    changed bytes; the records are not read.
    """
    _stamp(batch, producer_id, producer_epoch, base_sequence, layout.TRANSACTIONAL if transactional else 0)


def _stamp_reference(batch: Bytes, producer_id: int, producer_epoch: int, base_sequence: int, flag: int) -> None:
    """Plain form of :func:`_stamp`, which reads all records again."""
    attributes = int(layout.be16_reference(batch, layout.ATTRIBUTES)) & ~layout.TRANSACTIONAL
    layout.put_be_reference(batch, layout.ATTRIBUTES, attributes | flag, 2)
    layout.put_be_reference(batch, layout.PRODUCER_ID, producer_id, 8)
    layout.put_be_reference(batch, layout.PRODUCER_EPOCH, producer_epoch, 2)
    layout.put_be_reference(batch, layout.BASE_SEQUENCE, base_sequence, 4)
    layout.put_be_reference(batch, layout.CRC, crc32c_reference(batch, layout.ATTRIBUTES, len(batch)), 4)


@kernel(reference=_stamp_reference)
def _stamp(batch: Bytes, producer_id: int, producer_epoch: int, base_sequence: int, flag: int) -> None:
    """Write the fields of a stamp, and the transactional bit ``flag``; the checksum must be right before."""
    first, stop = layout.ATTRIBUTES, layout.BASE_SEQUENCE + 4
    before = crc32c(batch, first, stop)
    attributes = be16(batch, layout.ATTRIBUTES) & ~layout.TRANSACTIONAL
    put_be(batch, layout.ATTRIBUTES, attributes | flag, 2)
    put_be(batch, layout.PRODUCER_ID, producer_id, 8)
    put_be(batch, layout.PRODUCER_EPOCH, producer_epoch, 2)
    put_be(batch, layout.BASE_SEQUENCE, base_sequence, 4)
    # For equal lengths crc(a) ^ crc(b) depends on a ^ b alone: the inversions and the equal bytes cancel out.
    difference = append_zeros(before ^ crc32c(batch, first, stop), len(batch) - stop)
    put_be(batch, layout.CRC, be32(batch, layout.CRC) ^ difference, 4)

"""Kafka's record batch v2, byte for byte: the only module that knows where its fields are.

::

    RecordBatch =>                             # all integers big-endian
      baseOffset: int64                        # offset of the first record
      batchLength: int32                       # bytes that follow this field
      partitionLeaderEpoch: int32              # not covered by the crc
      magic: int8                              # 2
      crc: uint32                              # CRC-32C of everything from attributes on
      attributes: int16                        # bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control
      lastOffsetDelta: int32
      baseTimestamp: int64                     # ms
      maxTimestamp: int64                      # ms
      producerId: int64
      producerEpoch: int16
      baseSequence: int32
      recordsCount: int32
      records: [Record]                        # compressed as a whole when a codec is set

    Record =>
      length: varint                           # bytes that follow
      attributes: int8                         # unused
      timestampDelta: varlong
      offsetDelta: varint
      keyLength: varint, key                   # -1 is null
      valueLength: varint, value               # -1 is null
      headersCount: varint
      headers: [keyLength: varint, key, valueLength: varint, value]

Sources: https://kafka.apache.org/documentation/#recordbatch and
https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/record/DefaultRecordBatch.java
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from farthing.blocks import Bytes
from farthing.kernels.jit import kernel

HEADER: Final = np.dtype(
    [
        ("baseOffset", ">i8"),
        ("batchLength", ">i4"),
        ("partitionLeaderEpoch", ">i4"),
        ("magic", ">i1"),
        ("crc", ">u4"),
        ("attributes", ">i2"),
        ("lastOffsetDelta", ">i4"),
        ("baseTimestamp", ">i8"),
        ("maxTimestamp", ">i8"),
        ("producerId", ">i8"),
        ("producerEpoch", ">i2"),
        ("baseSequence", ">i4"),
        ("recordsCount", ">i4"),
    ]
)

HEADER_FORM: Final = struct.Struct(">qiibIhiqqqhii")
"""The same, for reading one header: NumPy's structured types are made for many."""


def _place(name: str) -> int:
    fields = HEADER.fields
    assert fields is not None
    return int(fields[name][1])


HEADER_BYTES: Final = HEADER.itemsize  # 61
BATCH_LENGTH: Final = _place("batchLength")
LEADER_EPOCH: Final = _place("partitionLeaderEpoch")
MAGIC: Final = _place("magic")
CRC: Final = _place("crc")
ATTRIBUTES: Final = _place("attributes")  # the crc covers from here to the end
LAST_OFFSET_DELTA: Final = _place("lastOffsetDelta")
BASE_TIMESTAMP: Final = _place("baseTimestamp")
MAX_TIMESTAMP: Final = _place("maxTimestamp")
PRODUCER_ID: Final = _place("producerId")
PRODUCER_EPOCH: Final = _place("producerEpoch")
BASE_SEQUENCE: Final = _place("baseSequence")
RECORDS_COUNT: Final = _place("recordsCount")
LOG_OVERHEAD: Final = LEADER_EPOCH  # baseOffset and batchLength, which batchLength does not count

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20

MIN_RECORD_BYTES: Final = 7  # length, attributes, timestampDelta, offsetDelta, keyLength, valueLength, headersCount


def be16_reference(data: Bytes, at: int) -> int:
    """Plain form of :func:`be16`."""
    return int.from_bytes(data[at : at + 2].tobytes(), "big", signed=True)


def be32_reference(data: Bytes, at: int) -> int:
    """Plain form of :func:`be32`."""
    return int.from_bytes(data[at : at + 4].tobytes(), "big", signed=True)


def be64_reference(data: Bytes, at: int) -> int:
    """Plain form of :func:`be64`."""
    return int.from_bytes(data[at : at + 8].tobytes(), "big", signed=True)


def put_be_reference(data: Bytes, at: int, value: int, width: int) -> None:
    """Plain form of :func:`put_be`."""
    data[at : at + width] = list((value % (1 << 8 * width)).to_bytes(width, "big"))


@kernel(inline=True, reference=be16_reference)
def be16(data: Bytes, at: int) -> int:
    """Read a big-endian signed 16-bit integer."""
    return np.int64(np.int16((np.int64(data[at]) << 8) | np.int64(data[at + 1])))


@kernel(inline=True, reference=be32_reference)
def be32(data: Bytes, at: int) -> int:
    """Read a big-endian signed 32-bit integer."""
    value = np.int64(0)
    for i in range(4):
        value = (value << 8) | np.int64(data[at + i])
    return value - ((value >> 31) << 32)


@kernel(inline=True, reference=be64_reference)
def be64(data: Bytes, at: int) -> int:
    """Read a big-endian signed 64-bit integer."""
    high = be32(data, at)
    low = be32(data, at + 4) & 0xFFFFFFFF
    return (high << 32) | low


@kernel(inline=True, reference=put_be_reference)
def put_be(data: Bytes, at: int, value: int, width: int) -> None:
    """Write the low ``width`` bytes of an integer, big-endian."""
    for i in range(width):
        data[at + i] = (value >> (8 * (width - 1 - i))) & 0xFF

"""Kafka's record batches (v2), decoded to columns and encoded again. No I/O: bytes in, arrays out."""

from farthing.wire.arena import Arena
from farthing.wire.codec import CODEC_NAMES, MAX_UNCOMPRESSED_BYTES
from farthing.wire.decode import decode, decode_whole, next_fetch_offset, raw_batch
from farthing.wire.encode import (
    DEAD_OFFSET_HEADER,
    MAX_DEAD_VALUE_BYTES,
    OFFSET_HEADER,
    encode_dead,
    encode_records,
    encode_scores,
    stamp_producer,
)
from farthing.wire.headers import Dropped, source_offsets
from farthing.wire.limits import Limits, Streams
from farthing.wire.unread import Unread
from farthing.wire.write import header_bytes

__all__ = [
    "CODEC_NAMES",
    "DEAD_OFFSET_HEADER",
    "MAX_DEAD_VALUE_BYTES",
    "MAX_UNCOMPRESSED_BYTES",
    "OFFSET_HEADER",
    "Arena",
    "Dropped",
    "Limits",
    "Streams",
    "Unread",
    "decode",
    "decode_whole",
    "encode_dead",
    "encode_records",
    "encode_scores",
    "header_bytes",
    "next_fetch_offset",
    "raw_batch",
    "source_offsets",
    "stamp_producer",
]

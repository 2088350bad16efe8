"""Kafka's record batches (v2), decoded to columns and encoded again. No I/O: bytes in, arrays out."""

from farthing.wire.arena import Arena
from farthing.wire.codec import CODEC_NAMES, MAX_UNCOMPRESSED_BYTES
from farthing.wire.dead import DEAD_LOG_HEADER, DEAD_OFFSET_HEADER, encode_dead, letter_key
from farthing.wire.decode import decode, decode_whole, next_fetch_offset, raw_batch
from farthing.wire.encode import (
    LOG_HEADER,
    OFFSET_HEADER,
    encode_records,
    encode_scores,
)
from farthing.wire.headers import Dropped, source_offsets
from farthing.wire.heads import BatchHead, first_head, last_head
from farthing.wire.limits import Limits, Streams
from farthing.wire.stamp import stamp_producer
from farthing.wire.topic_limits import DEFAULT_LIMITS, NO_TIME, TopicLimits
from farthing.wire.unread import Unread
from farthing.wire.warm import warm_pieces
from farthing.wire.write import header_bytes

__all__ = [
    "CODEC_NAMES",
    "DEAD_LOG_HEADER",
    "DEAD_OFFSET_HEADER",
    "DEFAULT_LIMITS",
    "LOG_HEADER",
    "MAX_UNCOMPRESSED_BYTES",
    "NO_TIME",
    "OFFSET_HEADER",
    "Arena",
    "BatchHead",
    "Dropped",
    "Limits",
    "Streams",
    "TopicLimits",
    "Unread",
    "decode",
    "decode_whole",
    "encode_dead",
    "encode_records",
    "encode_scores",
    "first_head",
    "header_bytes",
    "last_head",
    "letter_key",
    "next_fetch_offset",
    "raw_batch",
    "source_offsets",
    "stamp_producer",
    "warm_pieces",
]

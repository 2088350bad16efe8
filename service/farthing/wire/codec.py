"""Kafka's four compression codecs, by cramjam; data is decompressed into a buffer that cannot grow.

A megabyte of zstd can expand to tens of gigabytes, so the size is capped before anything is written: data that does not
fit is an error and takes no memory. Snappy is read both raw and in the framing of Java's ``SnappyOutputStream``
("xerial"), which Kafka's own clients use; we write it framed.
"""

from __future__ import annotations

import struct
from typing import Final

import cramjam
import numpy as np

from farthing.blocks import Bytes
from farthing.limits import MAX_BLOCK_BYTES

CODEC_NAMES: Final = ("none", "gzip", "snappy", "lz4", "zstd")
"""Codec names, indexed by the number in a batch's attributes."""

MAX_UNCOMPRESSED_BYTES: Final = MAX_BLOCK_BYTES
"""Most bytes that a batch is unpacked to at once by default. Kafka's producers close batches at ``max.request.size``
*before* compression (1 MiB by default); a larger batch is read in pieces."""

XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER: Final = XERIAL_MAGIC + struct.pack(">ii", 1, 1)  # version, lowest compatible version
XERIAL_HEADER_BYTES: Final = len(_XERIAL_HEADER)
_XERIAL_CHUNK_BYTES: Final = 32 * 1024  # uncompressed, as Java's stream cuts them

# LZ4 frame format 1.6: magic number; version 1 with independent blocks; blocks of at most 4 MiB; the second byte of the
# descriptor's xxHash-32. We write frames ourselves because Apache Kafka reads independent blocks only, and cramjam
# links them.
_LZ4_HEADER: Final = struct.pack("<IBBB", 0x184D2204, 0x60, 0x70, 0x73)
_LZ4_BLOCK_BYTES: Final = 4 << 20
_LZ4_STORED: Final = 1 << 31  # flag in a block's size: the block is not compressed
_LZ4_END: Final = struct.pack("<I", 0)


class CodecError(ValueError):
    """Compressed bytes are damaged, or expand to more than the output has room for."""


def decompress_into(codec: int, data: memoryview, output: Bytes) -> int:
    """Decompress ``data`` into ``output`` (uint8, contiguous); returns the bytes written.

    Raises
    ------
    CodecError
        The data is damaged or does not fit; nothing outside ``output`` was touched.
    KeyError
        ``codec`` is not one of 1 to 4.
    """
    name = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}[codec]
    try:
        if name == "snappy":
            return _snappy_into(data, output)
        return int(getattr(cramjam, name).decompress_into(data, output))
    except CodecError:
        raise
    except Exception as error:  # cramjam raises DecompressionError, OSError or ValueError, depending on the codec
        raise CodecError(
            f"{name}: damaged, or more than {len(output)} bytes after decompression ({str(error)[:120]})"
        ) from error


def _snappy_into(data: memoryview, output: Bytes) -> int:
    if bytes(data[: len(XERIAL_MAGIC)]) != XERIAL_MAGIC:
        return _raw_snappy_into(data, output)
    at, written = len(_XERIAL_HEADER), 0
    while at < len(data):
        if at + 4 > len(data):
            raise CodecError("snappy: a chunk's length is cut off")
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if size < 0 or at + size > len(data):
            raise CodecError(f"snappy: a chunk says {size} bytes, but {len(data) - at} are left")
        written += _raw_snappy_into(data[at : at + size], output[written:])
        at += size
    return written


def _raw_snappy_into(data: memoryview, output: Bytes) -> int:
    size = int(cramjam.snappy.decompress_raw_len(data))
    if size > len(output):
        raise CodecError(f"snappy: {size} bytes after decompression, more than the {len(output)} allowed")
    if size == 0:  # cramjam refuses an empty output
        if len(data) > 1:
            raise CodecError(f"snappy: {len(data) - 1} bytes follow a length of 0")
        return 0
    return int(cramjam.snappy.decompress_raw_into(data, output[:size].data))


def compress(codec: int, data: Bytes) -> Bytes:
    """Compress ``data`` (uint8) with codec 1 to 4 in the framing that Kafka's clients read; returns a new array."""
    raw = data.data
    if codec == 2:
        parts = [_XERIAL_HEADER]
        for at in range(0, len(raw), _XERIAL_CHUNK_BYTES):
            chunk = bytes(cramjam.snappy.compress_raw(raw[at : at + _XERIAL_CHUNK_BYTES]))
            parts += [struct.pack(">i", len(chunk)), chunk]
        return np.frombuffer(b"".join(parts), np.uint8)
    if codec == 3:
        return np.frombuffer(_lz4_frame(raw), np.uint8)
    packed = {1: cramjam.gzip.compress, 4: cramjam.zstd.compress}[codec](raw)
    return np.frombuffer(bytes(packed), np.uint8)


def _lz4_frame(raw: memoryview) -> bytes:
    parts: list[bytes | memoryview] = [_LZ4_HEADER]
    for at in range(0, len(raw), _LZ4_BLOCK_BYTES):
        chunk = raw[at : at + _LZ4_BLOCK_BYTES]
        block = bytes(cramjam.lz4.compress_block(chunk, store_size=False))
        stored = len(block) >= len(chunk)
        parts += [struct.pack("<I", len(chunk) | _LZ4_STORED if stored else len(block)), chunk if stored else block]
    return b"".join([*parts, _LZ4_END])

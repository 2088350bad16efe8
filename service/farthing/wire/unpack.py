"""Unpacks a batch's records window by window, in memory that does not depend on what they expand to.

Most batches fit into a block and are unpacked at once (:mod:`farthing.wire.codec`). The others are read from here, by
generators that keep the decompressor's state between blocks: a batch of a megabyte may hold gigabytes, and must not be
unpacked from its start for each piece. What is accepted is the same: several frames one after another, and nothing
after them. Checksums in LZ4 frames are not compared, because the batch's own covers them.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import numpy as np

from farthing.blocks import Bytes
from farthing.wire import lz
from farthing.wire.codec import CODEC_NAMES, XERIAL_HEADER_BYTES, XERIAL_MAGIC, CodecError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WINDOW_BYTES: Final = 256 << 10
"""Most bytes of one window."""

MAX_WINDOW_LOG: Final = 27
"""The largest zstd window (its own default limit, 128 MiB), which level 22 needs; level 3, Kafka's, takes 2 MiB."""

USUAL_WINDOW_LOG: Final = 25
"""Windows of at most 32 MiB are not told apart: they count as that."""

_INPUT_BYTES: Final = 16 << 10  # compressed bytes that a decompressor is given at once: it copies what it does not take
_ZSTD_MAGIC: Final = 0xFD2FB528
_LZ4_MAGIC: Final = 0x184D2204
_SKIPPABLE: Final = 0x184D2A50  # to 0x184D2A5F: a frame of any content, in LZ4 and zstd
_LZ4_STORED: Final = 1 << 31

Windows = Iterator[bytes | Bytes]


def windows(number: int, data: Bytes) -> Windows:
    """Yield the uncompressed bytes of ``data`` (uint8, writeable), codec ``number``, a window at a time.

    A window is valid until the next. After the last one everything has been read and is in order.

    Raises
    ------
    CodecError
        The bytes that follow are damaged; what was yielded is good.
    """
    read = (_stored, _gzip, _snappy, _lz4, _zstd)[number]
    try:
        yield from read(data)
    except (zlib.error, zstd.ZstdError, struct.error) as error:
        raise CodecError(f"{CODEC_NAMES[number]}: {str(error)[:120]}") from error


def state_bytes(number: int, data: Bytes) -> int:
    """Return the most memory that :func:`windows` keeps for these bytes between two blocks, data aside."""
    return 1 << (_window_log(data) if number == 4 else USUAL_WINDOW_LOG)


def _stored(data: Bytes) -> Windows:
    for at in range(0, len(data), WINDOW_BYTES):
        yield data[at : at + WINDOW_BYTES]


def _gzip(data: Bytes) -> Windows:
    at = 0
    while True:  # one member after another
        reader, rest = zlib.decompressobj(31), b""
        while not reader.eof:
            given: Any = rest or data[at : at + _INPUT_BYTES]
            at += 0 if rest else len(given)
            window = reader.decompress(given, WINDOW_BYTES)
            rest = reader.unconsumed_tail
            if window:
                yield window
            elif not len(given) and not reader.eof:
                raise CodecError("gzip: cut off")
        at -= len(reader.unused_data)
        if at == len(data):
            return


def _zstd(data: Bytes) -> Windows:
    at, most = 0, _window_log(data)
    while True:  # one frame after another
        reader = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: most})
        while not reader.eof:
            given: Any = data[at : at + _INPUT_BYTES] if reader.needs_input else b""
            if reader.needs_input and not len(given):
                raise CodecError("zstd: cut off")
            at += len(given)
            window = reader.decompress(given, WINDOW_BYTES)
            if window:
                yield window
        at -= len(reader.unused_data)
        if at == len(data):
            return


def _window_log(data: Bytes) -> int:
    """Return the window that the first zstd frame asks for as a power of two; later frames may have no larger one."""
    head = data[:18].tobytes()
    if len(head) < 18 or struct.unpack_from("<I", head)[0] != _ZSTD_MAGIC:
        return USUAL_WINDOW_LOG
    descriptor = head[4]
    if descriptor & 0x20:  # a single segment: the window is the content
        place = 5 + (0, 1, 2, 4)[descriptor & 3]
        width = (1, 2, 4, 8)[descriptor >> 6]
        size = int.from_bytes(head[place : place + width], "little") + (256 if width == 2 else 0)
    else:
        base = 1 << 10 + (head[5] >> 3)
        size = base + base // 8 * (head[5] & 7)
    return min(max(USUAL_WINDOW_LOG, (size - 1).bit_length()), MAX_WINDOW_LOG)


def _lz4(data: Bytes) -> Windows:
    raw, at, work = data.data, 0, np.empty(lz.REACH + WINDOW_BYTES, np.uint8)
    while True:  # one frame after another
        (magic,) = struct.unpack_from("<I", raw, at)
        if magic & ~15 == _SKIPPABLE:
            (size,) = struct.unpack_from("<I", raw, at + 4)
            at += 8 + size
            if at > len(raw):
                raise CodecError("lz4: cut off")
        elif magic == _LZ4_MAGIC:
            at = yield from _lz4_frame(data, at, work)
        else:
            raise CodecError(f"lz4: no frame begins with {magic:#010x}")
        if at == len(raw):
            return


def _lz4_frame(data: Bytes, at: int, work: Bytes) -> Generator[Bytes, None, int]:
    """Yield what the frame at ``at`` holds; returns the position after it."""
    raw = data.data
    flags, _ = struct.unpack_from("<BB", raw, at + 4)
    if flags >> 6 != 1:
        raise CodecError(f"lz4: version {flags >> 6} of the frame format, expected 1")
    linked, block_sums, sized, summed, named = (not flags & 0x20, flags & 0x10, flags & 8, flags & 4, flags & 1)
    at += 7 + (8 if sized else 0) + (4 if named else 0)
    held = 0
    while True:
        (size,) = struct.unpack_from("<I", raw, at)
        at += 4
        if size == 0:
            break
        stop = at + (size & ~_LZ4_STORED)
        if stop > len(raw):
            raise CodecError("lz4: cut off")
        held = held if linked else 0
        if size & _LZ4_STORED:
            for start in range(at, stop, WINDOW_BYTES):
                part = data[start : min(start + WINDOW_BYTES, stop)]
                yield part
                held = _remember(work, held, part)
        else:
            held, _ = yield from _unpacked(lz.unpack_lz4, data, at, stop, work, held)
        at = stop + (4 if block_sums else 0)
    at += 4 if summed else 0
    if at > len(raw):
        raise CodecError("lz4: cut off")
    return at


def _remember(work: Bytes, held: int, part: Bytes) -> int:
    """Add bytes to the history at the start of ``work``, as far as copies reach; returns how many are there now."""
    kept = min(held, max(lz.REACH - len(part), 0))
    more = part[max(len(part) - lz.REACH, 0) :]
    work[:kept] = work[held - kept : held].copy()
    work[kept : kept + len(more)] = more
    return kept + len(more)


def _snappy(data: Bytes) -> Windows:
    raw, work = data.data, np.empty(lz.REACH + WINDOW_BYTES, np.uint8)
    if bytes(raw[: len(XERIAL_MAGIC)]) != XERIAL_MAGIC:
        yield from _snappy_chunk(data, 0, len(raw), work)
        return
    at = XERIAL_HEADER_BYTES
    while at < len(raw):
        (size,) = struct.unpack_from(">i", raw, at)
        at += 4
        if size < 0 or at + size > len(raw):
            raise CodecError(f"snappy: a chunk says {size} bytes, but {len(raw) - at} are left")
        yield from _snappy_chunk(data, at, at + size, work)
        at += size


def _snappy_chunk(data: Bytes, at: int, stop: int, work: Bytes) -> Windows:
    if at == stop:
        return
    expected, shift, byte = 0, 0, 0x80
    while byte & 0x80:
        if at == stop or shift > 28:
            raise CodecError("snappy: no length in front")
        byte = int(data[at])
        expected |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
    _, found = yield from _unpacked(lz.unpack_snappy, data, at, stop, work, 0, expected)
    if found != expected:
        raise CodecError(f"snappy: {found} bytes after decompression, its length in front says {expected}")


def _unpacked(
    unpack: Callable[..., tuple[int, int]], data: Bytes, at: int, stop: int, work: Bytes, held: int, most: int = 1 << 62
) -> Generator[Bytes, None, tuple[int, int]]:
    """Yield what one block holds, with ``held`` bytes of history in ``work``; returns (history, bytes yielded)."""
    state, total = np.zeros(lz.STATE, np.int64), 0
    while True:
        at, out = unpack(data, at, stop, work, 0, held, held + WINDOW_BYTES, state)
        total += out - held
        if at == lz.BAD or total > most:
            raise CodecError("damaged: a length, or how far a copy reaches back")
        if out > held:
            yield work[held:out]
        kept = min(out, lz.REACH)
        work[:kept] = work[out - kept : out].copy()
        held = kept
        if at == stop and not state[[lz.LITERAL, lz.COPY, lz.NEXT]].any():
            return held, total

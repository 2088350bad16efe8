"""Folds a text and marks which of its bytes belong to words, 32 bytes at a time.

Folding changes little: the case, and now and then a byte that is squeezed out or becomes a space. So 32 bytes are
loaded, lower-cased and stored at once, and compared on the way with a few constants and with their neighbours. The
result is one bit for each byte that folding would change, and one for each byte that is part of a word. Everything
before the first change is then done; from there on a few bytes are folded one at a time. The step is written in LLVM's
vector types, which LLVM turns into the processor's instructions, because NumPy cannot express it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from farthing.blocks import Bytes
from farthing.features.spec import TextFeature
from farthing.kernels.instruction import instruction
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u8, store_u64, trailing_zeros

SPACE: Final = 0x20
LANES: Final = 32
SINGLY: Final = 8  # bytes folded one at a time after a change, because runs that are squeezed are often longer than one

_ALL_LANES: Final = np.uint64((1 << LANES) - 1)


def fold_table(feature: TextFeature) -> Bytes:
    """Return the table of what each byte becomes, uint8 (256,)."""
    table = np.arange(256, dtype=np.uint8)
    if feature.lowercase:
        table[ord("A") : ord("Z") + 1] += 32
    if feature.fold:
        table[: SPACE + 1] = SPACE
        table[0x7F] = SPACE
    return table


def _word_table() -> Bytes:
    table = np.zeros(256, np.uint8)
    for byte in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'":
        table[byte] = 1
    table[0x80:] = 1
    return table


WORD_BYTES: Final = _word_table()


def fold_reference(text: bytes, feature: TextFeature) -> bytes:
    """Plain form of :func:`fold_text`: returns what it writes to ``out``."""
    table = fold_table(feature)
    out = bytearray(b" ")
    for byte in (int(table[b]) for b in text):
        if feature.fold and byte == out[-1] and (byte == SPACE or (byte < 0x80 and out[-2:] == bytes([byte, byte]))):
            continue
        out.append(byte)
    if not (feature.fold and out[-1] == SPACE):
        out.append(SPACE)
    return bytes(out)


@instruction("uint64", "array", "intp", "boolean", "int64", "int64", "array", "intp")
def fold_many(
    ir: Any, builder: Any, data: Any, at: Any, lowercase: Any, last: Any, before_last: Any, out: Any, n: Any
) -> Any:
    """Write LANES bytes from ``data[at:]`` to ``out[n:]``, in lower case if ``lowercase``.

    ``last`` and ``before_last`` are the two bytes before them in ``out``. The low half of the returned word marks the
    bytes that folding would change (and the third of equal bytes from 0x80 on, which it would not change); the high
    half marks the bytes of words.
    """
    i8, i32, i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
    lanes = ir.VectorType(i8, LANES)

    def constant(byte: int) -> Any:
        return ir.Constant(lanes, [byte] * LANES)

    def places(*numbers: int) -> Any:
        return ir.Constant(ir.VectorType(i32, LANES), list(numbers))

    def within(low: int, high: int, bytes_: Any) -> Any:
        return builder.icmp_unsigned("<", builder.sub(bytes_, constant(low)), constant(high - low + 1))

    def equal(bytes_: Any, byte: int) -> Any:
        return builder.icmp_unsigned("==", bytes_, constant(byte))

    def bits(marks: Any) -> Any:
        return builder.zext(builder.bitcast(marks, i32), i64)

    source, target = builder.gep(data, [at]), builder.gep(out, [n])
    text = builder.load(builder.bitcast(source, lanes.as_pointer()), align=1)
    step = builder.select(lowercase, constant(0x20), constant(0))
    text = builder.add(text, builder.select(within(0x41, 0x5A, text), step, constant(0)))
    builder.store(text, builder.bitcast(target, lanes.as_pointer()), align=1)

    ahead = builder.insert_element(ir.Constant(lanes, ir.Undefined), builder.trunc(last, i8), ir.Constant(i32, 0))
    ahead = builder.insert_element(ahead, builder.trunc(before_last, i8), ir.Constant(i32, 1))
    one_back = builder.shuffle_vector(text, ahead, places(LANES, *range(LANES - 1)))
    two_back = builder.shuffle_vector(text, ahead, places(LANES + 1, LANES, *range(LANES - 2)))
    third = builder.icmp_unsigned("==", text, two_back)
    squeezed = builder.and_(builder.icmp_unsigned("==", text, one_back), builder.or_(third, equal(text, SPACE)))
    control = builder.or_(within(0, SPACE - 1, text), equal(text, 0x7F))

    word = builder.or_(within(0x30, 0x39, text), equal(text, 0x27))
    word = builder.or_(word, within(0x61, 0x7A, builder.or_(text, constant(0x20))))
    word = builder.or_(word, within(0x80, 0xFF, text))
    return builder.or_(bits(builder.or_(squeezed, control)), builder.shl(bits(word), ir.Constant(i64, LANES)))


@kernel(inline=True)
def fold_text(
    data: Bytes, start: int, stop: int, table: Bytes, lowercase: bool, fold: bool, out: Bytes, bits: Bytes
) -> int:
    """Fold ``data[start:stop]`` into ``out``, with a space before and after it; returns the length.

    ``bits`` gets one bit for each byte of the result, 1 for a byte of a word, and zero bits for 64 bytes more. ``out``
    needs room for LANES bytes more than the result, ``bits`` for two 64-bit words more.
    """
    out[0] = SPACE
    n, at = 1, start
    changes = _ALL_LANES if fold else np.uint64(0)
    pending = np.uint64(0)  # bits that do not fill a byte of ``bits`` yet
    while at < stop:
        # The bytes before these. A squeezed byte equals its neighbour, so ``data`` has the same as ``out``, and sooner.
        last = load_u8(table, load_u8(data, at - 1)) if at > start else SPACE
        before_last = load_u8(table, load_u8(data, at - 2)) if at > start + 1 else 0
        if at + LANES <= len(data):
            marks = fold_many(data, at, lowercase, last, before_last, out, n)
            changed = marks & changes
            words = marks >> np.uint64(LANES)
            size = LANES
            if changed != np.uint64(0) or stop - at < LANES:  # rare: predicted, so the next step need not wait
                size = min(trailing_zeros(changed), LANES, stop - at)
                words &= (np.uint64(1) << np.uint64(size)) - np.uint64(1)
            pending |= words << np.uint64(n & 7)
            store_u64(bits, n >> 3, pending)
            pending >>= np.uint64(((n + size) >> 3) - (n >> 3) << 3)
            n += size
            at += size
            if size > 0:
                continue
        end = min(at + SINGLY, stop)
        while at < end:
            byte = load_u8(table, load_u8(data, at))
            at += 1
            # Always written, and counted unless it is squeezed: a branch here would be mispredicted too often.
            out[n] = byte
            squeezed = fold & (byte == last) & ((byte == SPACE) | ((byte < 0x80) & (byte == before_last)))
            pending |= np.uint64(0 if squeezed else load_u8(WORD_BYTES, byte)) << np.uint64(n & 7)
            store_u64(bits, n >> 3, pending)
            before_last = before_last if squeezed else last
            last = byte
            after = n + (0 if squeezed else 1)
            pending >>= np.uint64((after >> 3) - (n >> 3) << 3)
            n = after
    store_u64(bits, n >> 3, pending)
    store_u64(bits, (n >> 3) + 1, np.uint64(0))
    if not (fold and out[n - 1] == SPACE):
        out[n] = SPACE
        n += 1
    return n

"""Single machine operations for kernels that NumPy's indexing cannot express: the caller checks all bounds.

Each has a plain reference, which is called instead under ``FARTHING_NO_JIT=1``. Bytes are contiguous uint8 arrays,
words are uint64, places are int64.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from farthing.kernels.instruction import instruction
from farthing.kernels.jit import kernel

WIDE_BYTES = 32
SHORT_BYTES = 2 * WIDE_BYTES
"""Up to this many bytes are copied by :func:`copy_short` without a call."""


def trailing_zeros_reference(word: Any) -> int:
    """Count the zero bits of a uint64 below its lowest one; 64 when there is none."""
    number = int(word)
    return 64 if number == 0 else (number & -number).bit_length() - 1


def leading_zeros_reference(word: Any) -> int:
    """Count the zero bits of a uint64 above its highest one; 64 when there is none."""
    return 64 - int(word).bit_length()


def load_u8_reference(data: Any, at: int) -> int:
    """Return ``data[at]`` (uint8) as an int; the caller checks bounds."""
    return int(data[at])


def load_u64_reference(data: Any, at: int) -> Any:
    """Return ``data[at:at+8]`` (uint8) as a little-endian uint64; the caller checks bounds."""
    return np.uint64(int.from_bytes(data[at : at + 8].tobytes(), "little"))


def store_u64_reference(out: Any, at: int, word: Any) -> None:
    """Set ``out[at:at+8]`` (uint8) to a uint64, little-endian; the caller checks bounds."""
    out[at : at + 8] = np.frombuffer(int(word).to_bytes(8, "little"), np.uint8)


def copy_bytes_reference(out: Any, at: int, data: Any, start: int, stop: int) -> int:
    """Copy ``data[start:stop]`` to ``out[at:]`` (contiguous uint8, no overlap); returns the position after it."""
    out[at : at + stop - start] = data[start:stop]
    return at + stop - start


@instruction("int64", "uint64", reference=trailing_zeros_reference)
def trailing_zeros(ir: Any, builder: Any, word: Any) -> Any:
    """LLVM's cttz."""
    return builder.cttz(word, ir.Constant(ir.IntType(1), 0))


@instruction("int64", "uint64", reference=leading_zeros_reference)
def leading_zeros(ir: Any, builder: Any, word: Any) -> Any:
    """LLVM's ctlz."""
    return builder.ctlz(word, ir.Constant(ir.IntType(1), 0))


@instruction("int64", "array", "intp", reference=load_u8_reference)
def load_u8(ir: Any, builder: Any, data: Any, at: Any) -> Any:
    """One byte, without the test for a negative index that NumPy's indexing needs."""
    return builder.zext(builder.load(builder.gep(data, [at])), ir.IntType(64))


@instruction("uint64", "array", "intp", reference=load_u64_reference)
def load_u64(ir: Any, builder: Any, data: Any, at: Any) -> Any:
    """One little-endian load of eight bytes that need not be aligned."""
    place = builder.bitcast(builder.gep(data, [at]), ir.IntType(64).as_pointer())
    word = builder.load(place, align=1)
    return word if sys.byteorder == "little" else builder.bswap(word)


@instruction("none", "array", "intp", "uint64", reference=store_u64_reference)
def store_u64(ir: Any, builder: Any, out: Any, at: Any, word: Any) -> None:
    """One little-endian store of eight bytes that need not be aligned."""
    place = builder.bitcast(builder.gep(out, [at]), ir.IntType(64).as_pointer())
    builder.store(word if sys.byteorder == "little" else builder.bswap(word), place, align=1)


@instruction("none", "array", "intp", "array", "intp", "intp")
def _memcpy(ir: Any, builder: Any, out: Any, at: Any, data: Any, start: Any, size: Any) -> None:
    """LLVM's memcpy between two arrays."""
    _copy(ir, builder, builder.gep(out, [at]), builder.gep(data, [start]), size)


@instruction("none", "array", "intp", "array", "intp")
def _copy_wide(ir: Any, builder: Any, out: Any, at: Any, data: Any, start: Any) -> None:
    """WIDE_BYTES by one or two loads and stores."""
    _copy(ir, builder, builder.gep(out, [at]), builder.gep(data, [start]), ir.Constant(ir.IntType(64), WIDE_BYTES))


def _copy(ir: Any, builder: Any, to: Any, from_: Any, size: Any) -> None:
    place, bit = ir.IntType(8).as_pointer(), ir.IntType(1)
    memcpy = builder.module.declare_intrinsic("llvm.memcpy", [place, place, size.type])
    builder.call(memcpy, [builder.bitcast(to, place), builder.bitcast(from_, place), size, ir.Constant(bit, 0)])


@kernel(inline=True, reference=copy_bytes_reference)
def copy_bytes(out: Any, at: int, data: Any, start: int, stop: int) -> int:
    """:func:`copy_bytes_reference` as one memcpy; it does not check bounds: the caller must."""
    _memcpy(out, at, data, start, stop - start)
    return at + stop - start


@kernel(inline=True, reference=copy_bytes_reference)
def copy_short(out: Any, at: int, data: Any, start: int, stop: int) -> int:
    """:func:`copy_bytes` for data that is mostly short; it may overwrite up to SHORT_BYTES after the copy."""
    if stop - start <= SHORT_BYTES and start + SHORT_BYTES <= len(data):
        _copy_wide(out, at, data, start)  # always WIDE_BYTES: fewer would need a call, which costs more
        if stop - start > WIDE_BYTES:
            _copy_wide(out, at + WIDE_BYTES, data, start + WIDE_BYTES)
    else:
        _memcpy(out, at, data, start, stop - start)
    return at + stop - start

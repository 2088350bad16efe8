"""Single operations of the machine that NumPy's indexing cannot say, for kernels: the caller checks all bounds.

Each is an intrinsic of numba with a plain reference, which runs in its place under ``FARTHING_NO_JIT=1``. Bytes are
contiguous uint8 arrays, words uint64, places int64.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from farthing.kernels.jit import NO_JIT, kernel

WIDE_BYTES = 32
SHORT_BYTES = 2 * WIDE_BYTES
"""Up to so many bytes :func:`copy_short` copies without a call."""


_LEVELS = {"x86-64-v2": ("sse4.2",), "x86-64-v3": ("sse4.2", "avx2"), "x86-64-v4": ("sse4.2", "avx2")}


def target_has(feature: str) -> bool:
    """Whether kernels are compiled for processors with a feature, by LLVM's name of it.

    That is what this processor has, unless ``NUMBA_CPU_FEATURES`` is set, as in an image that is made for many: then
    what it names with a plus, and what ``NUMBA_CPU_NAME`` stands for if it is a level of x86-64.
    """
    from llvmlite import binding
    from numba import config

    if config.CPU_FEATURES is None:
        return bool(binding.get_host_cpu_features().get(feature))
    return f"+{feature}" in config.CPU_FEATURES.split(",") or feature in _LEVELS.get(config.CPU_NAME or "", ())


def _memcpy() -> Any:
    """Make the intrinsic behind :func:`copy_bytes`: LLVM's memcpy between two contiguous uint8 arrays."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, data, start, size = arguments
        target = context.make_array(signature.args[0])(context, builder, out)
        source = context.make_array(signature.args[2])(context, builder, data)
        to = builder.gep(target.data, [at])
        from_ = builder.gep(source.data, [start])
        cgutils.raw_memcpy(builder, to, from_, size, ir.Constant(ir.IntType(64), 1))
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def memcpy(_typing: Any, out: Any, at: Any, data: Any, start: Any, size: Any) -> Any:
        return types.none(out, types.intp, data, types.intp, types.intp), generate

    return memcpy


def _load() -> Any:
    """Make :func:`load_u64`: one little-endian load of eight bytes that need not be aligned."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        wide = ir.IntType(64)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), wide.as_pointer())
        word = builder.load(place, align=1)
        return word if sys.byteorder == "little" else builder.bswap(word)

    @intrinsic  # type: ignore[untyped-decorator]
    def load_u64(_typing: Any, data: Any, at: Any) -> Any:
        return types.uint64(data, types.intp), generate

    return load_u64


def _trailing_zeros() -> Any:
    """Make :func:`trailing_zeros`: LLVM's cttz."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    @intrinsic  # type: ignore[untyped-decorator]
    def trailing_zeros(_typing: Any, word: Any) -> Any:
        return types.int64(types.uint64), generate

    return trailing_zeros


def _leading_zeros() -> Any:
    """Make :func:`leading_zeros`: LLVM's ctlz."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    @intrinsic  # type: ignore[untyped-decorator]
    def leading_zeros(_typing: Any, word: Any) -> Any:
        return types.int64(types.uint64), generate

    return leading_zeros


def _copy_32() -> Any:
    """Make the intrinsic behind :func:`copy_short`: WIDE_BYTES by one or two loads and stores."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, data, start = arguments
        to = builder.gep(context.make_array(signature.args[0])(context, builder, out).data, [at])
        from_ = builder.gep(context.make_array(signature.args[2])(context, builder, data).data, [start])
        word = ir.IntType(64)
        cgutils.raw_memcpy(builder, to, from_, ir.Constant(word, WIDE_BYTES), ir.Constant(word, 1))
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def copy_wide(_typing: Any, out: Any, at: Any, data: Any, start: Any) -> Any:
        return types.none(out, types.intp, data, types.intp), generate

    return copy_wide


def _store() -> Any:
    """Make :func:`store_u64`: one little-endian store of eight bytes that need not be aligned."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = arguments[2] if sys.byteorder == "little" else builder.bswap(arguments[2])
        builder.store(word, place, align=1)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def store_u64(_typing: Any, out: Any, at: Any, word: Any) -> Any:
        return types.none(out, types.intp, types.uint64), generate

    return store_u64


def _load_byte() -> Any:
    """Make :func:`load_u8`: one byte, without the test for a negative index that NumPy's indexing asks for."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(array.data, [arguments[1]])), ir.IntType(64))

    @intrinsic  # type: ignore[untyped-decorator]
    def load_u8(_typing: Any, data: Any, at: Any) -> Any:
        return types.int64(data, types.intp), generate

    return load_u8


def trailing_zeros_reference(word: Any) -> int:
    """Count the zero bits of a uint64 below its lowest one; 64 when there is none."""
    number = int(word)
    return 64 if number == 0 else (number & -number).bit_length() - 1


def leading_zeros_reference(word: Any) -> int:
    """Count the zero bits of a uint64 above its highest one; 64 when there is none."""
    return 64 - int(word).bit_length()


def load_u8_reference(data: Any, at: int) -> int:
    """Give ``data[at]`` (uint8) as an int; the caller checks bounds."""
    return int(data[at])


def load_u64_reference(data: Any, at: int) -> Any:
    """Give ``data[at:at+8]`` (uint8) as a little-endian uint64; the caller checks bounds."""
    return np.uint64(int.from_bytes(data[at : at + 8].tobytes(), "little"))


def store_u64_reference(out: Any, at: int, word: Any) -> None:
    """Set ``out[at:at+8]`` (uint8) to a uint64, little-endian; the caller checks bounds."""
    out[at : at + 8] = np.frombuffer(int(word).to_bytes(8, "little"), np.uint8)


def copy_bytes_reference(out: Any, at: int, data: Any, start: int, stop: int) -> int:
    """Copy ``data[start:stop]`` to ``out[at:]`` (contiguous uint8, no overlap); returns the position after it."""
    out[at : at + stop - start] = data[start:stop]
    return at + stop - start


if NO_JIT:
    load_u8, load_u64, store_u64 = load_u8_reference, load_u64_reference, store_u64_reference
    trailing_zeros, leading_zeros = trailing_zeros_reference, leading_zeros_reference
    copy_bytes = copy_short = copy_bytes_reference
else:
    _copy = _memcpy()
    load_u64 = _load()
    load_u8 = _load_byte()
    store_u64 = _store()
    trailing_zeros = _trailing_zeros()
    leading_zeros = _leading_zeros()
    _copy_wide = _copy_32()

    @kernel(inline=True, reference=copy_bytes_reference)
    def copy_bytes(out: Any, at: int, data: Any, start: int, stop: int) -> int:
        """:func:`copy_bytes_reference` as one memcpy; like all kernels it does not check bounds: the caller must."""
        _copy(out, at, data, start, stop - start)
        return at + stop - start

    @kernel(inline=True, reference=copy_bytes_reference)
    def copy_short(out: Any, at: int, data: Any, start: int, stop: int) -> int:
        """:func:`copy_bytes` for what is mostly short: it may also write up to SHORT_BYTES of anything after it."""
        if stop - start <= SHORT_BYTES and start + SHORT_BYTES <= len(data):
            _copy_wide(out, at, data, start)  # always as many bytes: a call costs more
            if stop - start > WIDE_BYTES:
                _copy_wide(out, at + WIDE_BYTES, data, start + WIDE_BYTES)
        else:
            _copy(out, at, data, start, stop - start)
        return at + stop - start

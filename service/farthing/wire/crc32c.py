"""CRC-32C (Castagnoli; RFC 3720, appendix B.4), callable from kernels.

On x86-64 with SSE 4.2 and on AArch64 with the CRC extension it is the processor's own instruction, eight bytes at a
time; elsewhere eight table look-ups an eight bytes ("slicing-by-8"). Both give what ``google_crc32c`` gives.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from farthing.blocks import Bytes
from farthing.jit import NO_JIT, kernel

POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41, bits reversed


def _tables() -> np.ndarray[Any, np.dtype[np.uint64]]:
    first = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        first = (first >> np.uint64(1)) ^ (np.uint64(POLYNOMIAL) * (first & np.uint64(1)))
    tables = [first]
    for _ in range(7):
        tables.append(first[tables[-1] & np.uint64(0xFF)] ^ (tables[-1] >> np.uint64(8)))
    return np.stack(tables)


_TABLES = _tables()


def crc32c_reference(data: Bytes, start: int, stop: int) -> int:
    """Plain form of :func:`crc32c`, by Google's library."""
    import google_crc32c

    return int(google_crc32c.value(data[start:stop].tobytes()))


@kernel
def crc32c_tables(data: Bytes, start: int, stop: int) -> int:
    """:func:`crc32c` by slicing-by-8 tables."""
    t = _TABLES
    mask = np.uint64(0xFF)
    crc = np.uint64(0xFFFFFFFF)
    at = start
    while at + 8 <= stop:
        word = np.uint64(0)
        for i in range(8):
            word |= np.uint64(data[at + i]) << np.uint64(8 * i)
        word ^= crc
        crc = np.uint64(0)
        for i in range(8):
            crc ^= t[7 - i, (word >> np.uint64(8 * i)) & mask]
        at += 8
    while at < stop:
        crc = t[0, (crc ^ np.uint64(data[at])) & mask] ^ (crc >> np.uint64(8))
        at += 1
    return np.int64(crc ^ np.uint64(0xFFFFFFFF))


def _instruction() -> Any:
    """Make the two intrinsics (64-bit step, 8-bit step) of this processor, or None where it has none."""
    if NO_JIT:
        return None
    from llvmlite import binding, ir
    from numba import types
    from numba.extending import intrinsic

    features = binding.get_host_cpu_features()
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64") and features.get("sse4.2"):
        names = ("llvm.x86.sse42.crc32.64.64", "llvm.x86.sse42.crc32.32.8")
        wide = (ir.IntType(64), ir.IntType(64))
        narrow = (ir.IntType(32), ir.IntType(8))
    elif machine in ("aarch64", "arm64") and features.get("crc"):
        names = ("llvm.aarch64.crc32cx", "llvm.aarch64.crc32cb")
        wide = (ir.IntType(32), ir.IntType(64))
        narrow = (ir.IntType(32), ir.IntType(32))
    else:
        return None

    def step(name: str, shape: tuple[Any, Any]) -> Any:
        crc_type, data_type = shape

        def call(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            crc, word = arguments
            function_type = ir.FunctionType(crc_type, (crc_type, data_type))
            function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
            crc = builder.trunc(crc, crc_type) if crc_type.width < 64 else crc
            word = builder.trunc(word, data_type) if data_type.width < 64 else word
            result = builder.call(function, (crc, word))
            return builder.zext(result, ir.IntType(64)) if crc_type.width < 64 else result

        @intrinsic  # type: ignore[untyped-decorator]  # numba is untyped
        def crc_step(_typing: Any, _crc: Any, _word: Any) -> Any:
            return types.uint64(types.uint64, types.uint64), call

        return crc_step

    return step(names[0], wide), step(names[1], narrow)


_steps = _instruction()

if _steps is None:
    crc32c_instruction = None
    _fastest = crc32c_tables
else:
    _wide, _narrow = _steps

    @kernel
    def crc32c_instruction(data: Bytes, start: int, stop: int) -> int:
        """:func:`crc32c` by the processor's instruction."""
        crc = np.uint64(0xFFFFFFFF)
        whole = (stop - start) // 8
        words = data[start : start + whole * 8].view(np.uint64)
        for i in range(whole):
            crc = _wide(crc, words[i])
        for at in range(start + whole * 8, stop):
            crc = _narrow(crc, np.uint64(data[at]))
        return np.int64(crc ^ np.uint64(0xFFFFFFFF))

    _fastest = crc32c_instruction


@kernel(reference=crc32c_reference)
def crc32c(data: Bytes, start: int, stop: int) -> int:
    """CRC-32C of ``data[start:stop]`` (uint8, contiguous): an integer from 0 to 2**32 - 1."""
    return _fastest(data, start, stop)

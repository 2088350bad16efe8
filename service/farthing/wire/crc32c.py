"""CRC-32C (Castagnoli; RFC 3720, appendix B.4), callable from kernels.

On x86-64 with SSE 4.2 and on AArch64 with the CRC extension it uses the processor's own instruction, eight bytes at a
time. Long data is split into thirds that run side by side, because the instruction takes three cycles and a new one can
start in every cycle (V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011).
Other processors do eight table look-ups for every eight bytes ("slicing-by-8"). Both agree with ``google_crc32c``.

:func:`append_zeros` joins the thirds, and updates a checksum after a header has changed without reading what follows
the header: a checksum is a polynomial over GF(2), and zeros after the data multiply it by a power of x.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from farthing.blocks import Bytes
from farthing.kernels.instruction import instruction, target_has
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u64

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


THIRDS_FROM = 1 << 14
"""Length in bytes from which thirds are faster than one run: joining them takes about two microseconds."""


def _product_reference(a: int, b: int) -> int:
    """Multiply two polynomials modulo the CRC's; bit 31 is x**0."""
    product = 0
    for k in range(31, -1, -1):
        if a >> k & 1:
            product ^= b
        b = (b >> 1) ^ (POLYNOMIAL if b & 1 else 0)
    return product


def _powers() -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return x**(8 * 2**k) for k from 0 on."""
    power = 1 << 30  # x
    for _ in range(3):
        power = _product_reference(power, power)
    powers = []
    for _ in range(48):
        powers.append(power)
        power = _product_reference(power, power)
    return np.array(powers, np.uint64)


_POWERS = _powers()


def append_zeros_reference(crc: int, n: int) -> int:
    """Plain form of :func:`append_zeros`, using Google's library, which inverts the register before and after."""
    import google_crc32c

    return int(google_crc32c.extend(crc ^ 0xFFFFFFFF, bytes(n))) ^ 0xFFFFFFFF


@kernel(reference=append_zeros_reference)
def append_zeros(crc: int, n: int) -> int:
    """Return the register ``crc`` after ``n`` more zero bytes (no inversion before or after).

    ``crc`` is an integer from 0 to 2**32 - 1; ``n`` is under 2**48. Takes log2(n) products.
    """
    one, polynomial = np.uint64(1), np.uint64(POLYNOMIAL)
    result = np.uint64(crc)
    for k in range(48):
        if n >> k & 1:
            b, product = _POWERS[k], np.uint64(0)
            for bit in range(32):
                # Masks instead of branches, which would be mispredicted: the bits are as good as random.
                product ^= b & (np.uint64(0) - (result >> np.uint64(31 - bit) & one))
                b = (b >> one) ^ (polynomial & (np.uint64(0) - (b & one)))
            result = product
    return np.int64(result)


def crc32c_reference(data: Bytes, start: int, stop: int) -> int:
    """Plain form of :func:`crc32c`, using Google's library."""
    import google_crc32c

    return int(google_crc32c.value(data[start:stop].tobytes()))


@kernel(reference=crc32c_reference)
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
    """Make this processor's two CRC steps (64 bits, 8 bits), or return None where it has none."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64") and target_has("sse4.2"):
        return _step("llvm.x86.sse42.crc32.64.64", 64, 64), _step("llvm.x86.sse42.crc32.32.8", 32, 8)
    if machine in ("aarch64", "arm64") and target_has("crc"):
        return _step("llvm.aarch64.crc32cx", 32, 64), _step("llvm.aarch64.crc32cb", 32, 32)
    return None


def _step(name: str, crc_bits: int, data_bits: int) -> Any:
    """Make an instruction from one of LLVM's: it takes a CRC and data, both uint64, and returns the new CRC."""

    @instruction("uint64", "uint64", "uint64")
    def crc_step(ir: Any, builder: Any, crc: Any, word: Any) -> Any:
        crc_type, data_type = ir.IntType(crc_bits), ir.IntType(data_bits)
        function_type = ir.FunctionType(crc_type, (crc_type, data_type))
        function = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
        crc = builder.trunc(crc, crc_type) if crc_bits < 64 else crc
        word = builder.trunc(word, data_type) if data_bits < 64 else word
        result = builder.call(function, (crc, word))
        return builder.zext(result, ir.IntType(64)) if crc_bits < 64 else result

    return crc_step


_steps = _instruction()

if _steps is None:
    crc32c_instruction = None
    _fastest = crc32c_tables
else:
    _wide, _narrow = _steps

    @kernel(reference=crc32c_reference)
    def crc32c_instruction(data: Bytes, start: int, stop: int) -> int:
        """:func:`crc32c` with the processor's instruction."""
        crc = np.uint64(0xFFFFFFFF)
        at = start
        if stop - start >= THIRDS_FROM:
            size = (stop - start) // 24 * 8
            middle = last = np.uint64(0)
            for i in range(start, start + size, 8):
                crc = _wide(crc, load_u64(data, i))
                middle = _wide(middle, load_u64(data, i + size))
                last = _wide(last, load_u64(data, i + 2 * size))
            two = append_zeros(np.int64(crc), size) ^ np.int64(middle)
            crc = np.uint64(append_zeros(two, size)) ^ last
            at = start + 3 * size
        while at + 8 <= stop:
            crc = _wide(crc, load_u64(data, at))
            at += 8
        while at < stop:
            crc = _narrow(crc, np.uint64(data[at]))
            at += 1
        return np.int64(crc ^ np.uint64(0xFFFFFFFF))

    _fastest = crc32c_instruction


@kernel(reference=crc32c_reference)
def crc32c(data: Bytes, start: int, stop: int) -> int:
    """Return the CRC-32C of ``data[start:stop]`` (uint8, contiguous): an integer from 0 to 2**32 - 1."""
    return _fastest(data, start, stop)

"""Hashes byte n-grams into buckets, eight at a time.

An n-gram is a window of n bytes read as a little-endian number; its bucket is one multiplication and one shift of that
number. All windows are independent, so a processor with wide registers can do eight at once: sixteen bytes are loaded,
spread into eight windows of eight bytes, cut to n bytes, multiplied and shifted. LLVM does not find that by itself,
because the loads overlap; so the step is written in LLVM's vector types, which it turns into the processor's
instructions. Without AVX2 the vectors are slower than the plain loop (64-bit lanes cannot be multiplied), so the loop
is used.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from farthing.blocks import Bytes, Int32s
from farthing.features.hashing import bucket, low_bytes
from farthing.kernels.instruction import instruction, target_has
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u64

LANES: Final = 8
READ_AHEAD_BYTES: Final = 2 * LANES - 1  # bytes read past the first of the last n-gram
WRITE_AHEAD_IDS: Final = LANES - 1  # ids written past the last one


def hash_grams_reference(
    text: Bytes, n: int, size: int, multiplier: np.uint64, shift: np.uint64, out: Int32s, at: int
) -> int:
    """Plain form of :func:`hash_grams`."""
    for start in range(n - size + 1):
        gram = int.from_bytes(text[start : start + size].tobytes(), "little")
        out[at] = (gram + 1) * int(multiplier) % (1 << 64) >> int(shift)
        at += 1
    return at


@instruction("none", "array", "intp", "uint64", "uint64", "uint64", "array", "intp")
def hash_eight(
    ir: Any, builder: Any, text: Any, start: Any, keep: Any, multiplier: Any, shift: Any, out: Any, at: Any
) -> None:
    """Write the ids of the LANES n-grams from ``text[start:]``, each cut by the mask ``keep``, to ``out[at:]``."""
    i8, i32, i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
    loaded, grams, ids = ir.VectorType(i8, 2 * LANES), ir.VectorType(i64, LANES), ir.VectorType(i32, LANES)
    windows = ir.Constant(ir.VectorType(i32, 8 * LANES), [lane + byte for lane in range(LANES) for byte in range(8)])
    first = ir.Constant(ir.VectorType(i32, LANES), [0] * LANES)
    ones = ir.Constant(grams, [1] * LANES)

    def every_lane(value: Any) -> Any:
        one = builder.insert_element(ir.Constant(grams, ir.Undefined), value, ir.Constant(i32, 0))
        return builder.shuffle_vector(one, ir.Constant(grams, ir.Undefined), first)

    source, target = builder.gep(text, [start]), builder.gep(out, [at])
    sixteen = builder.load(builder.bitcast(source, loaded.as_pointer()), align=1)
    spread = builder.bitcast(builder.shuffle_vector(sixteen, ir.Constant(loaded, ir.Undefined), windows), grams)
    hashes = builder.mul(builder.add(builder.and_(spread, every_lane(keep)), ones), every_lane(multiplier))
    buckets = builder.trunc(builder.lshr(hashes, every_lane(shift)), ids)
    builder.store(buckets, builder.bitcast(target, ids.as_pointer()), align=4)


@kernel(reference=hash_grams_reference)
def hash_grams_by_one(
    text: Bytes, n: int, size: int, multiplier: np.uint64, shift: np.uint64, out: Int32s, at: int
) -> int:
    """:func:`hash_grams` with the plain loop."""
    count = max(n - size + 1, 0)
    ids = out[at : at + count]
    for start in range(count):
        ids[start] = bucket(low_bytes(load_u64(text, start), size) + np.uint64(1), multiplier, shift)
    return at + count


@kernel(reference=hash_grams_reference)
def hash_grams_by_eight(
    text: Bytes, n: int, size: int, multiplier: np.uint64, shift: np.uint64, out: Int32s, at: int
) -> int:
    """:func:`hash_grams` with the vector step."""
    count = max(n - size + 1, 0)
    keep = low_bytes(np.uint64(0xFFFFFFFFFFFFFFFF), size)
    for start in range(0, count, LANES):
        hash_eight(text, start, keep, multiplier, shift, out, at + start)
    return at + count


_fastest = hash_grams_by_eight if target_has("avx2") else hash_grams_by_one


@kernel(inline=True, reference=hash_grams_reference)
def hash_grams(text: Bytes, n: int, size: int, multiplier: np.uint64, shift: np.uint64, out: Int32s, at: int) -> int:
    """Hash all n-grams of ``size`` bytes (1 to 8) in ``text[:n]`` to ``out`` from ``at`` on; returns where they end.

    Reads READ_AHEAD_BYTES past the first byte of the last n-gram, and overwrites WRITE_AHEAD_IDS ids past the last one.
    """
    return _fastest(text, n, size, multiplier, shift, out, at)

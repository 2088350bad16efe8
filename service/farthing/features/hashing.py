"""The one seeded hash: from bytes to 64 bits to a bucket, the same on every machine.

In plain words, all arithmetic modulo 2**64:

- ``salt(seed, n)``: the n-th output of SplitMix64 (Steele, Lea and Flood 2014) started at ``seed``. Each use has its
  own n (below), so that families of features do not collide with one another systematically.
- ``token(bytes, salt)``: h = salt XOR length; for every eight bytes, little-endian, the last group filled up with
  zeros: h = (h XOR group) * M, then h = h XOR (h >> 32). M is 0x9E3779B97F4A7C15 (2**64 / golden ratio, odd).
- ``combine(a, b)``: (rotate a left by 23) * M XOR b.
- ``bucket(h, multiplier)``: the top ``log2(n_buckets)`` bits of h * multiplier ("multiply-shift", Dietzfelbinger et
  al. 1997); the multiplier is an odd salt.
- A byte n-gram (n up to 8) is its bytes read as a little-endian number; its bucket is bucket(gram + 1, multiplier).

Published values are in ``tests/features/vectors.json``. They never change: a different hash gets a different name.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u64

HASH_NAME: Final = "multiply-shift-v1"
_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
M: Final = np.uint64(_GOLDEN)

# Uses of salts. A feature at place k of its spec takes salt number 64 * k + use.
SALT_BIAS, SALT_WORD, SALT_WORD_BUCKET, SALT_BIGRAM_BUCKET, SALT_VALUE, SALT_VALUE_BUCKET = 0, 1, 2, 3, 4, 5
SALT_MISSING, SALT_NULL, SALT_GRAM = 6, 7, 16  # n-grams of n bytes use SALT_GRAM + n
SALT_PAIR_NUMBER, SALT_PAIR_NUMBER_BUCKET, SALT_PAIR_WORD_BUCKET = 32, 33, 34
SALT_PAIR_CROSS_BUCKET, SALT_PAIR_DIGITS_BUCKET, SALT_PAIR_FOLLOW_BUCKET = 35, 36, 37


def salt(seed: int, number: int) -> int:
    """Return the salt with this number: an odd 64-bit integer."""
    z = (seed + (number + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return (z ^ (z >> 31)) | 1


def token_reference(data: bytes, salt_: int) -> int:
    """Plain form of :func:`token`."""
    h = salt_ ^ len(data)
    for at in range(0, len(data), 8):
        h = ((h ^ int.from_bytes(data[at : at + 8], "little")) * _GOLDEN) & _MASK
        h ^= h >> 32
    return h


def combine_reference(a: int, b: int) -> int:
    """Plain form of :func:`combine`."""
    rotated = ((a << 23) | (a >> 41)) & _MASK
    return ((rotated * _GOLDEN) & _MASK) ^ b


def bucket_reference(h: int, multiplier: int, bits: int) -> int:
    """Plain form of :func:`bucket`."""
    return ((h * multiplier) & _MASK) >> (64 - bits)


@kernel(inline=True)
def low_bytes(word: np.uint64, n: int) -> np.uint64:
    """Keep the first ``n`` bytes (1 to 8) of a little-endian word, and clear the rest."""
    return word & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * n))


@kernel(inline=True)
def token(data: Bytes, start: int, stop: int, salt_: np.uint64) -> np.uint64:
    """Hash ``data[start:stop]`` (uint8). The array must have eight more bytes after ``stop``, of any value."""
    h = salt_ ^ np.uint64(stop - start)
    at = start
    while stop - at > 8:
        h = (h ^ load_u64(data, at)) * M
        h ^= h >> np.uint64(32)
        at += 8
    if at < stop:  # words of up to eight bytes, which are most, skip the loop above
        h = (h ^ low_bytes(load_u64(data, at), stop - at)) * M
        h ^= h >> np.uint64(32)
    return h


@kernel(inline=True)
def combine(a: np.uint64, b: np.uint64) -> np.uint64:
    """Hash a pair of hashes; the order matters."""
    return (((a << np.uint64(23)) | (a >> np.uint64(41))) * M) ^ b


@kernel(inline=True)
def bucket(h: np.uint64, multiplier: np.uint64, shift: np.uint64) -> np.int32:
    """Return the bucket of a hash; ``shift`` is 64 - log2(n_buckets)."""
    return np.int32((h * multiplier) >> shift)

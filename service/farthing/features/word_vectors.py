"""Kernels for word vectors: sums, products, and the pieces of a word that is not in the lexicon.

A word that is not in the lexicon is cut as WordPiece cuts it (Wu et al. 2016, section 4.1): first the longest prefix
that is a word, then again and again the longest prefix of the rest that is a *continuation* (``##ing``). Either the
pieces make up the whole word, or it has none. Entries with a vector weight of 0, such as those without a vector, are
never pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features.hashing import token
from farthing.features.lexicon import CONTINUES, PIECE_SALT, WORD_SALT, find_word
from farthing.features.pair_layout import SHARE
from farthing.features.pair_spec import ABSENT
from farthing.kernels.jit import kernel

MAX_PIECE_BYTES: Final = 16  # continuations in MiniLM's vocabulary have at most 10
MAX_CUT_BYTES: Final = 64  # longer words have no pieces

_WORD: Final = np.uint64(WORD_SALT)
_PIECE: Final = np.uint64(PIECE_SALT)


@kernel(inline=True)
def dot(a: NDArray[np.int8], at: int, b: NDArray[np.int8], to: int) -> int:
    """Return the dot product of two word vectors."""
    total = np.int32(0)
    for d in range(a.shape[1]):
        total += np.int32(a[at, d]) * np.int32(b[to, d])
    return np.int64(total)


@kernel(inline=True)
def add_vector(vectors: NDArray[np.int8], slot: int, weight: np.int32, sums: Int32s) -> None:
    """Add a word's weighted vector."""
    flat = vectors.reshape(-1)
    start = np.uint64(slot) * np.uint64(vectors.shape[1])
    for d in range(np.uint64(vectors.shape[1])):  # unsigned, so that no index can be negative
        sums[d] += weight * np.int32(flat[start + d])


@kernel(inline=True)
def cosine(product: int, square_a: int, square_b: int) -> int:
    """Return a cosine in thousandths, rounded half to even; ABSENT when either vector is zero."""
    if square_a == 0 or square_b == 0:
        return np.int64(ABSENT)
    length = np.sqrt(np.float64(square_a)) * np.sqrt(np.float64(square_b))
    return np.int64(np.rint(np.float64(product) / length * np.float64(SHARE)))


@kernel
def cut_word(
    folded: Bytes, begin: int, end: int, checks: NDArray[np.uint16], shift: np.uint64, weights: Bytes, slots: Int64s
) -> int:  # fmt: skip
    """Cut a word into pieces and write their slots in the lexicon to ``slots``; returns how many there are, or 0.

    A word with more pieces than ``slots`` has room for has none.
    """
    if end - begin > MAX_CUT_BYTES:
        return 0
    n, at = 0, begin
    while at < end:
        slot = np.int64(-1)
        stop = min(end, at + MAX_PIECE_BYTES)
        while stop > at:
            slot = find_word(token(folded, at, stop, _WORD if at == begin else _PIECE), checks, shift)
            if slot >= 0 and weights[slot] > 0:
                break
            stop -= 1
        if stop == at or n == len(slots):
            return 0
        slots[n] = slot
        n += 1
        at = stop
    return n


def cut_word_reference(word: bytes, find: Callable[[bytes], int], most: int) -> list[int]:
    """Plain form of :func:`cut_word`; ``find`` returns an entry's slot, or a negative number when there is none."""
    pieces: list[int] = []
    at = 0
    while at < len(word) <= MAX_CUT_BYTES:
        for stop in range(min(len(word), at + MAX_PIECE_BYTES), at, -1):
            slot = find((CONTINUES if at else b"") + word[at:stop])
            if slot >= 0:
                break
        else:
            return []
        pieces.append(slot)
        at = stop
    return pieces if len(pieces) <= most else []

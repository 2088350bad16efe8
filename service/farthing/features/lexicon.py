"""The lexicon: words' weights and, optionally, their vectors, learnt beforehand and carried in a bundle.

A word is looked up by its hash (:data:`WORD_SALT`): the top bits choose a group of four slots, and the low 16 bits
distinguish the words of a group. An unknown word is mistaken for a known one with a probability of at most four in
65,535. The file is ``features.npz``; its SHA-256 is in the feature spec, so that the spec's fingerprint covers it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes
from farthing.bundle_files import read_arrays
from farthing.errors import BundleError
from farthing.features.hashing import salt, token_reference
from farthing.kernels.jit import kernel

WAYS: Final = 4
WORD_SALT: Final = salt(0, 8)
"""Words are hashed the same way for all specs, so that a lexicon can be made before a spec is settled."""

PIECE_SALT: Final = salt(0, 9)
CONTINUES: Final = b"##"
"""Prefix of a continuation: a piece that does not begin a word (as in BERT's vocabularies)."""

MIN_SLOTS: Final = 2 * WAYS  # with a single group a hash would be shifted by all of its 64 bits
MAX_SLOTS: Final = 1 << 24
VECTOR_UNIT: Final = 127
"""Integer length of a word vector whose real length is one."""

_LEARNT: Final = "vector_weights"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words by hash. Slot k belongs to group k // 4."""

    checks: NDArray[np.uint16]  # (n_slots,) low bits of the word's hash, at least 1; 0 is an empty slot
    weights: Bytes  # (n_slots,) how informative a word is: inverse document frequency, in steps of the maker's choice
    question: Bytes  # (n_slots,) 1 where the word says what kind of thing a query asks for
    vectors: NDArray[np.int8]  # (n_slots, dim), dim 0 when there are none; of length VECTOR_UNIT, or zeros
    unknown: Bytes  # (1,) weight of a word that is not in the lexicon
    vector_weights: Bytes  # (n_slots,) weights in sums of vectors; the same as ``weights`` unless they were learnt

    def __post_init__(self) -> None:
        n = len(self.checks)
        if not MIN_SLOTS <= n <= MAX_SLOTS or n & (n - 1):
            raise BundleError(f"lexicon: has {n} slots, expected a power of two from {MIN_SLOTS} to {MAX_SLOTS}")
        for name, (dtype, shape) in _arrays(n, self.vectors.shape[-1] if self.vectors.ndim else 0).items():
            value: NDArray[np.generic] = getattr(self, name)
            if value.dtype != dtype or value.shape != shape:
                raise BundleError(
                    f"lexicon: {name} is {value.dtype} {value.shape}, expected {np.dtype(dtype)} {shape}; "
                    "build it again"
                )
        if self.dim % 8 or self.dim > 256:
            raise BundleError(f"lexicon: vectors have {self.dim} elements, expected a multiple of 8, at most 256")

    @property
    def dim(self) -> int:
        """Number of elements of a word vector; 0 when there are no vectors."""
        return int(self.vectors.shape[1])

    @property
    def shift(self) -> int:
        """How many bits to shift a hash right by to get its group."""
        return 64 - (len(self.checks) // WAYS).bit_length() + 1

    @classmethod
    def from_npz(cls, data: bytes) -> Lexicon:
        """Read ``features.npz``. No object is unpickled.

        Raises
        ------
        BundleError
            Not an .npz file, or an array is missing or of another type.
        """
        kinds = {name: (dtype, len(shape)) for name, (dtype, shape) in _arrays(0, 0).items()}
        read = read_arrays(data, "features.npz", kinds)
        if "weights" in read:
            read.setdefault(_LEARNT, read["weights"])
        names = set(cls.__slots__)
        if read.keys() != names:
            raise BundleError(f"features.npz: holds {sorted(read)}, expected {sorted(names)}; build the bundle again")
        return cls(**read)

    def to_npz(self) -> bytes:
        """Return the bytes of ``features.npz``, the same for the same arrays.

        ``vector_weights`` are left out where they equal ``weights``, as in bundles that were built before they existed.
        """
        file = io.BytesIO()
        arrays = {name: getattr(self, name) for name in self.__slots__}
        if np.array_equal(self.vector_weights, self.weights):
            del arrays[_LEARNT]
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    def find(self, word: bytes) -> int:
        """Return the slot of a folded word or continuation, or -1: the plain form of :func:`find_word`."""
        return find_word_reference(word_hash(word), self)


def _arrays(n: int, dim: int) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    return {
        "checks": (np.uint16, (n,)),
        "weights": (np.uint8, (n,)),
        "question": (np.uint8, (n,)),
        "vectors": (np.int8, (n, dim)),
        "unknown": (np.uint8, (1,)),
        _LEARNT: (np.uint8, (n,)),
    }


def word_hash(word: bytes) -> int:
    """Hash a folded word or a continuation (``##ing``), as lexicons and pair features do. No folded word contains #."""
    if word.startswith(CONTINUES):
        return token_reference(word.removeprefix(CONTINUES), PIECE_SALT)
    return token_reference(word, WORD_SALT)


def check_of(h: int) -> int:
    """Return the 16 bits that distinguish the words of a group."""
    return max(h & 0xFFFF, 1)


def find_word_reference(h: int, lexicon: Lexicon) -> int:
    """Plain form of :func:`find_word`."""
    group = (h >> lexicon.shift) * WAYS
    for slot in range(group, group + WAYS):
        if int(lexicon.checks[slot]) == check_of(h):
            return slot
    return -1


@kernel(inline=True)
def find_word(h: np.uint64, checks: NDArray[np.uint16], shift: np.uint64) -> int:
    """Return the slot of the word with this hash, or -1."""
    check = np.uint16(max(h & np.uint64(0xFFFF), np.uint64(1)))
    group = np.int64(h >> shift) * 4
    for way in range(4):
        if checks[group + way] == check:
            return group + way
    return np.int64(-1)


def make_lexicon(
    weights: Mapping[bytes, int],
    *,
    slots: int,
    unknown: int,
    question: Iterable[bytes] = (),
    vectors: Mapping[bytes, NDArray[np.float32]] | None = None,
    vector_weights: Mapping[bytes, int] | None = None,
) -> Lexicon:
    """Make a lexicon. Where a group is full, words that come later in ``weights`` are left out: list common ones first.

    Parameters
    ----------
    weights:
        Weights, 0 to 255, of folded words and of continuations (``##ing``).
    slots:
        A power of two. With four times as many slots as words, one word in 200 is left out; with twice as many, one in
        20.
    unknown:
        The weight of all other words.
    question:
        Words that say what a query asks for.
    vectors:
        Vectors of the words that have one, all with the same number of elements; they are scaled to unit length.
    vector_weights:
        Weights in sums of vectors, 0 to 255, where they differ from the words' own. An entry with weight 0 is never a
        piece of a word.
    """
    vectors, vector_weights = vectors or {}, vector_weights or {}
    dim = len(next(iter(vectors.values()))) if vectors else 0
    asked = set(question)
    checks, table = np.zeros(slots, np.uint16), np.zeros(slots, np.uint8)
    flags, rows = np.zeros(slots, np.uint8), np.zeros((slots, dim), np.int8)
    in_sums = np.zeros(slots, np.uint8)
    shift = 64 - (slots // WAYS).bit_length() + 1
    for word, weight in weights.items():
        h = word_hash(word)
        group = (h >> shift) * WAYS
        ways = checks[group : group + WAYS].tolist()
        if check_of(h) in ways or 0 not in ways:
            continue
        slot = group + ways.index(0)
        checks[slot], table[slot], flags[slot] = check_of(h), weight, word in asked
        in_sums[slot] = vector_weights.get(word, weight)
        if word in vectors:
            vector = np.asarray(vectors[word], np.float64)
            length = float(np.sqrt((vector * vector).sum()))
            rows[slot] = np.rint(vector * (VECTOR_UNIT / length)).astype(np.int8) if length > 0 else 0
    return Lexicon(checks, table, flags, rows, np.array([unknown], np.uint8), in_sums)

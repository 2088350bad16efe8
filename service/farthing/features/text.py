"""Text features: folds each row's text and hashes its words, word pairs and byte n-grams, in one pass over the rows."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features import hashing
from farthing.features.folding import LANES, WORD_BYTES, fold_reference, fold_table, fold_text
from farthing.features.grams import READ_AHEAD_BYTES, WRITE_AHEAD_IDS, hash_grams
from farthing.features.hashing import bucket, combine, token
from farthing.features.spec import TextFeature
from farthing.kernels.jit import kernel
from farthing.kernels.machine import load_u64, trailing_zeros

PADDING: Final = 2 + max(READ_AHEAD_BYTES, LANES)  # a space at either end, and what is touched past the text's end


def words_of(folded: bytes) -> list[bytes]:
    """Return the words of a folded text, in order."""
    marked = "".join(chr(b) if WORD_BYTES[b] else "\0" for b in folded)
    return [word.encode("latin-1") for word in marked.split("\0") if word]


def folded_words(text: bytes) -> list[bytes]:
    """Return the words of a text, folded with both switches on."""
    return words_of(fold_reference(text, TextFeature()))


def text_ids_reference(text: bytes, feature: TextFeature, seed: int, place: int, bits: int) -> list[int]:
    """Plain form of :func:`hash_texts` for one row, without the bias."""
    folded = fold_reference(text[: feature.max_bytes], feature)

    def salt(use: int) -> int:
        return hashing.salt(seed, 64 * place + use)

    hashes = [hashing.token_reference(w, salt(hashing.SALT_WORD)) for w in words_of(folded)]
    ids = []
    for k, h in enumerate(hashes):
        if feature.words:
            ids.append(hashing.bucket_reference(h, salt(hashing.SALT_WORD_BUCKET), bits))
        if feature.word_bigrams and k:
            pair = hashing.combine_reference(hashes[k - 1], h)
            ids.append(hashing.bucket_reference(pair, salt(hashing.SALT_BIGRAM_BUCKET), bits))
    low, high = feature.char_ngrams or (1, 0)
    for n in range(low, high + 1):
        multiplier = salt(hashing.SALT_GRAM + n)
        for at in range(len(folded) - n + 1):
            gram = int.from_bytes(folded[at : at + n], "little") + 1
            ids.append(hashing.bucket_reference(gram, multiplier, bits))
    return ids


@kernel(inline=True)
def next_bit(bits: Bytes, at: int, n: int, invert: np.uint64) -> int:
    """Return the first place from ``at`` on whose bit is 1 (0 if ``invert`` is all ones); at least ``n`` if none is.

    ``bits`` must have eight more bytes after place ``n``.
    """
    while at < n:
        ahead = (load_u64(bits, at >> 3) ^ invert) >> np.uint64(at & 7)
        if ahead != np.uint64(0):
            return at + trailing_zeros(ahead)
        at += 64 - (at & 7)
    return at


@kernel(inline=True)
def hash_words(
    text: Bytes, n: int, bits: Bytes, words: bool, bigrams: bool, salts: NDArray[np.uint64], shift: np.uint64,
    out: Int32s, at: int,
) -> int:  # fmt: skip
    """Hash the words and word pairs of a folded text to ``out`` from ``at`` on; returns the position after them.

    ``bits`` are the marks from :func:`fold_text`, which give the ends of words without a branch per byte. The text
    begins and ends with a space, so every word ends inside it. ``out`` needs room for one id more.
    """
    word_salt, word_multiplier, pair_multiplier = salts[0], salts[1], salts[2]
    one, zero = np.uint64(1), np.uint64(0)
    more_words, more_pairs = int(words), 0
    previous, last_bit, start = zero, zero, 0
    for base in range(0, n, 64):
        in_word = load_u64(bits, base >> 3)
        before = (in_word << one) | last_bit
        starts, stops = in_word & ~before, before & ~in_word
        if last_bit == zero:
            start = base + trailing_zeros(starts)
            starts &= starts - one
        last_bit = in_word >> np.uint64(63)
        while stops != zero:
            h = token(text, start, base + trailing_zeros(stops), word_salt)
            stops &= stops - one
            start = base + trailing_zeros(starts)
            starts &= starts - one
            # Both are always written, and counted only if the feature has them: branches would cost more.
            out[at] = bucket(h, word_multiplier, shift)
            at += more_words
            out[at] = bucket(combine(previous, h), pair_multiplier, shift)
            at += more_pairs
            previous, more_pairs = h, int(bigrams)
    return at


class TextHashing(NamedTuple):
    """How a text feature is folded and hashed, as the kernels read it."""

    max_bytes: int
    table: Bytes  # from fold_table
    lowercase: bool
    fold: bool
    words: bool
    bigrams: bool
    low: int  # bytes of the shortest n-grams, and of the longest; 1 and 0 if there are none
    high: int
    salts: NDArray[np.uint64]  # of words, their buckets, and those of pairs
    grams: NDArray[np.uint64]  # by length
    shift: np.uint64

    @classmethod
    def of(cls, feature: TextFeature, seed: int, place: int, shift: np.uint64) -> TextHashing:
        """Lay out the feature at a place of its spec."""
        uses = (hashing.SALT_WORD, hashing.SALT_WORD_BUCKET, hashing.SALT_BIGRAM_BUCKET)
        low, high = feature.char_ngrams or (1, 0)
        return cls(
            max_bytes=feature.max_bytes,
            table=fold_table(feature),
            lowercase=feature.lowercase,
            fold=feature.fold,
            words=feature.words,
            bigrams=feature.word_bigrams,
            low=low,
            high=high,
            salts=np.array([hashing.salt(seed, 64 * place + use) for use in uses], np.uint64),
            grams=np.array([hashing.salt(seed, 64 * place + hashing.SALT_GRAM + n) for n in range(9)], np.uint64),
            shift=shift,
        )


class TextScratch(NamedTuple):
    """Room for one folded text."""

    text: Bytes
    bits: Bytes

    @classmethod
    def of(cls, longest: int) -> TextScratch:
        """Make room for texts of up to so many bytes."""
        room = longest + PADDING
        return cls(np.zeros(room, np.uint8), np.zeros(room // 8 + PADDING, np.uint8))


@kernel
def hash_texts(
    data: Bytes, indptr: Int64s, row_indptr: Int64s, per_row: bool, how: TextHashing, bias: int, scratch: TextScratch,
    out: Int32s, out_indptr: Int64s,
) -> None:  # fmt: skip
    """Hash the text ``data[indptr[s]:indptr[s+1]]`` of each row; s is the row if ``per_row``, else its event.

    A bias of -1 is left out. ``out_indptr`` is counted from the first of these rows.
    """
    at, first = 0, row_indptr[0]
    text, bits = scratch
    for event in range(len(row_indptr) - 1):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            slot = row if per_row else event
            start = indptr[slot]
            stop = min(indptr[slot + 1], start + how.max_bytes)
            if bias >= 0:
                out[at] = bias
                at += 1
            n = fold_text(data, start, stop, how.table, how.lowercase, how.fold, text, bits)
            if how.words or how.bigrams:
                at = hash_words(text, n, bits, how.words, how.bigrams, how.salts, how.shift, out, at)
            for size in range(how.low, how.high + 1):
                at = hash_grams(text, n, size, how.grams[size], how.shift, out, at)
            out_indptr[row - first + 1] = at


def most_ids(feature: TextFeature, n_bytes: int, n_rows: int) -> int:
    """Return an upper bound of the number of ids that :func:`hash_texts` makes from ``n_bytes`` in ``n_rows``.

    The bias is included, and room to write ahead.
    """
    of_byte, of_row = most_ids_each(feature)
    return n_bytes * of_byte + n_rows * of_row + WRITE_AHEAD_IDS


def most_ids_each(feature: TextFeature) -> tuple[int, int]:
    """Return how many ids each byte of a text makes at most, and how many each row besides, with its bias."""
    low, high = feature.char_ngrams or (1, 0)
    sizes = high - low + 1
    per_word = int(feature.words) + int(feature.word_bigrams)  # a word and what follows it take at least two bytes
    return sizes + (per_word + 1) // 2, 2 * sizes + 2 * per_word + 1  # a row has a space at either end

"""Text n-grams: fold a text, then hash its words, word pairs and byte n-grams, in one pass over the rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features import hashing
from farthing.features.hashing import bucket, combine, low_bytes, token
from farthing.features.spec import TextFeature
from farthing.jit import kernel, load_u8, load_u64, store_u64, trailing_zeros

PADDING: Final = 18  # a space at either end, and eight bytes at a time are written and read past a text's end
_SPACE: Final = 0x20


def fold_table(feature: TextFeature) -> Bytes:
    """Give what each byte becomes, as uint8 (256,)."""
    table = np.arange(256, dtype=np.uint8)
    if feature.lowercase:
        table[ord("A") : ord("Z") + 1] += 32
    if feature.fold:
        table[: _SPACE + 1] = _SPACE
        table[0x7F] = _SPACE
    return table


def _word_table() -> Bytes:
    table = np.zeros(256, np.uint8)
    for byte in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'":
        table[byte] = 1
    table[0x80:] = 1
    return table


WORD_BYTES: Final = _word_table()


_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_LOW7: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_CASE: Final = np.uint64(0x2020202020202020)
_SPACES: Final = _CASE
_BYTE: Final = np.uint64(8)
_TOP: Final = np.uint64(56)
_NEXT_TO_TOP: Final = np.uint64(48)
_LOWEST: Final = np.uint64(0xFF)
_GATHER_BITS: Final = np.uint64(0x0102040810204080)  # moves the lowest bit of each byte to the top byte


@kernel(inline=True)
def at_least(low7: np.uint64, least: int) -> np.uint64:
    """Mark (0x80) those of eight bytes, all under 0x80, that are ``least`` (1 to 0x7F) or more."""
    return (low7 + np.uint64(0x80 - least) * _ONES) & _HIGH


@kernel(inline=True)
def fold_eight(eight: np.uint64, lowercase: bool, fold: bool) -> np.uint64:
    """Fold eight bytes as :func:`fold_table` says."""
    low7 = eight & _LOW7
    if lowercase:
        upper = at_least(low7, 0x41) & ~at_least(low7, 0x5B) & ~eight
        eight += upper >> np.uint64(2)  # 0x80 becomes 0x20
    if fold:
        control = (~at_least(low7, 0x20) | at_least(low7, 0x7F)) & ~eight & _HIGH
        whole = (control >> np.uint64(7)) * np.uint64(0xFF)
        eight = (eight & ~whole) | (_SPACES & whole)
    return eight


@kernel(inline=True)
def mark_words(eight: np.uint64) -> np.uint64:
    """Mark those of eight bytes that words are made of: ASCII letters, digits, apostrophes, and all over 0x7F."""
    low7 = eight & _LOW7
    letter = low7 | _CASE
    marks = at_least(letter, 0x61) & ~at_least(letter, 0x7B)
    marks |= at_least(low7, 0x30) & ~at_least(low7, 0x3A)
    marks |= at_least(low7, 0x27) & ~at_least(low7, 0x28)
    return (marks | eight) & _HIGH


@kernel(inline=True)
def fold_text(data: Bytes, start: int, stop: int, table: Bytes, lowercase: bool, fold: bool, out: Bytes) -> int:
    """Fold ``data[start:stop]`` to ``out``, a space before and after; returns the length.

    Eight bytes at a time where no two neighbours are equal: only equal ones can be squeezed. ``out`` needs room for
    seven bytes more than the result.
    """
    out[0] = _SPACE
    n = 1
    at = start
    last, before_last = np.int64(_SPACE), np.int64(-1)
    while at < stop:
        if at + 8 <= len(data):
            eight = fold_eight(load_u64(data, at), lowercase, fold)
            equal = eight ^ ((eight << _BYTE) | np.uint64(last))
            if not fold or ((equal - _ONES) & ~equal & _HIGH) == np.uint64(0):
                store_u64(out, n, eight)
                n += min(8, stop - at)
                at += 8
                last, before_last = np.int64(eight >> _TOP), np.int64((eight >> _NEXT_TO_TOP) & _LOWEST)
                continue
        end = min(at + 8, stop)
        while at < end:
            byte = np.int64(load_u8(table, load_u8(data, at)))
            at += 1
            # Written in any case, and counted unless it is squeezed: a branch here would be guessed wrong too often.
            out[n] = byte
            squeezed = fold & (byte == last) & ((byte == _SPACE) | ((byte < 0x80) & (byte == before_last)))
            before_last = before_last if squeezed else last
            last = byte
            n += 0 if squeezed else 1
    if not (fold and out[n - 1] == _SPACE):
        out[n] = _SPACE
        n += 1
    return n


def fold_reference(text: bytes, feature: TextFeature) -> bytes:
    """Plain form of :func:`fold_text`."""
    table = fold_table(feature)
    out = bytearray(b" ")
    for byte in (int(table[b]) for b in text):
        if feature.fold and byte == out[-1] and (byte == _SPACE or (byte < 0x80 and out[-2:] == bytes([byte, byte]))):
            continue
        out.append(byte)
    if not (feature.fold and out[-1] == _SPACE):
        out.append(_SPACE)
    return bytes(out)


def words_of(folded: bytes) -> list[bytes]:
    """Give the words of a folded text, in order."""
    marked = "".join(chr(b) if WORD_BYTES[b] else "\0" for b in folded)
    return [word.encode("latin-1") for word in marked.split("\0") if word]


def folded_words(text: bytes) -> list[bytes]:
    """Give the words of a text, folded with both switches on."""
    return words_of(fold_reference(text, TextFeature()))


def text_ids_reference(text: bytes, feature: TextFeature, seed: int, place: int, bits: int) -> list[int]:
    """Plain form of what :func:`hash_texts` gives for one row, without the bias."""
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
    """Give the first place from ``at`` on whose bit is 1 (``invert`` all ones: 0), or ``n`` or more.

    ``bits`` goes on for eight bytes after place ``n``.
    """
    while at < n:
        ahead = (load_u64(bits, at >> 3) ^ invert) >> np.uint64(at & 7)
        if ahead != np.uint64(0):
            return at + trailing_zeros(ahead)
        at += 64 - (at & 7)
    return at


@kernel(inline=True)
def mark_text(text: Bytes, n: int, bits: Bytes) -> None:
    """Set a bit for each of the ``n`` bytes of a folded text that words are made of."""
    for group in range((n + 7) >> 3):
        marks = mark_words(load_u64(text, group << 3))
        bits[group] = ((marks >> np.uint64(7)) * _GATHER_BITS) >> _TOP


@kernel(inline=True)
def hash_words(
    text: Bytes, n: int, bits: Bytes, words: bool, bigrams: bool, salts: NDArray[np.uint64], shift: np.uint64,
    out: Int32s, at: int,
) -> int:  # fmt: skip
    """Hash the words and word pairs of a folded text to ``out`` from ``at`` on; returns the position after them.

    ``bits`` is room for a bit per byte of the text, so that the ends of words are found without a branch per byte.
    """
    mark_text(text, n, bits)
    nothing, everything = np.uint64(0), np.uint64(0xFFFFFFFFFFFFFFFF)
    previous = nothing
    first = True
    start = next_bit(bits, 0, n, nothing)
    while start < n:
        stop = min(next_bit(bits, start, n, everything), n)
        h = token(text, start, stop, salts[0])
        if words:
            out[at] = bucket(h, salts[1], shift)
            at += 1
        if bigrams and not first:
            out[at] = bucket(combine(previous, h), salts[2], shift)
            at += 1
        previous = h
        first = False
        start = next_bit(bits, stop, n, nothing)
    return at


@kernel
def hash_texts(
    data: Bytes, indptr: Int64s, slots: Int64s, max_bytes: int, table: Bytes, lowercase: bool, fold: bool,
    words: bool, bigrams: bool, low: int, high: int,
    salts: NDArray[np.uint64], grams: NDArray[np.uint64], shift: np.uint64, bias: int,
    text: Bytes, bits: Bytes, out: Int32s, out_indptr: Int64s,
) -> None:  # fmt: skip
    """Hash the text ``data[indptr[s]:indptr[s+1]]`` of each slot s; a bias of -1 is left out.

    ``text`` and ``bits`` are room for one folded text at a time: the longest and PADDING bytes more, and as many bits.
    """
    at = 0
    for row in range(len(slots)):
        start = indptr[slots[row]]
        stop = min(indptr[slots[row] + 1], start + max_bytes)
        if bias >= 0:
            out[at] = bias
            at += 1
        n = fold_text(data, start, stop, table, lowercase, fold, text)
        if words or bigrams:
            at = hash_words(text, n, bits, words, bigrams, salts, shift, out, at)
        for size in range(low, high + 1):
            multiplier = grams[size]
            for i in range(n - size + 1):
                out[at + i] = bucket(low_bytes(load_u64(text, i), size) + np.uint64(1), multiplier, shift)
            at += max(n - size + 1, 0)
        out_indptr[row + 1] = at


def most_ids(feature: TextFeature, n_bytes: int, n_rows: int) -> int:
    """Give an upper bound of the ids that :func:`hash_texts` makes of ``n_bytes`` in ``n_rows``, bias included."""
    low, high = feature.char_ngrams or (1, 0)
    folded = n_bytes + 2 * n_rows
    per_word = int(feature.words) + int(feature.word_bigrams)  # a word and what parts it from the next take two bytes
    return folded * (high - low + 1) + (folded // 2 + n_rows) * per_word + n_rows

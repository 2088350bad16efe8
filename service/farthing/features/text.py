"""Text n-grams: fold a text, then hash its words, word pairs and byte n-grams, in one pass over the rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features import hashing
from farthing.features.grams import READ_AHEAD_BYTES, WRITE_AHEAD_IDS, hash_grams
from farthing.features.hashing import bucket, combine, token
from farthing.features.spec import TextFeature
from farthing.jit import kernel
from farthing.machine import load_u8, load_u64, store_u64, trailing_zeros

PADDING: Final = 2 + max(READ_AHEAD_BYTES, 8)  # a space at either end, and what is written and read past a text's end
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
def lower_eight(eight: np.uint64) -> np.uint64:
    """Make ASCII capitals of eight bytes small."""
    low7 = eight & _LOW7
    upper = at_least(low7, 0x41) & ~at_least(low7, 0x5B) & ~eight
    return eight + (upper >> np.uint64(2))  # 0x80 becomes 0x20


@kernel(inline=True)
def mark_equal(eight: np.uint64, last: np.uint64) -> np.uint64:
    """Mark those of eight bytes that equal the one before (``last`` comes before the first), and perhaps more.

    (x - 0x01..) & ~x & 0x80.. marks zero bytes; a borrow can mark a byte above one falsely.
    """
    different = eight ^ ((eight << _BYTE) | last)
    return (different - _ONES) & ~different & _HIGH


@kernel(inline=True)
def mark_changes(eight: np.uint64, equal: np.uint64, last_equal: np.uint64) -> np.uint64:
    """Mark what folding changes beside the case, and perhaps more: none marked is nothing changed.

    That is control characters, and of equal neighbours a second space and a third of anything. ``equal`` is from
    :func:`mark_equal`, ``last_equal`` that of the byte before, as 0x80 or 0.
    """
    low7 = eight & _LOW7
    control = (~at_least(low7, 0x20) | at_least(low7, 0x7F)) & ~eight
    return (control | (equal & ((equal << _BYTE) | last_equal | ~at_least(low7, 0x21)))) & _HIGH


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

    Eight bytes at a time where nothing but the case changes. ``out`` needs room for seven bytes more than the result.
    """
    out[0] = _SPACE
    n = 1
    at = start
    last, before_last = np.uint64(_SPACE), np.uint64(0x100)
    while at < stop:
        if at + 8 <= len(data):
            eight = load_u64(data, at)
            if lowercase:
                eight = lower_eight(eight)
            equal = mark_equal(eight, last)
            last_equal = np.uint64(0x80 if last == before_last else 0)
            if not fold or mark_changes(eight, equal, last_equal) == np.uint64(0):
                store_u64(out, n, eight)
                n += min(8, stop - at)
                at += 8
                last, before_last = eight >> _TOP, (eight >> _NEXT_TO_TOP) & _LOWEST
                continue
        end = min(at + 8, stop)
        while at < end:
            byte = np.uint64(load_u8(table, load_u8(data, at)))
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

    ``bits`` is room for a bit per byte of the text, and 72 more, so that the ends of words are found without a branch
    per byte. The text begins and ends with a space: every word ends in it. ``out`` needs room for one id more.
    """
    mark_text(text, n, bits)
    bits[n >> 3] &= (1 << (n & 7)) - 1  # what lies behind the text is no word
    store_u64(bits, (n >> 3) + 1, np.uint64(0))
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
            h = token(text, start, base + trailing_zeros(stops), salts[0])
            stops &= stops - one
            start = base + trailing_zeros(starts)
            starts &= starts - one
            # Both are written in any case, and counted when they are wanted.
            out[at] = bucket(h, salts[1], shift)
            at += more_words
            out[at] = bucket(combine(previous, h), salts[2], shift)
            at += more_pairs
            previous, more_pairs = h, int(bigrams)
    return at


@kernel
def hash_texts(
    data: Bytes, indptr: Int64s, row_indptr: Int64s, per_row: bool, max_bytes: int, table: Bytes,
    lowercase: bool, fold: bool, words: bool, bigrams: bool, low: int, high: int,
    salts: NDArray[np.uint64], grams: NDArray[np.uint64], shift: np.uint64, bias: int,
    text: Bytes, bits: Bytes, out: Int32s, out_indptr: Int64s,
) -> None:  # fmt: skip
    """Hash the text ``data[indptr[s]:indptr[s+1]]`` of each row: s is the row (``per_row``) or its event.

    A bias of -1 is left out. ``text`` and ``bits`` are room for one folded text at a time: the longest and PADDING
    bytes more, and as many bits.
    """
    at = 0
    for event in range(len(row_indptr) - 1):
        for row in range(row_indptr[event], row_indptr[event + 1]):
            slot = row if per_row else event
            start = indptr[slot]
            stop = min(indptr[slot + 1], start + max_bytes)
            if bias >= 0:
                out[at] = bias
                at += 1
            n = fold_text(data, start, stop, table, lowercase, fold, text)
            if words or bigrams:
                at = hash_words(text, n, bits, words, bigrams, salts, shift, out, at)
            for size in range(low, high + 1):
                at = hash_grams(text, n, size, grams[size], shift, out, at)
            out_indptr[row + 1] = at


def most_ids(feature: TextFeature, n_bytes: int, n_rows: int) -> int:
    """Give an upper bound of the ids that :func:`hash_texts` makes of ``n_bytes`` in ``n_rows``, bias included."""
    low, high = feature.char_ngrams or (1, 0)
    folded = n_bytes + 2 * n_rows
    per_word = int(feature.words) + int(feature.word_bigrams)  # a word and what parts it from the next take two bytes
    return folded * (high - low + 1) + (folded // 2 + n_rows) * per_word + n_rows + WRITE_AHEAD_IDS

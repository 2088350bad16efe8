"""Text n-grams: fold a text, then hash its words, word pairs and byte n-grams, in one pass over the rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.features import hashing
from farthing.features.hashing import bucket, combine, low_bytes, token
from farthing.features.spec import TextFeature
from farthing.jit import kernel, load_u64

_PADDING: Final = 8  # load_u64 may read this far past a text's end
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


@kernel
def fold_text(data: Bytes, start: int, stop: int, table: Bytes, squeeze: bool, out: Bytes) -> int:
    """Fold ``data[start:stop]`` to ``out``, a space before and after; returns the length."""
    out[0] = _SPACE
    n = 1
    for at in range(start, stop):
        byte = table[data[at]]
        if squeeze and byte == out[n - 1] and (byte == _SPACE or (byte < 0x80 and n >= 2 and byte == out[n - 2])):
            continue
        out[n] = byte
        n += 1
    if not (squeeze and out[n - 1] == _SPACE):
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


def text_ids_reference(text: bytes, feature: TextFeature, seed: int, place: int, bits: int) -> list[int]:
    """Plain form of what :func:`hash_texts` gives for one row, without the bias."""
    folded = fold_reference(text[: feature.max_bytes], feature)

    def salt(use: int) -> int:
        return hashing.salt(seed, 64 * place + use)

    words = "".join(chr(b) if WORD_BYTES[b] else "\0" for b in folded).split("\0")
    hashes = [hashing.token_reference(w.encode("latin-1"), salt(hashing.SALT_WORD)) for w in words if w]
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


@kernel
def hash_words(
    text: Bytes, n: int, words: bool, bigrams: bool, salts: NDArray[np.uint64], shift: np.uint64, out: Int32s, at: int
) -> int:
    """Hash the words and word pairs of a folded text to ``out`` from ``at`` on; returns the position after them."""
    previous = np.uint64(0)
    first = True
    i = 0
    while i < n:
        while i < n and WORD_BYTES[text[i]] == 0:
            i += 1
        start = i
        while i < n and WORD_BYTES[text[i]] != 0:
            i += 1
        if i > start:
            h = token(text, start, i, salts[0])
            if words:
                out[at] = bucket(h, salts[1], shift)
                at += 1
            if bigrams and not first:
                out[at] = bucket(combine(previous, h), salts[2], shift)
                at += 1
            previous = h
            first = False
    return at


@kernel
def hash_texts(
    data: Bytes, indptr: Int64s, slots: Int64s, max_bytes: int, table: Bytes, squeeze: bool,
    words: bool, bigrams: bool, low: int, high: int,
    salts: NDArray[np.uint64], grams: NDArray[np.uint64], shift: np.uint64, bias: int,
    out: Int32s, out_indptr: Int64s,
) -> None:  # fmt: skip
    """Hash the text ``data[indptr[s]:indptr[s+1]]`` of each slot s; a bias of -1 is left out."""
    longest = 0
    for row in range(len(slots)):
        longest = max(longest, indptr[slots[row] + 1] - indptr[slots[row]])
    text = np.zeros(min(longest, max_bytes) + 2 + _PADDING, np.uint8)
    at = 0
    for row in range(len(slots)):
        start = indptr[slots[row]]
        stop = min(indptr[slots[row] + 1], start + max_bytes)
        if bias >= 0:
            out[at] = bias
            at += 1
        n = fold_text(data, start, stop, table, squeeze, text)
        if words or bigrams:
            at = hash_words(text, n, words, bigrams, salts, shift, out, at)
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

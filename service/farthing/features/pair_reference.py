"""Plain form of the pair kernels: one event at a time, in ordinary Python that follows the definitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from farthing.features import hashing
from farthing.features.hashing import bucket_reference, combine_reference
from farthing.features.lexicon import WORD_SALT, Lexicon, find_word_reference, word_hash
from farthing.features.pair_layout import (
    BM25_UNIT,
    DOT_UNIT,
    FRACTION,
    MOST_DIGITS,
    OPENING_HALF,
    SCORE_LIMIT,
    SHARE,
)
from farthing.features.pair_spec import ABSENT, NUMBERS, PairFeature
from farthing.features.text import folded_words
from farthing.features.word_vectors import cut_word_reference


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate as the reference reads it; None is missing."""

    text: bytes | None
    title: bytes | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of a query or text."""

    spelling: bytes
    hash: int
    slot: int
    weight: int
    question: bool
    pieces: tuple[int, ...]  # slots of the pieces of a word that has no slot itself

    def stem(self, n: int) -> bytes:
        return self.spelling[:n]


class PairReference:
    """The numbers and ids of one event's pairs."""

    def __init__(self, feature: PairFeature, lexicon: Lexicon, *, seed: int, place: int, bits: int) -> None:
        self.feature, self.lexicon, self.bits = feature, lexicon, bits
        self._seed, self._place = seed, place

    def ids(self, query: bytes, candidates: Sequence[Candidate]) -> list[list[int]]:
        """Give each candidate's ids, without the bias."""
        f = self.feature
        asked = self._words(query, f.max_query_words)
        rows = self.numbers(query, candidates)
        out: list[list[int]] = []
        for candidate, row in zip(candidates, rows, strict=True):
            if candidate.text is None:
                out.append([])
                continue
            intervals = {name: sum(b <= row[name] for b in boundaries) for name, boundaries in f.numbers.items()}
            ids = [self.number_id(k, intervals[name]) for k, name in enumerate(f.numbers)]
            ids += [self.cross_id(c, intervals[a], intervals[b]) for c, (a, b) in enumerate(f.crosses)]
            out.append(ids + self._word_ids(asked, self._words(candidate.text, f.max_words)))
        return out

    def number_id(self, number: int, interval: int) -> int:
        """Return the id of an interval of the feature's ``number``-th number."""
        return self._number_bucket(combine_reference(number + 1, interval + 1))

    def cross_id(self, cross: int, a: int, b: int) -> int:
        """Return the id of two intervals of the feature's ``cross``-th cross."""
        return self._number_bucket(combine_reference(combine_reference(-cross - 1 & (1 << 64) - 1, a + 1), b + 1))

    def numbers(self, query: bytes, candidates: Sequence[Candidate]) -> list[dict[str, int]]:
        """Give each candidate's numbers by name; empty where the text is missing."""
        f = self.feature
        asked = self._words(query, f.max_query_words)
        texts = [None if c.text is None else self._words(c.text, f.max_words) for c in candidates]
        rows = [
            {} if text is None else self._plain(asked, text, candidate)
            for candidate, text in zip(candidates, texts, strict=True)
        ]
        there = [k for k, text in enumerate(texts) if text is not None]
        units = {k: _unit(self._sum(texts[k] or [])) for k in there}
        centre = [sum(column) for column in zip(*units.values(), strict=True)]
        for k in there:
            rows[k]["central"] = _cosine(units[k], centre) if self.lexicon.dim else ABSENT
        for name in NUMBERS:
            values = [rows[k][name] for k in there]
            defined = [v for v in values if v != ABSENT]
            for k in there:
                value = rows[k][name]
                rows[k][name + ".rank"] = sum(v > value for v in values)
                if value == ABSENT:
                    rows[k][name + ".relative"] = ABSENT
                else:
                    low, high = min(defined), max(defined)
                    rows[k][name + ".relative"] = (value - low) * SHARE // (high - low) if high > low else SHARE
        return rows

    def _plain(self, asked: list[_Word], text: list[_Word], candidate: Candidate) -> dict[str, int]:
        f = self.feature
        different = list(dict.fromkeys(asked))
        there = {w.hash: 0 for w in asked}
        for word in text:
            if word.hash in there:
                there[word.hash] += 1
        met = [w for w in different if there[w.hash]]
        stems = {w.stem(f.stem_bytes) for w in text}
        gain = round((f.k1 + 1) * FRACTION * BM25_UNIT)
        divisor = round(f.k1 * (1 - f.b) * FRACTION) + round(f.k1 * f.b / f.average_words * FRACTION) * len(text)
        first = next((k for k, w in enumerate(text) if w.hash in there and not w.question), ABSENT)
        numbers = {
            "bm25": sum(w.weight * there[w.hash] * gain // (there[w.hash] * FRACTION + divisor) for w in met),
            "coverage": _share(sum(w.weight for w in met), sum(w.weight for w in different)),
            "words": _share(len(met), len(different)),
            "stems": _share(
                sum(w.weight for w in different if w.stem(f.stem_bytes) in stems), sum(w.weight for w in different)
            ),
            "bigrams": sum(_neighbours(asked[j - 1], asked[j], text) for j in range(1, len(asked))),
            "run": _longest_run([w.hash for w in asked], [w.hash for w in text]),
            "first": first,
            "missed": max((w.weight for w in different if not there[w.hash]), default=0),
            "density": _share(sum(w.weight * there[w.hash] for w in met), sum(w.weight for w in text)),
            "query_words": len(asked),
            "text_words": len(text),
            "digits": sum(w.spelling[:1].isdigit() for w in text),
            "title": ABSENT,
            "title_words": ABSENT,
            "score": ABSENT,
            "cosine": ABSENT,
            "alignment": ABSENT,
            "weakest": ABSENT,
            "opening": ABSENT,
        }
        places = {w.hash: k for k, w in reversed(list(enumerate(text)))}
        early = sum(w.weight * SHARE * OPENING_HALF // (OPENING_HALF + places[w.hash]) for w in met)
        if total := sum(w.weight for w in different):
            numbers["opening"] = early // total
        title = self._words(candidate.title or b"", f.max_words) if f.title else []
        if title:
            named = {w.hash for w in title}
            numbers["title"] = _share(
                sum(w.weight for w in different if w.hash in named), sum(w.weight for w in different)
            )
            numbers["title_words"] = _share(sum(w.hash in there for w in title), len(title))
        if f.score and candidate.score is not None:
            units = min(max(candidate.score / f.score_unit, -SCORE_LIMIT), SCORE_LIMIT)
            numbers["score"] = round(units)
        if self.lexicon.dim:
            numbers["cosine"] = _cosine(self._sum(different), self._sum(text))
            self._align(different, met, text, numbers)
        return numbers

    def _align(self, different: list[_Word], met: list[_Word], text: list[_Word], numbers: dict[str, int]) -> None:
        vectors = self.lexicon.vectors.tolist()

        def best(word: _Word) -> int:
            if word in met:
                return DOT_UNIT
            if word.slot < 0 or word.weight == 0:
                return 0
            products = [_dot(vectors[word.slot], vectors[w.slot]) for w in text if w.slot >= 0]
            return max([0, *products])

        best_of = {w: best(w) for w in different if not w.question}
        if total := sum(w.weight for w in best_of):
            numbers["alignment"] = _share(sum(w.weight * b for w, b in best_of.items()), DOT_UNIT * total)
            heaviest = max(w.weight for w in best_of)
            numbers["weakest"] = _share(min(b for w, b in best_of.items() if 2 * w.weight >= heaviest), DOT_UNIT)

    def _word_ids(self, asked: list[_Word], text: list[_Word]) -> list[int]:
        f = self.feature
        there = {w.hash for w in text}
        ids = [
            self._bucket(combine_reference(w.hash, 1 if w.hash in there else 2), hashing.SALT_PAIR_WORD_BUCKET)
            for w in dict.fromkeys(asked)
        ]
        if f.question_words == 0:
            return ids
        begin = WORD_SALT
        for word in asked[: f.question_words]:
            begin = combine_reference(begin, word.hash)
        questions = [w for w in asked if w.question]
        heaviest = max(questions, key=lambda w: w.weight).hash if questions else WORD_SALT
        words = {w.hash for w in asked}
        first = next((k for k, w in enumerate(text) if w.hash in words and not w.question), len(text))
        follow = next((w.hash for w in text[first:] if w.hash not in words), 0)
        digits = min(sum(w.spelling[:1].isdigit() for w in text), MOST_DIGITS)
        for kind in (begin, heaviest):
            ids += [
                self._bucket(combine_reference(kind, w.hash), hashing.SALT_PAIR_CROSS_BUCKET)
                for w in text[: f.cross_words]
            ]
            ids.append(self._bucket(combine_reference(kind, digits), hashing.SALT_PAIR_DIGITS_BUCKET))
            ids.append(self._bucket(combine_reference(kind, follow), hashing.SALT_PAIR_FOLLOW_BUCKET))
        return ids

    def _words(self, text: bytes, most: int) -> list[_Word]:
        words = []
        for spelling in folded_words(text[: self.feature.max_bytes])[:most]:
            h = word_hash(spelling)
            slot = find_word_reference(h, self.lexicon)
            weight = int(self.lexicon.weights[slot] if slot >= 0 else self.lexicon.unknown[0])
            question = slot >= 0 and bool(self.lexicon.question[slot])
            pieces = () if slot >= 0 else cut_word_reference(spelling, self._find_piece, self.feature.max_pieces)
            words.append(_Word(spelling, h, slot, weight, question, tuple(pieces)))
        return words

    def _find_piece(self, entry: bytes) -> int:
        slot = self.lexicon.find(entry)
        return slot if slot >= 0 and self.lexicon.vector_weights[slot] > 0 else -1

    def _sum(self, words: list[_Word]) -> list[int]:
        sums = [0] * self.lexicon.dim
        for word in words:
            for slot in (word.slot,) if word.slot >= 0 else word.pieces:
                weight = int(self.lexicon.vector_weights[slot])
                sums = [s + weight * v for s, v in zip(sums, self.lexicon.vectors[slot].tolist(), strict=True)]
        return sums

    def _bucket(self, h: int, use: int) -> int:
        return bucket_reference(h, hashing.salt(self._seed, 64 * self._place + use), self.bits)

    def _number_bucket(self, h: int) -> int:
        salted = combine_reference(hashing.salt(self._seed, 64 * self._place + hashing.SALT_PAIR_NUMBER), h)
        return self._bucket(salted, hashing.SALT_PAIR_NUMBER_BUCKET)


def _share(part: int, whole: int) -> int:
    return part * SHARE // whole if whole > 0 else ABSENT


def _neighbours(a: _Word, b: _Word, text: list[_Word]) -> bool:
    return any(x.hash == a.hash and y.hash == b.hash for x, y in itertools.pairwise(text))


def _longest_run(query: list[int], text: list[int]) -> int:
    longest = 0
    for i in range(len(query)):
        for k in range(len(text)):
            n = 0
            while i + n < len(query) and k + n < len(text) and query[i + n] == text[k + n]:
                n += 1
            longest = max(longest, n)
    return longest


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _cosine(a: Sequence[int], b: Sequence[int]) -> int:
    square_a, square_b = _dot(a, a), _dot(b, b)
    if square_a == 0 or square_b == 0:
        return ABSENT
    return round(_dot(a, b) / (math.sqrt(square_a) * math.sqrt(square_b)) * SHARE)


def _unit(sums: list[int]) -> list[int]:
    length = math.sqrt(_dot(sums, sums))
    return [round(s / length * 1000.0) if length > 0 else 0 for s in sums]

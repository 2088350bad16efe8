"""Reads queries with labelled candidates, splits them by query, and keeps test queries out of training."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import FieldColumns, RecordBlock
from farthing.distill.data_files import read_data_rows
from farthing.errors import DataError
from farthing.evaluate.cells import number
from farthing.files import Row, file_sha256
from farthing.payload import Field, FieldPlan, parse
from farthing.tasks.rerank import ROW_ID_FIELD, TEXT_FIELD

Floats = NDArray[np.float32]

PLAN = FieldPlan(
    (
        Field("id", "id", "raw"),
        Field("query", "query", "text", required=True),
        Field(ROW_ID_FIELD, "candidates[*].id", "raw"),
        Field(TEXT_FIELD, f"candidates[*].{TEXT_FIELD}", "text"),
        Field("title", "candidates[*].title", "text"),
        Field("score", "candidates[*].score", "number"),
    ),
    max_rows=1000,
)
"""The fields of a rerank event."""

DEV_SHARE = 10  # one query in ten is held out
_MAX_EVENT_BYTES = 1 << 26  # training lists may be longer than events that are served


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is ranked; None where there is nothing."""

    id: str
    text: str
    title: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A query, its candidates, and how good each is; 0 means not relevant."""

    id: str
    text: str
    candidates: tuple[Candidate, ...]
    gains: Floats  # (n_candidates,)
    place: str = ""  # file:line of its first candidate, for messages

    def event(self) -> bytes:
        """Return the event that asks for this query's ranking."""
        candidates = [
            {key: value for key, value in (("id", c.id), ("text", c.text), ("title", c.title), ("score", c.score))
             if value is not None}
            for c in self.candidates
        ]  # fmt: skip
        return json.dumps({"id": self.id, "query": self.text, "candidates": candidates}, ensure_ascii=False).encode()

    def shuffled(self, rng: np.random.Generator) -> Query:
        """Return the same query with its candidates in a random order."""
        order = rng.permutation(len(self.candidates))
        return replace(self, candidates=tuple(self.candidates[k] for k in order), gains=self.gains[order])


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries of one file, in its order, and the file's SHA-256."""

    queries: tuple[Query, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def gains(self) -> Floats:
        """All candidates' gains, one after another."""
        return np.concatenate([np.zeros(0, np.float32), *(query.gains for query in self.queries)])

    @property
    def indptr(self) -> NDArray[np.int64]:
        """Where each query's candidates begin: int64 (n+1,)."""
        return np.cumsum([0, *(len(query.candidates) for query in self.queries)], dtype=np.int64)

    def columns(self) -> FieldColumns:
        """Return the queries parsed as by a worker."""
        records = RecordBlock.of_values([query.event() for query in self.queries])
        return parse(records, PLAN, max_event_bytes=_MAX_EVENT_BYTES)


def read_queries(
    path: Path, *, text: str = "text", title: str | None = "title", score: str | None = None,
    first_stage: str | None = None, relevant: float = 1.0, shuffle: int | None = None,
) -> QuerySet:  # fmt: skip
    """Read rows that are one candidate each: ``qid``, ``query``, ``docid``, ``label`` and texts.

    Parameters
    ----------
    text, title, score:
        Names of the fields with the candidate's text, title (None: not read) and first-stage score (None: none).
    first_stage:
        Only rows that have a rank in ``ranks`` under this name are read.
    relevant:
        The least label of a relevant candidate; gains are ``label - relevant + 1``, at least 0, and 0 without a label.
    shuffle:
        Seed of the order of the candidates of each query; None keeps the file's.

    Raises
    ------
    ConfigError
        The file is missing.
    DataError
        It is empty or a line is invalid; the message names the line.
    """
    by_qid: dict[str, tuple[str, list[Candidate], list[float]]] = {}
    places: dict[str, str] = {}
    for whole in read_data_rows(path):
        row, place = whole.values, f"{path}:{whole.line}"
        _check(row, place, ("qid", "query", "docid", "label", text))
        if first_stage is not None and first_stage not in _ranks(whole):
            continue
        label = number(whole, "label", {}, low=0.0, nullable=True)
        gain = 0.0 if math.isnan(label) else max(0.0, label - relevant + 1)
        candidate = Candidate(
            id=str(row["docid"]),
            text=str(row[text]),
            title=None if title is None else str(row.get(title) or "") or None,
            score=None if score is None or row.get(score) in (None, "") else number(whole, score, {}),
        )
        qid, asked = str(row["qid"]), str(row["query"])
        query, candidates, gains = by_qid.setdefault(qid, (asked, [], []))
        if query != asked and key_of(query) != key_of(asked):  # the first spelling stands for all
            raise DataError(
                f"{place}: qid {qid!r} is that of another query in {places[qid]}; give each query an id of its own"
            )
        places.setdefault(qid, place)
        candidates.append(candidate)
        gains.append(gain)
    if not by_qid:
        raise DataError(f"{path}: holds no candidates; give the file of a split, with rows in it")
    queries = [Query(qid, q, tuple(c), np.array(g, np.float32), places[qid]) for qid, (q, c, g) in by_qid.items()]
    if shuffle is not None:
        rng = np.random.default_rng(shuffle)
        queries = [query.shuffled(rng) for query in queries]
    return QuerySet(tuple(queries), file_sha256(path))


def _ranks(row: Row) -> Mapping[str, Any]:
    ranks = row.values.get("ranks", {})
    if not isinstance(ranks, Mapping):
        row.fail(f"ranks is {ranks!r}, expected an object; a table cannot hold one, so write JSON lines")
    return ranks


def _check(row: Mapping[str, Any], place: str, required: Sequence[str]) -> None:
    for name in required:
        if name not in row:
            raise DataError(
                f"{place}: has no {name}, its keys are {', '.join(row) or 'none'}; name the right one in the recipe, "
                "or fix the line"
            )
        if row[name] is None and name != "label":
            raise DataError(f"{place}: {name} is null; fix or remove the line")


def check_apart(*splits: QuerySet) -> None:
    """Raise DataError if a query's id is in two splits, which would make the evaluation too good."""
    seen: dict[str, str] = {}
    for split in splits:
        for query in split.queries:
            if query.id in seen:
                raise DataError(
                    f"{query.place}: qid {query.id!r} is in {seen[query.id]} too, another split; remove it from "
                    "one, or give different queries different ids"
                )
        seen |= {query.id: query.place for query in split.queries}


def check_answerable(data: QuerySet, path: Path) -> None:
    """Raise DataError if no query has both relevant and other candidates."""
    if not len(answerable(data)):
        labels = "no relevant candidate" if not data.gains.any() else "no query with both kinds of candidates"
        raise DataError(
            f"{path}: there is {labels}; nothing could be learned from it or measured on it, so give it queries with "
            "relevant and other candidates, or fix `relevant` in the recipe"
        )


def key_of(query: str) -> str:
    """Return a query's key for leak checks: its letters and digits in lower case."""
    return "".join(c for c in query.lower() if c.isalnum())


def without(data: QuerySet, keys: set[str]) -> QuerySet:
    """Leave out the queries whose key is among ``keys``."""
    return replace(data, queries=tuple(q for q in data.queries if key_of(q.text) not in keys))


def answerable(data: QuerySet) -> QuerySet:
    """Leave out queries with no relevant candidate, or only relevant ones: there is nothing to learn or measure."""
    return replace(data, queries=tuple(q for q in data.queries if q.gains.max() > q.gains.min()))


def hold_out(data: QuerySet) -> tuple[QuerySet, QuerySet]:
    """Split off a dev part by a hash of the query, so that equal queries stay together."""
    parts: tuple[list[Query], list[Query]] = ([], [])
    for query in data.queries:
        digest = hashlib.sha1(key_of(query.text).encode(), usedforsecurity=False).digest()
        parts[int.from_bytes(digest[:4], "big") % DEV_SHARE == 0].append(query)
    return replace(data, queries=tuple(parts[0])), replace(data, queries=tuple(parts[1]))


def joined(sets: Sequence[QuerySet]) -> QuerySet:
    """Concatenate sets."""
    return QuerySet(tuple(q for s in sets for q in s.queries), "+".join(s.sha256 for s in sets))

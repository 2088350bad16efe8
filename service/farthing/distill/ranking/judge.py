"""Compares the student with float32 and the first stage: on dev, on test once, and on sets not used for training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.measure import sigmoid
from farthing.distill.ranking.data import QuerySet, read_queries
from farthing.distill.ranking.measure import gain_over, measure
from farthing.distill.ranking.recipe import Elsewhere
from farthing.distill.ranking.train import logits_of
from farthing.distill.show import Say
from farthing.distill.student import Student
from farthing.evaluate.rows import read_qrels
from farthing.model.stages import Stages

Floats = NDArray[np.float32]


class Judge:
    """Measures a student, set after set.

    Parameters
    ----------
    student, stages:
        The student in float32, and in integers.
    metric:
        The metric whose loss is returned.
    say:
        Called with each result.
    """

    def __init__(self, student: Student, stages: Stages, metric: str, say: Say) -> None:
        self._student, self._stages, self._metric, self._say = student, stages, metric, say
        self._sets: dict[str, dict[str, Any]] = {}
        self._gains: dict[str, dict[str, dict[str, float]]] = {}
        self._worst = 0.0

    def look(self, name: str, queries: QuerySet, ideal: Sequence[Floats] | None = None) -> float:
        """Measure on one set; returns the points of the metric that int8 loses to float32 there.

        ``ideal`` has the gains of all documents that were judged for each query; None for the candidates' own.
        """
        features = self._stages.hashed.featurize(queries.columns(), None)
        logits = logits_of(self._student, features)
        scores = self._stages.score(features).scores[:, 0]
        self._worst = max(self._worst, float(np.abs(scores - sigmoid(logits)).max()))
        measured = {"int8": measure(queries, scores, ideal), "float32": measure(queries, logits, ideal)}
        self._say(f"{name}: {json.dumps(measured)}")
        first = np.array([np.nan if c.score is None else c.score for q in queries.queries for c in q.candidates])
        if not np.isnan(first).any():
            measured["first stage"] = measure(queries, first.astype(np.float32), ideal)
            self._gains[name] = gain_over(queries, scores, first.astype(np.float32), ideal)
            self._say(f"{name}, over the first stage: {json.dumps(self._gains[name])}")
        self._sets[name] = measured
        exact, rounded = (measured[what][self._metric]["value"] for what in ("float32", "int8"))
        return float(100 * (exact - rounded))

    def evaluation(self) -> dict[str, Any]:
        """Return the evaluation of all sets for the manifest."""
        return {
            "sets": self._sets,
            "gain_over_first_stage": self._gains,
            "worst_score_difference": round(self._worst, 5),
        }


def read_elsewhere(entry: Elsewhere, data: Path) -> tuple[QuerySet, list[Floats] | None]:
    """Read a set that is only measured on; also returns the gains of all judged documents, if a file has them."""
    queries = read_queries(
        data / entry.rows, score=entry.score, first_stage=entry.first_stage, relevant=entry.relevant, shuffle=0
    )
    if entry.qrels is None:
        return queries, None
    judged: dict[str, list[float]] = {}
    for (qid, _), label in read_qrels(data / entry.qrels, {}).items():
        judged.setdefault(qid, []).append(max(0.0, label - entry.relevant + 1))
    return queries, [np.array(judged.get(query.id, [0.0]), np.float32) for query in queries.queries]

"""Measures rankings: map, mrr and ndcg@10, compared with the order of the first stage if there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.errors import BundleError
from farthing.evaluate.cells import parse_names
from farthing.evaluate.measures import ranking
from farthing.evaluate.measures.choices import Advance
from farthing.evaluate.options import EvaluateOptions, Result, Track, facts
from farthing.evaluate.report import Group, Report
from farthing.evaluate.rows import CandidateRows, read_candidates, read_qrels
from farthing.evaluate.scored import score
from farthing.model.scorer import Scorer
from farthing.payload import FieldPath, FieldPlan
from farthing.tasks.rerank import ROW_ID_FIELD, TEXT_FIELD

NAMES = ("qid", "query", "docid", "title", "text", "label")
CHUNK_QUERIES = 64


def evaluate(scorer: Scorer, options: EvaluateOptions, track: Track) -> Result:
    """Score lists of candidates, rank them and measure the rankings."""
    options.only("rerank", "first_stage", "qrels", "positive_from")
    names = parse_names(options.names, NAMES)
    qrels = None if options.qrels is None else read_qrels(options.qrels, names)
    rows = read_candidates(
        options.data, names, first_stage=options.first_stage, qrels=qrels, positive_from=options.positive_from,
        seed=options.seed,
    )  # fmt: skip
    places = [f"{rows.sources[source]}, query {qid}" for source, qid in zip(rows.source, rows.qids, strict=True)]
    events = events_of(rows, scorer.field_plan)
    scores = score(scorer, events, places, track("scoring", len(events)), chunk=CHUNK_QUERIES)[:, 0]
    ideal = (
        ranking.ideal_of_rows(rows.labels, rows.query_indptr, positive_from=options.positive_from)
        if qrels is None
        else ranking.ideal_of_qrels(qrels, rows.qids, positive_from=options.positive_from)
    )
    several = len(rows.sources) > 1
    compared = rows.first_stage is not None
    advance = track("resampling", options.resamples * (1 + compared + several * len(rows.sources)))
    ours = _measured(rows, scores, ideal, options)
    everything = np.ones(len(rows.qids), np.bool_)
    whole = _group(rows, ours, everything, options, advance)
    groups = {}
    if compared:
        assert rows.first_stage is not None
        first = _measured(rows, rows.first_stage, ideal, options)
        groups = {f"first stage ({options.first_stage})": _group(rows, first, everything, options, advance)}
    report = Report(
        model=scorer.model_id,
        task=scorer.task,
        facts=_facts(rows, ours, options),
        whole=whole,
        sources={
            name: _group(rows, ours, rows.source == index, options, advance) if several else whole
            for index, name in enumerate(rows.sources)
        },
        slices={},
        resamples=options.resamples,
        seed=options.seed,
        compared=groups,
    )

    def draw(folder: Path, title: str) -> list[Path]:
        from farthing.evaluate.rank_plots import write_rank_plots

        orders = {"this bundle": ranking.rank(scores, rows.query_indptr, seed=options.seed)}
        if rows.first_stage is not None:
            orders["first stage"] = ranking.rank(rows.first_stage, rows.query_indptr, seed=options.seed)
        relevant = rows.labels >= options.positive_from
        return write_rank_plots(folder, relevant, rows.query_indptr, orders, title=title)

    return Result(
        report,
        title=f"{scorer.model_id}, {len(rows.qids):,} queries with {len(rows):,} candidates",
        notes=_notes(rows, ours, options),
        draw=draw,
        drawn_title=f"{scorer.model_id}, {len(rows.qids):,} queries",
    )


def _facts(rows: CandidateRows, ours: ranking.QueryMetrics, options: EvaluateOptions) -> dict[str, Any]:
    return facts(
        queries=len(rows.qids),
        queries_without_positive=ours.without_positive,
        positive_from=options.positive_from,
        first_stage=options.first_stage,
        rows_without_first_stage=None if rows.first_stage is None else rows.left_out,
        repeated_candidates=rows.repeated,
        qrels=None if options.qrels is None else str(options.qrels),
    )


def events_of(rows: CandidateRows, plan: FieldPlan) -> list[bytes]:
    """Make the event that asks for each query's ranking.

    For a candidate without a text its title is used, because there is nothing else to read.

    Raises
    ------
    BundleError
        The plan has no fields ``query`` and ``text``.
    """
    paths = {field.name: field.parsed for field in plan.fields}
    if not {"query", TEXT_FIELD} <= paths.keys():
        raise BundleError(f"the field plan reads {', '.join(paths)}; rankings are measured of query and {TEXT_FIELD}")
    depth = paths[TEXT_FIELD].array + 1  # keys to the array
    array = FieldPath(paths[TEXT_FIELD].keys[:depth])
    inside = {name: FieldPath(path.keys[depth:]) for name, path in paths.items() if path.array >= 0}
    events = []
    for k, query in enumerate(rows.queries):
        candidates = []
        for row in range(rows.query_indptr[k], rows.query_indptr[k + 1]):
            title, text = rows.titles[row], rows.texts[row]
            values: dict[str, Any] = {ROW_ID_FIELD: rows.docids[row], TEXT_FIELD: text if text.strip() else title}
            if title.strip() and text.strip():
                values["title"] = title
            if rows.first_stage is not None:
                values["score"] = float(rows.first_stage[row])
            candidate: dict[str, Any] = {}
            for name, value in values.items():
                if name in inside:
                    inside[name].put(candidate, value)
            candidates.append(candidate)
        event: dict[str, Any] = {}
        event["id"] = rows.qids[k]
        paths["query"].put(event, query)
        array.put(event, candidates)
        events.append(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace"))
    return events


def _measured(
    rows: CandidateRows, scores: ranking.Scores, ideal: ranking.Ideal, options: EvaluateOptions
) -> ranking.QueryMetrics:
    order = ranking.rank(scores, rows.query_indptr, seed=options.seed)
    return ranking.measure_queries(rows.labels, order, rows.query_indptr, ideal, positive_from=options.positive_from)


def _group(
    rows: CandidateRows,
    queries: ranking.QueryMetrics,
    chosen: NDArray[np.bool_],
    options: EvaluateOptions,
    advance: Advance,
) -> Group:
    """Measure some of the queries."""
    some = ranking.QueryMetrics(
        queries.average_precision[chosen], queries.reciprocal_rank[chosen], queries.ndcg[chosen]
    )
    of_row = np.repeat(chosen, np.diff(rows.query_indptr))
    return Group(
        rows=int(of_row.sum()),
        positives=int((rows.labels[of_row] >= options.positive_from).sum()),
        metrics=ranking.estimate(some, seed=options.seed, resamples=options.resamples, advance=advance),
    )


def _notes(rows: CandidateRows, queries: ranking.QueryMetrics, options: EvaluateOptions) -> list[str]:
    notes = ["candidates are shuffled before they are scored, and equal scores are ordered at random"]
    if queries.without_positive:
        notes.append(
            f"{queries.without_positive:,} of {len(rows.qids):,} queries have no relevant document and are left out of "
            "map and mrr"
        )
    if rows.left_out:
        notes.append(f"{rows.left_out:,} rows have no {options.first_stage} and are left out")
    if rows.repeated:
        notes.append(f"{rows.repeated:,} candidates have the docid of another of their query; each counts by itself")
    unjudged = int(np.isnan(rows.labels).sum())
    if unjudged:
        notes.append(f"{unjudged:,} candidates are not judged and count as not relevant")
    return notes

"""A rerank recipe and its data to a bundle: lexicon, lists, student, int8, evaluation on test once, bundle."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.quantize import quantize
from farthing.distill.ranking import lists as more
from farthing.distill.ranking.card import card
from farthing.distill.ranking.data import (
    PLAN,
    Query,
    QuerySet,
    answerable,
    check_answerable,
    check_apart,
    hold_out,
    joined,
    key_of,
    read_queries,
    without,
)
from farthing.distill.ranking.features import make_spec
from farthing.distill.ranking.lexicon import TextSource, lexicon_of
from farthing.distill.ranking.measure import gain_over, measure, per_query
from farthing.distill.ranking.recipe import Elsewhere, Recipe
from farthing.distill.ranking.teacher import BiEncoder
from farthing.distill.ranking.train import Lists, logits_of, soft_targets, targets, train
from farthing.distill.ranking.words import average_words
from farthing.distill.student import Student
from farthing.distill.texts.judge import sigmoid
from farthing.errors import BundleError, DataError
from farthing.features import FeatureSpec, Featurizer, Lexicon
from farthing.golden import make_golden
from farthing.scorer import Scorer
from farthing.scoring.bundle import Manifest, write_bundle
from farthing.scoring.graph import build_model
from farthing.scoring.tensors import QuantizedTensors
from farthing.tasks.rerank import LABELS

MAX_LOSS_POINTS = 0.2
"""A bundle whose int8 form loses more than this many points of its metric to float32 on test is refused."""

HEAD = "relevance"
FORGET_SHARE = 0.4
GOLDEN_REFUSED = (
    b"",
    b"{",
    b'{"id":1}',
    b'{"query":null,"candidates":[{"text":"a"}]}',
    b'{"query":"a"}',
    b'{"query":"a","candidates":[]}',
    b'{"query":"a","candidates":[{"id":1}]}',
    b'{"query":"a","candidates":[{"text":null},{"text":5}]}',
    b'{"query":"a","candidates":{"text":"b"}}',
    b"[1]",
    b"\xff\xfe{}",
)
GOLDEN_ODD = (
    b'{"id":"o1","query":"","candidates":[{"id":"a","text":""},{"id":"b","text":"x"}]}',
    '{"query":"what is a café 🎈","candidates":[{"text":"café"},{"id":2},{"text":"a café is"}]}'.encode(),
    b'{"id":null,"query":"same same","candidates":[{"id":1,"text":"same"},{"id":2,"text":"same"}]}',
    json.dumps(
        {"query": "w " * 99, "candidates": [{"text": "w x " * 4000, "title": "w", "score": 1e300}] * 2}
    ).encode(),
)

Floats = NDArray[np.float32]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Data:
    train: QuerySet
    dev: QuerySet
    tests: tuple[tuple[str, QuerySet], ...]
    rows: tuple[int, ...]  # of each source's training part


@dataclass(frozen=True, slots=True)
class _Model:
    spec: FeatureSpec
    lexicon: Lexicon
    student: Student
    tensors: QuantizedTensors


def build(recipe: Recipe, recipe_sha256: str, data: Path, out: Path, say: Say, *, cache: Path | None = None) -> None:
    """Rebuild the bundle of a recipe into the folder ``out``; ``cache`` keeps a teacher's vectors between runs.

    Raises
    ------
    ConfigError
        Data are missing, or PyTorch or the teacher's weights are not installed.
    DataError
        Rows are not as stated, a split has no query to learn from or to measure on, or two splits share a query's id.
    BundleError
        int8 loses more than MAX_LOSS_POINTS.
    """
    began = time.process_time()
    parts = _read(recipe, data, say)
    teacher = BiEncoder(cache) if recipe.words.vectors == "minilm" or recipe.lists.depth_used else None
    lexicon, learnt_from = lexicon_of(recipe, parts.train, data, teacher, say)
    more_lists, soft = _lists(recipe, parts.train, learnt_from, teacher, say)
    model = _train(recipe, parts, lexicon, more_lists, soft, say)
    evaluation: dict[str, Any] = {
        "recipe_sha256": recipe_sha256,
        "teacher_lists": len(more_lists.queries),
        "words_with_vector": int((model.lexicon.vectors != 0).any(axis=1).sum()),
        **_evaluate(recipe, model, parts, data, say),
    }
    evaluation["training_cpu_seconds"] = round(time.process_time() - began)
    evaluation["word_texts"] = sum(len(source.texts) for source in learnt_from)
    _write(recipe, model, parts, evaluation, learnt_from, out)
    say(f"wrote {out}")


def _read(recipe: Recipe, data: Path, say: Say) -> _Data:
    """Read all sources; a query that is in any test split is in no other."""
    tests = [
        read_queries(
            data / s.test, text=s.text, title=s.title or None, relevant=s.relevant, shuffle=recipe.training.seed
        )
        for s in recipe.source
    ]
    held = {key_of(query.text) for test in tests for query in test.queries}
    trains, devs, rows = [], [], []
    for source, test in zip(recipe.source, tests, strict=True):
        whole = read_queries(
            data / source.train, text=source.text, title=source.title or None, relevant=source.relevant,
            shuffle=recipe.training.seed,
        )  # fmt: skip
        check_apart(whole, test)
        check_answerable(whole, data / source.train)
        check_answerable(test, data / source.test)
        part, dev = hold_out(without(whole, held))
        trains.append(part)
        devs.append(answerable(dev))
        rows.append(int(part.indptr[-1]))
        say(f"{source.name}: {len(part)} queries to learn from, {len(devs[-1])} for dev, {len(test)} for test")
        if not len(devs[-1]) or not len(answerable(part)):
            raise DataError(
                f"{data / source.train}: once queries of test are out and a tenth is held out for dev, one of both has "
                "no query with a relevant and another candidate; give it more queries"
            )
    names = [source.name for source in recipe.source]
    return _Data(joined(trains), joined(devs), tuple(zip(names, tests, strict=True)), tuple(rows))


def _lists(
    recipe: Recipe, train_set: QuerySet, learnt_from: Sequence[TextSource], teacher: BiEncoder | None, say: Say
) -> tuple[QuerySet, Floats]:
    """Make the lists and the teacher's target for each: its softmax, mixed with the gold label where there is one."""
    wanted = recipe.lists
    if teacher is None or not wanted.depth_used:
        return QuerySet((), train_set.sha256), np.zeros(0, np.float32)
    depth, seed = wanted.depth, wanted.seed
    sets = [more.make_lists(train_set, queries=wanted.queries, sentences=wanted.sentences, depth=depth, seed=seed)]
    if wanted.glosses:
        names = {entry.name for entry in recipe.words.glosses}
        passages = more.runs([text for s in learnt_from if s.name in names for text in s.texts], seed)
        sets.append(
            more.make_lists(passages, queries=0, sentences=wanted.glosses, depth=depth, seed=seed, name="gloss")
        )
    if wanted.own:
        sets.append(train_set)
    made = more.forget(joined(sets), FORGET_SHARE, np.random.default_rng(seed))
    texts = sorted({c.text for q in (*train_set.queries, *made.queries) for c in q.candidates})
    questions = sorted({q.text for q in made.queries})
    place = {text: k for k, text in enumerate(texts)}
    asked = dict(zip(questions, teacher(questions, wanted.max_tokens, say), strict=True))
    vectors = teacher(texts, wanted.max_tokens, say)
    opinions = [
        vectors[[place[c.text] for c in q.candidates]] @ asked[q.text] / wanted.temperature
        + wanted.first_stage_weight * more.standard_scores(q)
        for q in made.queries
    ]
    soft = soft_targets(np.concatenate(opinions), made.indptr)
    gold = targets(made.gains, made.indptr)
    labelled = np.repeat([q.gains.max() > 0 for q in made.queries], np.diff(made.indptr))
    weight = np.where(labelled, np.float32(wanted.gold_weight), np.float32(0))
    return made, (weight * gold + (1 - weight) * soft).astype(np.float32)


def _train(recipe: Recipe, parts: _Data, lexicon: Lexicon, more_lists: QuerySet, soft: Floats, say: Say) -> _Model:
    gold = answerable(parts.train)
    if recipe.lists.own:
        gold = QuerySet((), gold.sha256)  # they are among the lists, with the teacher's opinion
    both = joined([gold, more_lists])
    columns = both.columns()
    spec = make_spec(
        recipe.pairs, lexicon, columns, average_words(parts.train), max_pieces=recipe.words.max_pieces
    )  # fmt: skip
    featurizer = Featurizer(spec, lexicon)
    wanted = np.concatenate([targets(gold.gains, gold.indptr) if len(gold) else np.zeros(0, np.float32), soft])
    train_lists = Lists(featurizer(columns), both.indptr, wanted)
    counts = np.diff(train_lists.features.indptr)
    say(f"{len(both):,} lists, {len(counts):,} pairs, {counts.mean():.0f} features a pair")
    dev = featurizer(parts.dev.columns())

    def dev_score(student: Student) -> float:
        return float(np.nanmean(per_query(parts.dev, logits_of(student, dev))[recipe.training.metric]))

    student = train(recipe.student, recipe.training, spec.n_buckets, train_lists, dev_score, say)
    return _Model(spec, lexicon, student, quantize(student, train_lists.features))


def _manifest(recipe: Recipe, model: _Model, parts: _Data, evaluation: dict[str, Any]) -> Manifest:
    return Manifest(
        name=recipe.name,
        task=recipe.task,
        field_plan=PLAN.to_manifest(),
        feature_spec=model.spec.to_manifest(),
        feature_fingerprint=model.spec.fingerprint(),
        heads=(HEAD,),
        labels=LABELS,
        thresholds={},
        quantization={"kind": "static int8", "dense_weight_bits": 7, "table_bits": 8},
        training_data=tuple(
            {"name": s.name, "licence": s.licence, "rows": rows, "sha256": sha}
            for s, rows, sha in zip(recipe.source, parts.rows, parts.train.sha256.split("+"), strict=True)
        ),
        evaluation=evaluation,
    )


def _scorer(recipe: Recipe, model: _Model, parts: _Data, evaluation: dict[str, Any]) -> Scorer:
    manifest = _manifest(recipe, model, parts, evaluation)
    graph = build_model(model.tensors, {"task": manifest.task, "feature_fingerprint": manifest.feature_fingerprint})
    return Scorer(manifest, graph, model_id="unsaved", features=model.lexicon.to_npz())


def _evaluate(recipe: Recipe, model: _Model, parts: _Data, data: Path, say: Say) -> dict[str, Any]:
    scorer = _scorer(recipe, model, parts, {})
    sets: dict[str, dict[str, Any]] = {}
    gains: dict[str, dict[str, dict[str, float]]] = {}
    worst = 0.0

    def look(name: str, queries: QuerySet, ideal: Sequence[Floats] | None, *, gate: bool) -> None:
        nonlocal worst
        features = scorer.hashed.featurize(queries.columns(), None)
        logits = logits_of(model.student, features)
        scores = scorer.score(features).scores[:, 0]
        worst = max(worst, float(np.abs(scores - sigmoid(logits)).max()))
        sets[name] = {"int8": measure(queries, scores, ideal), "float32": measure(queries, logits, ideal)}
        first = np.array([np.nan if c.score is None else c.score for q in queries.queries for c in q.candidates])
        say(f"{name}: {json.dumps(sets[name])}")
        if not np.isnan(first).any():
            sets[name]["first stage"] = measure(queries, first.astype(np.float32), ideal)
            gains[name] = gain_over(queries, scores, first.astype(np.float32), ideal)
            say(f"{name}, over the first stage: {json.dumps(gains[name])}")
        metric = recipe.training.metric
        lost = 100 * (sets[name]["float32"][metric]["value"] - sets[name]["int8"][metric]["value"])
        if gate and lost > MAX_LOSS_POINTS:
            raise BundleError(
                f"{name}: int8 loses {lost:.2f} points of {metric} to float32, at most {MAX_LOSS_POINTS} are allowed; "
                "train with another seed or a larger student"
            )

    look("dev", parts.dev, None, gate=False)
    for name, test in parts.tests:
        look(f"{name} test", test, None, gate=True)
    for entry in recipe.elsewhere:
        queries, ideal = _elsewhere(entry, data)
        look(entry.name, queries, ideal, gate=False)
    return {"sets": sets, "gain_over_first_stage": gains, "worst_score_difference": round(worst, 5)}


def _elsewhere(entry: Elsewhere, data: Path) -> tuple[QuerySet, list[Floats] | None]:
    queries = read_queries(
        data / entry.rows, score=entry.score, first_stage=entry.first_stage, relevant=entry.relevant, shuffle=0
    )
    if entry.qrels is None:
        return queries, None
    judged: dict[str, list[float]] = {}
    raw = (data / entry.qrels).read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    for row in csv.DictReader(text.splitlines()):
        judged.setdefault(row["qid"], []).append(max(0.0, float(row["label"]) - entry.relevant + 1))
    return queries, [np.array(judged.get(query.id, [0.0]), np.float32) for query in queries.queries]


def _write(
    recipe: Recipe,
    model: _Model,
    parts: _Data,
    evaluation: dict[str, Any],
    learnt_from: tuple[TextSource, ...],
    out: Path,
) -> None:
    scorer = _scorer(recipe, model, parts, evaluation)
    manifest = _manifest(recipe, model, parts, evaluation)
    read_too = tuple(
        {"name": s.name, "licence": s.licence, "rows": len(s.texts), "sha256": s.sha256} for s in learnt_from
    )
    manifest = replace(manifest, training_data=manifest.training_data + read_too)
    golden = make_golden(scorer, [*golden_events(parts.train.queries), *GOLDEN_ODD, *GOLDEN_REFUSED])
    write_bundle(
        out,
        manifest=manifest,
        model=scorer.model,
        golden=golden,
        card=card(recipe, manifest),
        features=model.lexicon.to_npz(),
    )


def golden_events(queries: Sequence[Query]) -> list[bytes]:
    """Choose training queries of all sizes as golden events, some with scores, some without candidates' texts."""
    events = []
    for k, query in enumerate(queries[:: max(len(queries) // 48, 1)][:48]):
        if k % 3 == 0:
            scored = tuple(replace(c, score=float(j)) for j, c in enumerate(query.candidates))
            query = replace(query, candidates=scored)
        event = json.loads(query.event())
        if k % 4 == 0:
            event["candidates"].insert(1, {"id": "nothing"})
        events.append(json.dumps(event, ensure_ascii=False).encode())
    return events

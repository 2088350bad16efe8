"""Builds a bundle from a rerank recipe and its data: lexicon, lists, student, int8, one evaluation on test, bundle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.draft import Draft
from farthing.distill.gate import RoundingLoss
from farthing.distill.quantize import quantize
from farthing.distill.ranking import lists as more
from farthing.distill.ranking.card import card
from farthing.distill.ranking.data import (
    PLAN,
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
from farthing.distill.ranking.golden import GOLDEN_ODD, GOLDEN_REFUSED, golden_events
from farthing.distill.ranking.judge import Judge, read_elsewhere
from farthing.distill.ranking.lexicon import TextSource, lexicon_of
from farthing.distill.ranking.measure import per_query
from farthing.distill.ranking.recipe import RankingRecipe
from farthing.distill.ranking.teacher import BiEncoder
from farthing.distill.ranking.train import TrainingLists, logits_of, soft_targets, targets, train
from farthing.distill.ranking.words import average_words
from farthing.distill.show import Say
from farthing.distill.student import Student
from farthing.errors import DataError
from farthing.features import FeatureSpec, Featurizer, Lexicon
from farthing.model.stages import Stages
from farthing.scoring.tensors import QuantizedTensors
from farthing.tasks.rerank import LABELS

HEAD = "relevance"
FORGET_SHARE = 0.4
Floats = NDArray[np.float32]


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


def build(
    recipe: RankingRecipe, recipe_sha256: str, data: Path, out: Path, say: Say, *, cache: Path | None = None
) -> None:
    """Rebuild the bundle of a recipe into the folder ``out``; ``cache`` keeps a teacher's vectors between runs.

    Raises
    ------
    ConfigError
        Data is missing, or PyTorch or the teacher's weights are not installed.
    DataError
        Rows are not as stated, a split has no query to learn from or to measure on, or two splits share a query's id.
    BundleError
        int8 loses too much: :mod:`farthing.distill.gate`.
    """
    began = time.process_time()
    parts = _read(recipe, data, say)
    teacher = BiEncoder(cache) if recipe.words.vectors == "minilm" or recipe.lists.depth_used else None
    lexicon, learnt_from = lexicon_of(recipe, parts.train, data, teacher, say)
    more_lists, soft = _lists(recipe, parts.train, learnt_from, teacher, say)
    model = _train(recipe, parts, lexicon, more_lists, soft, say)
    draft = _draft(recipe, model, parts, learnt_from)
    judge = _evaluate(recipe, model.student, draft.stages, parts, data, say)
    evaluation: dict[str, Any] = {
        "recipe_sha256": recipe_sha256,
        "teacher_lists": len(more_lists.queries),
        "words_with_vector": int((model.lexicon.vectors != 0).any(axis=1).sum()),
        **judge.evaluation(),
        "training_cpu_seconds": round(time.process_time() - began),
        "word_texts": sum(len(source.texts) for source in learnt_from),
    }
    golden = [*golden_events(parts.train.queries), *GOLDEN_ODD, *GOLDEN_REFUSED]
    draft.finished(evaluation).write(out, golden=golden, card=lambda manifest: card(recipe, manifest))
    say(f"wrote {out}")


def _read(recipe: RankingRecipe, data: Path, say: Say) -> _Data:
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
    recipe: RankingRecipe, train_set: QuerySet, learnt_from: Sequence[TextSource], teacher: BiEncoder | None, say: Say
) -> tuple[QuerySet, Floats]:
    """Make the lists and the teacher's target for each: its softmax, mixed with the gold label if there is one."""
    settings = recipe.lists
    if teacher is None or not settings.depth_used:
        return QuerySet((), train_set.sha256), np.zeros(0, np.float32)
    depth, seed = settings.depth, settings.seed
    sets = [more.make_lists(train_set, queries=settings.queries, sentences=settings.sentences, depth=depth, seed=seed)]
    if settings.glosses:
        names = {entry.name for entry in recipe.words.glosses}
        passages = more.runs([text for s in learnt_from if s.name in names for text in s.texts], seed)
        sets.append(
            more.make_lists(passages, queries=0, sentences=settings.glosses, depth=depth, seed=seed, name="gloss")
        )
    if settings.own:
        sets.append(train_set)
    retrieved = more.forget(joined(sets), FORGET_SHARE, np.random.default_rng(seed))
    texts = sorted({c.text for q in (*train_set.queries, *retrieved.queries) for c in q.candidates})
    questions = sorted({q.text for q in retrieved.queries})
    place = {text: k for k, text in enumerate(texts)}
    asked = dict(zip(questions, teacher(questions, settings.max_tokens, say), strict=True))
    vectors = teacher(texts, settings.max_tokens, say)
    opinions = [
        vectors[[place[c.text] for c in q.candidates]] @ asked[q.text] / settings.temperature
        + settings.first_stage_weight * more.standard_scores(q)
        for q in retrieved.queries
    ]
    soft = soft_targets(np.concatenate(opinions), retrieved.indptr)
    gold = targets(retrieved.gains, retrieved.indptr)
    labelled = np.repeat([q.gains.max() > 0 for q in retrieved.queries], np.diff(retrieved.indptr))
    weight = np.where(labelled, np.float32(settings.gold_weight), np.float32(0))
    return retrieved, (weight * gold + (1 - weight) * soft).astype(np.float32)


def _train(
    recipe: RankingRecipe, parts: _Data, lexicon: Lexicon, more_lists: QuerySet, soft: Floats, say: Say
) -> _Model:
    gold = answerable(parts.train)
    if recipe.lists.own:
        gold = QuerySet((), gold.sha256)  # they are among the lists, with the teacher's opinion
    both = joined([gold, more_lists])
    columns = both.columns()
    spec = make_spec(
        recipe.pairs, lexicon, columns, average_words(parts.train), max_pieces=recipe.words.max_pieces
    )  # fmt: skip
    featurizer = Featurizer(spec, lexicon)
    target = np.concatenate([targets(gold.gains, gold.indptr) if len(gold) else np.zeros(0, np.float32), soft])
    train_lists = TrainingLists(featurizer(columns), both.indptr, target)
    counts = np.diff(train_lists.features.indptr)
    say(f"{len(both):,} lists, {len(counts):,} pairs, {counts.mean():.0f} features a pair")
    dev = featurizer(parts.dev.columns())

    def dev_score(student: Student) -> float:
        return float(np.nanmean(per_query(parts.dev, logits_of(student, dev))[recipe.training.metric]))

    student = train(recipe.student, recipe.training, spec.n_buckets, train_lists, dev_score, say)
    return _Model(spec, lexicon, student, quantize(student, train_lists.features))


def _draft(recipe: RankingRecipe, model: _Model, parts: _Data, learnt_from: Sequence[TextSource]) -> Draft:
    sources = [
        {"name": s.name, "licence": s.licence, "rows": rows, "sha256": sha}
        for s, rows, sha in zip(recipe.source, parts.rows, parts.train.sha256.split("+"), strict=True)
    ]
    read_too = [{"name": s.name, "licence": s.licence, "rows": len(s.texts), "sha256": s.sha256} for s in learnt_from]
    return Draft.of(
        recipe,
        model.tensors,
        plan=PLAN,
        spec=model.spec,
        heads=(HEAD,),
        labels=LABELS,
        training_data=[*sources, *read_too],
        lexicon=model.lexicon.to_npz(),
    )


def _evaluate(recipe: RankingRecipe, student: Student, stages: Stages, parts: _Data, data: Path, say: Say) -> Judge:
    """Measure on dev, on every test split (where int8 must not lose too much), and on other sets."""
    judge = Judge(student, stages, recipe.training.metric, say)
    judge.look("dev", parts.dev)
    for name, test in parts.tests:
        RoundingLoss(recipe.training.metric, judge.look(f"{name} test", test), "test").check(of=name)
    for entry in recipe.elsewhere:
        judge.look(entry.name, *read_elsewhere(entry, data))
    return judge

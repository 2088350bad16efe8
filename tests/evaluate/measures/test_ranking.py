"""Ranking metrics against scikit-learn, cases worked by hand and figures published for the data."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from farthing.evaluate.measures import ranking
from farthing.evaluate.rows import read_candidates, read_qrels
from tests.evaluate.shared import needs_shared_data, shared

ONE_QUERY = st.lists(st.integers(0, 3), min_size=1, max_size=25)


def measured(labels, scores, indptr, positive_from=1.0):
    labels, scores, indptr = np.array(labels, float), np.array(scores, float), np.array(indptr)
    ideal = ranking.ideal_of_rows(labels, indptr, positive_from=positive_from)
    order = ranking.rank(scores, indptr)
    return ranking.measure_queries(labels, order, indptr, ideal, positive_from=positive_from)


def test_a_case_worked_by_hand():
    # Ranked: 0 2 1 | 0 0 | 3
    found = measured([1, 2, 0, 0, 0, 3], [0.1, 0.2, 0.3, 0.5, 0.4, 0.9], [0, 3, 5, 6])
    assert found.average_precision == pytest.approx([(1 / 2 + 2 / 3) / 2, np.nan, 1], nan_ok=True)
    assert found.reciprocal_rank == pytest.approx([1 / 2, np.nan, 1], nan_ok=True)
    dcg, ideal = 2 / np.log2(3) + 1 / np.log2(4), 2 + 1 / np.log2(3)
    assert found.ndcg == pytest.approx([dcg / ideal, np.nan, 1], nan_ok=True)
    assert found.without_positive == 1
    means = ranking.estimate(found, resamples=50)
    assert means["mrr"].value == 0.75
    assert list(means) == ["map", "mrr", "ndcg@10"]


@given(st.lists(ONE_QUERY, min_size=1, max_size=6), st.integers(0, 9))
def test_scikit_learn_agrees_query_by_query(queries, seed):
    labels = np.concatenate(queries).astype(float)
    indptr = np.concatenate([[0], np.cumsum([len(q) for q in queries])])
    scores = np.random.default_rng(seed).permutation(len(labels)).astype(float)  # no ties: theirs are averaged
    found = measured(labels, scores, indptr, positive_from=2.0)
    for k, (start, stop) in enumerate(itertools.pairwise(indptr)):
        y, s = labels[start:stop], scores[start:stop]
        if not y.any():
            assert np.isnan(found.ndcg[k])
        elif len(y) > 1:
            assert found.ndcg[k] == pytest.approx(ndcg_score([y], [s], k=10, ignore_ties=True))
        if (y >= 2).any():
            assert found.average_precision[k] == pytest.approx(average_precision_score(y >= 2, s))
            first = 1 + int(np.argmax(y[np.argsort(-s)] >= 2))
            assert found.reciprocal_rank[k] == pytest.approx(1 / first)
        else:
            assert np.isnan(found.average_precision[k])


def test_equal_scores_are_ordered_at_random_wherever_the_right_one_stands():
    labels = np.tile([1.0, 0, 0, 0], 2_000)  # a sort that keeps the order would put every right one first
    indptr = np.arange(0, 8_001, 4)
    found = measured(labels, np.zeros(8_000), indptr)
    assert found.reciprocal_rank.mean() == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.02)
    assert np.array_equal(ranking.rank(np.zeros(9), np.array([0, 9])), ranking.rank(np.zeros(9), np.array([0, 9])))
    assert not np.array_equal(
        ranking.rank(np.zeros(9), np.array([0, 9])), ranking.rank(np.zeros(9), np.array([0, 9]), seed=1)
    )


def test_candidates_without_a_score_are_last_and_those_not_judged_count_as_not_relevant():
    found = measured([1, np.nan, 0], [-np.inf, 0.5, 0.1], [0, 3])
    assert found.reciprocal_rank.tolist() == [pytest.approx(1 / 3)]
    assert found.ndcg.tolist() == [pytest.approx(1 / np.log2(4))]
    with pytest.raises(ValueError, match="NaN"):
        ranking.rank(np.array([np.nan]), np.array([0, 1]))


def test_the_ideal_of_all_judgements_holds_what_was_not_retrieved():
    qrels = {("q", "a"): 1.0, ("q", "b"): 3.0, ("q", "far"): 2.0, ("other", "c"): 3.0}
    ideal = ranking.ideal_of_qrels(qrels, ["q", "none"])
    assert ideal.relevant.tolist() == [3, 0]
    assert ideal.dcg.tolist() == [pytest.approx(3 + 2 / np.log2(3) + 1 / 2), 0]
    labels, indptr = np.array([1.0, 3.0, 0.0]), np.array([0, 2, 3])
    found = ranking.measure_queries(labels, ranking.rank(labels, indptr), indptr, ideal)
    assert found.average_precision == pytest.approx([2 / 3, np.nan], nan_ok=True)
    assert found.ndcg[0] == pytest.approx((3 + 1 / np.log2(3)) / ideal.dcg[0])


@pytest.mark.parametrize("indptr", [[0, 2], [0, 0, 3], [1, 3], [0]])
def test_queries_must_part_the_candidates(indptr):
    with pytest.raises(ValueError, match="query_indptr"):
        ranking.rank(np.zeros(3), np.array(indptr))


@needs_shared_data
def test_bm25_as_given_scores_what_is_published_for_trec_dl21():
    candidates = read_candidates([shared("rerank/trec_dl21/test.jsonl.gz")], {}, first_stage="ranks.bm25")
    qrels = read_qrels(shared("rerank/trec_dl21/qrels.csv.gz"), {})
    order = ranking.rank(-candidates.first_stage, candidates.query_indptr)
    ideal = ranking.ideal_of_qrels(qrels, candidates.qids)
    found = ranking.measure_queries(candidates.labels, order, candidates.query_indptr, ideal)
    assert ranking.estimate(found, resamples=100)["ndcg@10"].value == pytest.approx(0.4458, abs=5e-5)
    assert (len(candidates), candidates.left_out) == (5_300, 1_814)


@needs_shared_data
def test_chance_on_wikiqa_is_chance_although_the_right_sentence_is_often_the_first():
    candidates = read_candidates([shared("rerank/wikiqa/test.jsonl.gz")], {})
    ideal = ranking.ideal_of_rows(candidates.labels, candidates.query_indptr)
    order = ranking.rank(np.zeros(len(candidates)), candidates.query_indptr)
    found = ranking.measure_queries(candidates.labels, order, candidates.query_indptr, ideal)
    assert len(found.ndcg) - found.without_positive == 243
    assert 0.36 < ranking.estimate(found, resamples=100)["map"].value < 0.44  # page order: 0.642

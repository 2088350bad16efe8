"""Scores to rankings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FieldColumns, NumberColumn, RawColumn, ScoreBlock, Status, TextColumn
from farthing.errors import BundleError, ConfigError
from farthing.tasks.rerank import LABELS, Rerank, rank, rank_reference

HEADS = ("relevance",)
TASK = Rerank.from_manifest(HEADS, LABELS, {})


def text_column(presence):
    return TextColumn(np.array(presence, np.uint8), np.zeros(0, np.uint8), np.zeros(len(presence) + 1, np.int64))


def decided(lists, status=None):
    """``lists``: one list an event of (score, presence)."""
    flat = [pair for rows in lists for pair in rows]
    scores = np.array([s for s, _ in flat], np.float32).reshape(-1, 1)
    columns = FieldColumns(
        np.zeros(len(lists), np.uint8) if status is None else np.array(status, np.uint8),
        np.cumsum([0, *map(len, lists)]),
        {"text": text_column([p for _, p in flat])},
    )
    return TASK.decide(columns, ScoreBlock(np.zeros(scores.shape, np.int32), scores))


def test_the_highest_score_comes_first_and_ties_keep_their_order():
    found = decided([[(0.2, 2), (0.9, 2), (0.2, 2), (0.5, 2)], [(0.1, 2)]])
    assert found.order.tolist() == [1, 3, 0, 2, 4]
    assert found.labels.tolist() == [0] * 5 and found.status.tolist() == [0, 0]
    assert found.ids is None


def test_what_cannot_be_scored_is_last_with_its_reason():
    found = decided([[(0.9, 0), (0.1, 2), (0.9, 1), (np.nan, 2), (0.3, 2), (-np.inf, 2)]])
    assert found.order.tolist() == [4, 1, 0, 2, 3, 5]
    assert [LABELS[label] for label in found.labels] == [
        "missing_field", "ranked", "null_field", "non_finite", "ranked", "non_finite",
    ]  # fmt: skip
    assert found.status.tolist() == [Status.OK]


def test_an_event_is_dead_only_when_nothing_can_be_scored():
    lists = [[(0.5, 1), (0.5, 0)], [(0.5, 0), (0.5, 2)], [(np.nan, 2)], [], []]
    found = decided(lists, status=[0, 0, 0, Status.SYNTAX, 0])
    assert found.status.tolist() == [Status.NULL_FIELD, Status.OK, Status.NON_FINITE, Status.SYNTAX, Status.NO_ROWS]


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, np.nan, np.inf, -0.0]) | st.floats(width=32),
                                st.integers(0, 2)), max_size=9), max_size=6)
)  # fmt: skip
def test_kernel_equals_reference(lists):
    flat = [pair for rows in lists for pair in rows]
    status = (np.arange(len(lists)) % 3 * 8).astype(np.uint8)
    arguments = (
        status,
        np.cumsum([0, *map(len, lists)]),
        np.array([p for _, p in flat], np.uint8),
        np.array([s for s, _ in flat], np.float32).reshape(-1, 1),
    )
    for found, expected in zip(rank(*arguments), rank_reference(*arguments), strict=True):
        assert found.dtype == expected.dtype and found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("heads", "labels", "thresholds", "said"),
    [
        (HEADS, ("allow",), {}, "labels are"), (("a", "b"), LABELS, {}, "orders by one"),
        (HEADS, LABELS, {"a": 1}, "thresholds are"),
    ],
)  # fmt: skip
def test_manifests_of_other_tasks_are_refused(heads, labels, thresholds, said):
    with pytest.raises(BundleError, match=said):
        Rerank.from_manifest(heads, labels, thresholds)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "needs the field text"),
        ({"text": NumberColumn(np.full(2, 2, np.uint8), np.zeros(2))}, "needs the field text"),
        ({"text": text_column([2])}, "inside the plan's array"),
        ({"text": text_column([2, 2]), "candidate_id": text_column([2, 2])}, "candidate_id must be of kind raw"),
        ({"text": text_column([2, 2]), "candidate_id": RawColumn(*np.zeros((3, 1), np.int64))}, "candidate_id must"),
    ],
)
def test_other_fields_are_refused(columns, said):
    block = FieldColumns(np.zeros(1, np.uint8), np.array([0, 2]), columns)
    with pytest.raises(ConfigError, match=said):
        TASK.decide(block, ScoreBlock(np.zeros((2, 1), np.int32), np.zeros((2, 1), np.float32)))


def test_scores_of_other_rows_are_a_bug():
    with pytest.raises(ValueError, match="1 rows of scores"):
        columns = FieldColumns(np.zeros(1, np.uint8), np.array([0, 2]), {"text": text_column([2, 2])})
        TASK.decide(columns, ScoreBlock(np.zeros((1, 1), np.int32), np.zeros((1, 1), np.float32)))

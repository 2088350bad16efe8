"""Scores of classes to one label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FieldColumns, ScoreBlock, Status
from farthing.errors import BundleError
from farthing.tasks.classify import Classify, decide, decide_reference, labels_of

HEADS = ("refund", "delivery")


def decided(rows, thresholds, status=None):
    scores = np.array(rows, np.float32).reshape(len(rows), len(HEADS))
    status = np.zeros(len(rows), np.uint8) if status is None else np.array(status, np.uint8)
    columns = FieldColumns(status=status, row_indptr=np.arange(len(rows) + 1), columns={})
    block = ScoreBlock(logits=np.zeros(scores.shape, np.int32), scores=scores)
    return Classify.from_manifest(HEADS, labels_of(HEADS), thresholds).decide(columns, block)


def test_the_highest_score_that_reaches_its_cut_decides():
    thresholds = {"refund": {"cut": 0.4}, "delivery": {"cut": 0.6}}
    rows = [(0.3, 0.5), (0.4, 0.5), (0.45, 0.7), (0.7, 0.65), (0.6, 0.6), (0.39, 0.6)]
    assert decided(rows, thresholds).labels.tolist() == [0, 1, 2, 1, 1, 2]


def test_a_head_without_a_cut_has_no_say():
    assert decided([(1.0, 1.0)], {}).labels.tolist() == [0]
    assert decided([(1.0, 0.7)], {"refund": {"cut": None}, "delivery": {"cut": 0.7}}).labels.tolist() == [2]


def test_cuts_are_met_when_equal_as_float32():
    below = np.nextafter(np.float32(0.1), np.float32(0))
    assert decided([(0.1, 0), (below, 0)], {"refund": {"cut": 0.1}}).labels.tolist() == [1, 0]


def test_scores_that_are_not_finite_make_events_non_finite_but_keep_earlier_reasons():
    rows = [(0.1, 0.2), (np.nan, 0.2), (0.3, np.inf), (np.nan, 0.1)]
    found = decided(rows, {}, status=[Status.OK, Status.OK, Status.OK, Status.SYNTAX])
    assert found.status.tolist() == [0, Status.NON_FINITE, Status.NON_FINITE, Status.SYNTAX]


@given(st.lists(st.tuples(*[st.floats(width=32)] * 3), max_size=20), st.tuples(*[st.floats(0, 1, width=32)] * 3))
def test_kernel_equals_reference(rows, cuts):
    scores = np.array(rows, np.float32).reshape(-1, 3)
    status = (np.arange(2 * len(scores)) % 3).astype(np.uint8)
    row_indptr = np.repeat(np.arange(len(scores) + 1), 2)[1:]  # 0 or 1 rows an event
    arguments = (status, row_indptr, scores, np.array([*cuts[:2], np.inf], np.float32))
    for found, expected in zip(decide(*arguments), decide_reference(*arguments), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": ("no", "yes")}, r"labels are \['no', 'yes'\], the task classify has \['none', 'refund'"),
        ({"thresholds": {"refund": {"cut": 0}}}, "cut of head refund is 0, expected a number over 0"),
        ({"thresholds": {"refund": {"cut": True}}}, "cut of head refund is True"),
        ({"thresholds": {"refund": 0.5}}, "thresholds of head refund are 0.5, expected an object with cut"),
        ({"thresholds": {"other": {"cut": 0.5}}}, r"name the heads \['other'\]"),
        ({"heads": ("none", "x"), "labels": ("none", "none", "x")}, "called 'none'"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(BundleError, match=said):
        Classify.from_manifest(**{"heads": HEADS, "labels": labels_of(HEADS), "thresholds": {}, **change})


def test_rows_must_be_those_of_the_events():
    columns = FieldColumns(status=np.zeros(2, np.uint8), row_indptr=np.arange(3), columns={})
    with pytest.raises(ValueError, match="1 rows of scores, the events have 2"):
        Classify(np.ones(1, np.float32)).decide(columns, ScoreBlock(np.zeros((1, 0), np.int32), np.ones((1, 1), "f4")))

"""Scores to labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import FieldColumns, ScoreBlock, Status
from farthing.errors import BundleError
from farthing.tasks.moderation import Moderation, decide, decide_reference

HEADS = ("offensive", "hateful")
LABELS = ("allow", "review", "block")


def decided(rows, thresholds, status=None):
    scores = np.array(rows, np.float32).reshape(len(rows), len(HEADS))
    status = np.zeros(len(rows), np.uint8) if status is None else np.array(status, np.uint8)
    columns = FieldColumns(status=status, row_indptr=np.arange(len(rows) + 1), columns={})
    block = ScoreBlock(logits=np.zeros(scores.shape, np.int32), scores=scores)
    return Moderation.from_manifest(HEADS, LABELS, thresholds).decide(columns, block)


def test_the_most_severe_head_decides():
    thresholds = {"offensive": {"review": 0.5, "block": 0.9}, "hateful": {"review": 0.2, "block": 0.4}}
    rows = [(0.1, 0.1), (0.5, 0.1), (0.9, 0.1), (0.1, 0.2), (0.1, 0.4), (0.6, 0.45), (0.49, 0.19)]
    assert decided(rows, thresholds).labels.tolist() == [0, 1, 2, 1, 2, 2, 0]


def test_thresholds_are_met_when_equal_as_float32():
    below = np.nextafter(np.float32(0.1), np.float32(0))
    assert decided([(0.1, 0), (below, 0)], {"offensive": {"review": 0.1}}).labels.tolist() == [1, 0]


def test_a_head_without_thresholds_has_no_say():
    assert decided([(1.0, 1.0)], {}).labels.tolist() == [0]
    assert decided([(1.0, 1.0)], {"offensive": {"review": None, "block": None}}).labels.tolist() == [0]
    assert decided([(0.1, 1.0)], {"hateful": {"block": 0.8}}).labels.tolist() == [2]


def test_scores_that_are_not_finite_make_events_non_finite_but_keep_earlier_reasons():
    rows = [(0.1, 0.2), (np.nan, 0.2), (0.3, np.inf), (-np.inf, 0.1), (np.nan, 0.1)]
    found = decided(rows, {}, status=[Status.OK, Status.OK, Status.OK, Status.OK, Status.SYNTAX])
    assert found.status.tolist() == [0, Status.NON_FINITE, Status.NON_FINITE, Status.NON_FINITE, Status.SYNTAX]


def test_the_parsed_status_is_not_written_to():
    status = np.zeros(1, np.uint8)
    decide(status, np.arange(2), np.full((1, 1), np.nan, np.float32), np.ones((1, 2), np.float32))
    assert status[0] == Status.OK


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.floats(width=32)] * 3), max_size=20), st.tuples(*[st.floats(0, 1, width=32)] * 6))
def test_kernel_equals_reference(rows, cuts):
    scores = np.array(rows, np.float32).reshape(-1, 3)
    thresholds = np.sort(np.array(cuts, np.float32).reshape(3, 2), axis=1)
    status = (np.arange(2 * len(scores)) % 3).astype(np.uint8)
    row_indptr = np.repeat(np.arange(len(scores) + 1), 2)[1:]  # 0 or 1 rows an event
    arguments = (status, row_indptr, scores, thresholds)
    for found, expected in zip(decide(*arguments), decide_reference(*arguments), strict=True):
        assert np.array_equal(found, expected)


def test_refused_events_have_no_rows_and_do_not_shift_others():
    status = np.array([Status.OK, Status.SYNTAX, Status.OK, Status.TOO_LARGE, Status.OK], np.uint8)
    scores = np.array([[0.1, 0], [np.nan, 0], [0.9, 0]], np.float32)
    columns = FieldColumns(status=status, row_indptr=np.array([0, 1, 1, 2, 2, 3]), columns={})
    decider = Moderation.from_manifest(HEADS, LABELS, {"offensive": {"review": 0.5}})
    found = decider.decide(columns, ScoreBlock(np.zeros((3, 2), np.int32), scores))
    assert found.status.tolist() == [0, Status.SYNTAX, Status.NON_FINITE, Status.TOO_LARGE, 0]
    assert found.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"rude": {"review": 0.5}}, r"heads \['rude'\], the bundle has \['offensive', 'hateful'\]"),
        ({"offensive": 0.5}, "offensive are 0.5, expected an object"),
        ({"offensive": {"reveiw": 0.5}}, "reveiw"),
        ({"offensive": {"review": "0.5"}}, "review of head offensive is '0.5'"),
        ({"offensive": {"review": True}}, "is True"),
        ({"offensive": {"review": float("nan")}}, "is nan"),
        ({"offensive": {"block": 1.5}}, "block of head offensive is 1.5"),
        ({"offensive": {"review": 0}}, "is 0, expected a number over 0"),
        ({"hateful": {"review": 0.9, "block": 0.5}}, "review at 0.9 is above block at 0.5"),
    ],
)
def test_bad_thresholds(thresholds, message):
    with pytest.raises(BundleError, match=message):
        Moderation.from_manifest(HEADS, LABELS, thresholds)


def test_other_labels_are_refused():
    with pytest.raises(BundleError, match=r"labels are \['no', 'yes'\], the task moderation has"):
        Moderation.from_manifest(HEADS, ("no", "yes"), {})


def test_rows_must_be_those_of_the_events():
    columns = FieldColumns(status=np.zeros(2, np.uint8), row_indptr=np.arange(3), columns={})
    block = ScoreBlock(np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="1 rows of scores, the events have 2 rows"):
        Moderation.from_manifest(HEADS, LABELS, {}).decide(columns, block)

"""Counting usage: the kernel equals its reference and the definition; counts and totals are the same thing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.count import N_COUNTS, count_usage, count_usage_reference, counts_of, totals_of
from farthing.meter.usage import UsageTotals
from tests.meter.blocks import totals_of_block

events = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 5, 18]), st.integers(0, 5), st.integers(0, 1 << 23), st.integers(0, 1 << 23)
    ),
    max_size=60,
)


def block(rows, cuts):
    status, n_rows, value, prompt = (np.array(c, np.int64) for c in (zip(*rows, strict=True) if rows else [[]] * 4))
    bounds = np.array([0, *sorted(cut % (len(rows) + 1) for cut in cuts), len(rows)], np.int64)
    return bounds, status.astype(np.uint8), np.concatenate([[0], np.cumsum(n_rows)]).astype(np.int64), value, prompt


@given(events, st.lists(st.integers(0, 100), max_size=4))
def test_the_kernel_equals_its_reference(rows, cuts):
    arguments = block(rows, cuts)
    assert np.array_equal(count_usage(*arguments), count_usage_reference(*arguments))


@given(events)
def test_a_block_is_counted_as_its_definition_says(rows):
    arguments = block(rows, [])
    _, status, row_indptr, value, prompt = arguments
    scored = status == 0
    rows_scored = int(np.diff(row_indptr)[scored].sum())
    expected = totals_of_block(
        prompt[scored], dead=int((~scored).sum()), rows=rows_scored, payload_bytes=int(value.sum())
    )
    (counts,) = count_usage(*arguments)
    assert totals_of(counts) == expected
    assert np.array_equal(counts_of(expected), counts)


@given(events, events)
def test_counts_add_up_as_totals_do(a, b):
    (left,), (right,) = count_usage(*block(a, [])), count_usage(*block(b, []))
    assert totals_of(left + right) == totals_of(left) + totals_of(right)


def test_nothing_is_nothing():
    assert totals_of(np.zeros(N_COUNTS, np.int64)) == UsageTotals()

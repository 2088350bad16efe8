"""Running totals: their differences and sums are exact, and they fit beside a committed offset."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.untrusted import Refused
from farthing.meter.usage import (
    LAST_SIZE_CLASS,
    METADATA_LIMIT_BYTES,
    SizeCount,
    UsageTotals,
    size_class,
)
from tests.meter.blocks import totals_of_block

sizes = st.lists(st.integers(0, 2**24), max_size=30)


@st.composite
def totals(draw):
    block = draw(sizes)
    return totals_of_block(
        block,
        dead=draw(st.integers(0, 100)),
        rows=draw(st.integers(0, 10**6)),
        payload_bytes=draw(st.integers(0, 2**40)),
    )


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_size_classes_are_in_order_and_no_wider_than_a_quarter(a, b):
    low, high = sorted((a, b))
    assert 0 <= size_class(low) <= size_class(high) <= LAST_SIZE_CLASS
    if size_class(low) == size_class(high) < LAST_SIZE_CLASS:
        assert high <= low * 5 / 4


@pytest.mark.parametrize("impossible", [[0, 1, 2**62], [8, 0, 5], [83, 3, 3 * 2**31]])
def test_calls_larger_than_any_event_are_refused(impossible):
    body = {"v": 1, "s": impossible[1], "d": 0, "r": 0, "b": 0, "c": impossible}
    with pytest.raises(Refused, match="largest record") as refused:
        UsageTotals.of(body)
    assert refused.value.reason == "damaged"


def test_classes_have_no_gaps():
    seen = [size_class(n) for n in range(2**12)]
    assert sorted(set(seen)) == list(range(max(seen) + 1))
    assert size_class(7 * 2**19 - 1) == LAST_SIZE_CLASS - 1
    assert size_class(7 * 2**19) == size_class(2**50) == LAST_SIZE_CLASS


@given(totals(), totals(), totals())
def test_addition_laws(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + UsageTotals() == a


@given(totals(), totals())
def test_difference_undoes_addition(earlier, since):
    later = earlier + since
    assert later - earlier == since
    assert later - later == UsageTotals()


@given(st.lists(totals(), min_size=1, max_size=6), st.data())
def test_a_lost_record_changes_nothing(steps, data):
    """Windows are differences: leaving a total out moves what happened into the next window and loses nothing."""
    running = [UsageTotals()]
    for step in steps:
        running.append(running[-1] + step)
    kept = [running[0], *(t for t in running[1:-1] if data.draw(st.booleans())), running[-1]]
    windows = [later - earlier for earlier, later in itertools.pairwise(kept)]
    assert sum(windows, UsageTotals()) == sum(steps, UsageTotals())


@given(totals())
def test_the_encoded_form_reads_back(total):
    text = total.encode()
    assert UsageTotals.decode(text) == total
    assert text.isascii()
    assert len(text) <= METADATA_LIMIT_BYTES


def test_the_largest_total_fits_beside_an_offset():
    most = 2**63 - 1
    calls = {at: SizeCount(most // (LAST_SIZE_CLASS + 1), most) for at in range(LAST_SIZE_CLASS + 1)}
    scored = sum(count.calls for count in calls.values())
    total = UsageTotals(scored, most, most, most, calls)
    assert len(total.encode()) <= METADATA_LIMIT_BYTES
    assert UsageTotals.decode(total.encode()) == total


def test_totals_only_grow():
    small = UsageTotals(1, 0, 1, 10, {3: SizeCount(1, 3)})
    large = UsageTotals(2, 0, 2, 20, {3: SizeCount(2, 6)})
    with pytest.raises(ValueError, match="only grow"):
        small - large
    other = UsageTotals(1, 0, 1, 10, {4: SizeCount(1, 4)})
    with pytest.raises(ValueError, match="only grow"):
        large - other


@pytest.mark.parametrize(
    "bad",
    [
        {"scored": -1},
        {"scored": 1},  # no call
        {"scored": 1, "calls": {2: SizeCount(2, 4)}},
        {"scored": 1, "calls": {LAST_SIZE_CLASS + 1: SizeCount(1, 4)}},
        {"dead": -5},
    ],
)
def test_impossible_totals_are_refused(bad):
    with pytest.raises(ValueError):
        UsageTotals(**bad)


def test_counts_are_integers():
    with pytest.raises(TypeError):
        UsageTotals(rows=1.0)


def test_other_versions_and_damage_are_named():
    good = json.loads(UsageTotals(1, 2, 3, 4, {5: SizeCount(1, 5)}).encode())
    with pytest.raises(ValueError, match=r"format 2.*reads format 1"):
        UsageTotals.decode(json.dumps({**good, "v": 2}))
    for damage in ({"c": [1, 2]}, {"c": [5, 1, 5, 5, 0, 0]}, {"s": -1}, {"s": "1"}, {"c": None}, {"s": True}):
        with pytest.raises(ValueError, match="damaged"):
            UsageTotals.decode(json.dumps({**good, **damage}))
    for text in ("", "{}", "[]", "null", "consumer metadata"):
        with pytest.raises(ValueError, match="not a usage total"):
            UsageTotals.decode(text)

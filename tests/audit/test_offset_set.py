"""The set of offsets against Python's own, and its kernel against its plain form."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farthing.audit import offset_set
from farthing.audit.offset_set import PAGE, OffsetSet, mark, mark_reference

# Near the beginnings and ends of pages, and of bytes.
OFFSETS = st.one_of(
    st.integers(0, 40), st.integers(PAGE - 20, PAGE + 20), st.integers(5 * PAGE - 3, 5 * PAGE + 3), st.just(2**40)
)


@given(st.lists(st.lists(OFFSETS, max_size=30), max_size=5), OFFSETS, OFFSETS)
def test_it_is_a_set(runs, start, stop):
    ours, theirs = OffsetSet(), set()
    for run in runs:
        assert ours.add(np.array(run, np.int64)) == len(set(run) - theirs)
        theirs |= set(run)
    assert len(ours) == len(theirs)
    assert ours.count(start, stop) == sum(start <= offset < stop for offset in theirs)


@given(st.lists(OFFSETS, max_size=30), st.lists(OFFSETS, max_size=30))
def test_what_is_in_both(one, other):
    sets = OffsetSet(), OffsetSet()
    for ours, offsets in zip(sets, (one, other), strict=True):
        ours.add(np.array(offsets, np.int64))
    assert sets[0].shared(sets[1]) == sets[1].shared(sets[0]) == len(set(one) & set(other))


@given(st.lists(st.integers(0, 79), max_size=60))
def test_the_kernel_is_its_plain_form(places):
    bits, expected = np.zeros(10, np.uint8), np.zeros(10, np.uint8)
    found = mark(bits, np.array(places, np.int64))
    assert found == mark_reference(expected, np.array(places, np.int64)) == len(set(places))
    np.testing.assert_array_equal(bits, expected)


def test_full_pages_take_no_memory(monkeypatch):
    monkeypatch.setattr(offset_set, "PAGE_BITS", 10)
    monkeypatch.setattr(offset_set, "PAGE", 1 << 10)
    found = OffsetSet()
    assert found.add(np.arange(64 << 10)) == 64 << 10
    assert not any(bits is not None for bits in found._pages.values())
    assert found.add(np.arange(100)) == 0
    assert (len(found), found.count(1_000, 2_000)) == (64 << 10, 1_000)
    other = OffsetSet()
    other.add(np.array([3, 5_000, 70_000]))
    assert found.shared(other) == 2

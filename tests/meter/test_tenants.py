"""Tenants: the kernel equals its plain form, names cannot fill the memory, and what is carried comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import Presence, RawColumn, TextColumn
from farthing.meter import tenants
from farthing.meter.records import OTHER, TenantCount
from farthing.meter.tenants import (
    CAPACITY,
    LONGEST_BYTES,
    N_COLUMNS,
    TenantNames,
    TenantTotals,
    count_tenants,
    count_tenants_reference,
    pack,
    unpack,
    with_other,
)

names = st.one_of(st.sampled_from([b'"a"', b'"b"', b"17", b""]), st.binary(min_size=LONGEST_BYTES - 1, max_size=66))
events = st.lists(
    st.tuples(names, st.sampled_from([0, 2, 2, 2]), st.sampled_from([0, 0, 0, 7]), st.integers(0, 900)), max_size=60
)


def laid_out(rows):
    """(buffer, presence, start, stop, status, prompt bytes)"""
    tokens = [row[0] for row in rows]
    stop = np.cumsum([len(token) for token in tokens], dtype=np.int64)
    start = stop - np.array([len(token) for token in tokens], np.int64)
    presence, status = (np.array([row[k] for row in rows], np.uint8) for k in (1, 2))
    sizes = np.array([row[3] for row in rows], np.int64)
    return np.frombuffer(b"".join(tokens), np.uint8), presence, start, stop, status, sizes


def bounds_of(n, cuts):
    return np.array([0, *sorted(cut % (n + 1) for cut in cuts), n], np.int64)


@given(st.lists(st.tuples(events, st.lists(st.integers(0, 100), max_size=4)), max_size=3))
def test_the_kernel_equals_its_reference(blocks):
    ours, theirs = TenantNames(), TenantNames()
    for rows, cuts in blocks:
        buffer, presence, start, stop, status, sizes = laid_out(rows)
        found = []
        for count, one in ((count_tenants, ours), (count_tenants_reference, theirs)):
            out = np.full((len(rows), N_COLUMNS), 99, np.int64)
            n = count(
                bounds_of(len(rows), cuts), status, sizes, presence, buffer, start, stop,
                one._slots, one._pool, one._sizes, one._n_names, one._seen, out,
            )  # fmt: skip
            found.append(out[:n])
        np.testing.assert_array_equal(*found)
        for array in ("_pool", "_sizes", "_n_names"):
            np.testing.assert_array_equal(getattr(ours, array), getattr(theirs, array))


@given(events, st.lists(st.integers(0, 100), max_size=4))
def test_what_is_counted(rows, cuts):
    buffer, presence, start, stop, status, sizes = laid_out(rows)
    bounds = bounds_of(len(rows), cuts)
    found = TenantNames(tokens=False).count(bounds, status, sizes, RawColumn(presence, start, stop), buffer)
    for part in range(len(bounds) - 1):
        expected = {}
        for token, there, state, size in rows[bounds[part] : bounds[part + 1]]:
            name = token if there == Presence.PRESENT and 0 < len(token) <= LONGEST_BYTES else b""
            count = expected.setdefault(name, [0, 0, 0])
            for at, n in enumerate((not state, bool(state), 0 if state else size)):
                count[at] += n
        pool, sizes_ = found.names._pool, found.names._sizes
        ours = {pool[64 * t :][: sizes_[t]].tobytes(): c for _, t, *c in found.of_part(part).tolist()}
        assert ours == expected


def count_texts(names_, texts):
    data = [text.encode() for text in texts]
    indptr = np.cumsum([0, *map(len, data)], dtype=np.int64)
    column = TextColumn(np.full(len(data), 2, np.uint8), np.frombuffer(b"".join(data), np.uint8), indptr)
    n = len(data)
    bounds = np.array([0, n])
    return names_.count(bounds, np.zeros(n, np.uint8), np.full(n, 3, np.int64), column, np.zeros(0, np.uint8))


def test_a_hundred_thousand_tenants_take_no_more_than_their_room():
    names_, totals = TenantNames(tokens=False), TenantTotals()
    for block in range(20):
        found = count_texts(names_, [f"tenant-{n}" for n in range(block * 5_000, block * 5_000 + 5_000)])
        totals.add(found.names, found.rows)
    assert int(names_._n_names[0]) == CAPACITY
    kept = totals.largest(200)
    assert len(kept) == 200
    assert with_other(kept, TenantCount(100_000, 0, 300_000))[OTHER] == TenantCount(99_800, 0, 299_400)
    again = count_texts(names_, ["tenant-7", "tenant-99999"])  # the first ones are still told apart
    assert sorted(again.rows[:, tenants.TENANT].tolist()) == [0, 8]


def test_names_are_json_values():
    values = [b'"caf\\u00e9"', b'"caf\xc3\xa9"', b"17", b"true"]
    buffer, presence, start, stop, status, sizes = laid_out([(v, 2, 0, 5) for v in values])
    names_, totals = TenantNames(), TenantTotals()
    found = names_.count(np.array([0, 4]), status, sizes, RawColumn(presence, start, stop), buffer)
    totals.add(found.names, found.rows)
    assert totals.largest(9) == {
        "café": TenantCount(2, 0, 10), "17": TenantCount(1, 0, 5), "true": TenantCount(1, 0, 5),
    }  # fmt: skip


def test_a_text_that_begins_with_a_quote_is_a_name():
    found = count_texts(TenantNames(tokens=False), ['"', '"x'])
    assert [found.names.text(k) for k in (1, 2)] == ['"', '"x']


def test_what_was_carried_goes_on():
    totals = TenantTotals({"a": TenantCount(5, 1, 50), "gone": TenantCount(1, 0, 9)})
    found = count_texts(TenantNames(tokens=False), ["b", "a", "b", "b"])
    totals.add(found.names, found.rows)
    assert totals.largest(9) == {
        "a": TenantCount(6, 1, 53), "b": TenantCount(3, 0, 9), "gone": TenantCount(1, 0, 9),
    }  # fmt: skip
    assert list(totals.largest(2)) == ["a", "b"]


counts = st.builds(TenantCount, st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63))


@given(st.dictionaries(st.text(max_size=70), counts, max_size=40), st.integers(0, 2_000))
def test_packed_tenants_fit_and_come_back(given_, most):
    text, kept = pack(given_, most)
    assert len(text) <= max(most, 0)
    assert text.isascii()
    assert '"' not in text
    assert "\\" not in text
    assert unpack(text) == kept
    assert list(kept) == list(given_)[: len(kept)]  # the largest stay


@pytest.mark.parametrize("name, least", [("acme-{}", 130), ("00000000-{0:04x}-4{0:03x}-8{0:03x}-{0:012x}", 90)])
def test_how_many_fit_beside_a_total(name, least):
    rng = np.random.default_rng(3)
    given_ = {
        name.format(int(rng.integers(2**24))): TenantCount(*map(int, rng.integers(2**24, size=3))) for _ in range(200)
    }
    assert least <= len(pack(given_, 3_500)[1]) <= 200


@pytest.mark.parametrize("text", ["~", "0000", "c$~{", "A" * 50])
def test_damaged_tenants_are_refused(text):
    with pytest.raises(ValueError, match="damaged tenants"):
        unpack(text)

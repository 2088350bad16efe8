"""An account: whatever comes twice, late, in disorder or not at all, the books are those of the furthest record."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.ledger.books import WINDOWS_MS, Account, post
from farthing.meter.records import TenantCount, UsageRecord
from farthing.meter.usage import UsageTotals, size_class

MINUTE = WINDOWS_MS["minute"]


def record(next_offset, at_ms, events):
    """A record whose totals are ``events`` events of 10 bytes."""
    calls = {size_class(10): (events, 10 * events)} if events else {}
    totals = UsageTotals(events, 0, events, 30 * events, calls)
    return UsageRecord("t", 0, "m@1", "moderation", 0, next_offset, at_ms, totals)


steps = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 3 * MINUTE)), min_size=1, max_size=30)


def run_of(steps):
    """A run of records as one worker after the other would send them."""
    events, at_ms, records = 0, 5 * MINUTE, []
    for more, later in steps:
        events, at_ms = events + more, at_ms + later
        records.append(record(2 * events, at_ms, events))
    return records


@given(steps, st.randoms(use_true_random=False), st.data())
def test_what_is_lost_repeated_or_late_changes_nothing(steps, rng, data):
    records = run_of(steps)
    kept = [*data.draw(st.lists(st.sampled_from(records), max_size=40)), records[-1]]
    rng.shuffle(kept)
    account = None
    for one in kept:
        account = post(account, one)
    assert account.record == records[-1]


@given(steps)
def test_windows_add_up_to_the_total(steps):
    records = run_of(steps)
    account, counted = None, {name: {} for name in WINDOWS_MS}
    for one in records:
        account = post(account, one)
        for name, size in WINDOWS_MS.items():
            counted[name][one.at_ms // size] = account.used(name, one.at_ms).scored
    for name, windows in counted.items():
        assert sum(windows.values()) == records[-1].totals.scored, name


def test_a_window_that_is_over_is_empty_now():
    account = post(None, record(10, 5 * MINUTE, 7))
    assert account.used("minute", 5 * MINUTE + 59_999).scored == 7
    assert account.used("minute", 6 * MINUTE).scored == 0
    assert account.used("hour", 7 * MINUTE).scored == 7


def test_a_clock_that_goes_back_moves_nothing_out_of_its_window():
    account = post(post(None, record(10, 5 * MINUTE, 7)), record(20, 4 * MINUTE, 9))
    assert account.used("minute", 5 * MINUTE).scored == 9


@given(steps)
def test_an_account_is_read_as_it_was_written(steps):
    account = None
    for one in run_of(steps):
        account = post(account, one)
    assert Account.decode(account.encode()) == account


def test_another_counts_record_is_refused():
    account = post(None, record(10, 0, 1))
    other = UsageRecord("t", 0, "m@1", "moderation", 5, 10, 0, UsageTotals())
    with pytest.raises(ValueError, match="posted to account"):
        post(account, other)


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"{}", b'{"record":{},"windows":{}}', b'{"record":1,"windows":{}}']
)
def test_what_is_no_account_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        Account.decode(value)


def test_any_order_of_a_few_records_gives_the_same_total():
    records = run_of([(5, 1000), (7, MINUTE), (1, 10)])
    found = set()
    for order in itertools.permutations(records):
        account = None
        for one in order:
            account = post(account, one)
        found.add(account.record.totals.scored)
    assert found == {13}


def test_tenants_travel_along():
    tenants = {"acme": TenantCount(3, 1, 30), "": TenantCount(1, 0, 10)}
    one = UsageRecord("t", 3, "m@1", "moderation", 0, 9, 1, record(0, 0, 4).totals, tenants)
    assert UsageRecord.decode(one.encode()) == one
    assert Account.decode(post(None, one).encode()).record.tenants == tenants

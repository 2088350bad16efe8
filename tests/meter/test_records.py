"""Usage records and heartbeats: written, read back, and what is no such thing is refused with a sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.records import Heartbeat, TenantCount, UsageRecord
from farthing.meter.usage import LAST_SIZE_CLASS, UsageTotals

counts = st.integers(0, 2**63 - 1)
names = st.text(max_size=20)


@st.composite
def totals(draw):
    calls = draw(st.dictionaries(st.integers(0, LAST_SIZE_CLASS), st.tuples(st.integers(1, 2**50), counts), max_size=8))
    return UsageTotals(sum(n for n, _ in calls.values()), draw(counts), draw(counts), draw(counts), calls)


@st.composite
def usage_records(draw):
    base = draw(counts)
    tenants = draw(st.dictionaries(names, st.builds(TenantCount, counts, counts, counts), max_size=5))
    return UsageRecord(
        draw(names), draw(st.integers(0, 2**31 - 1)), draw(names), draw(names), base, base + draw(st.integers(0, 2**40)),
        draw(counts), draw(totals()), tenants, draw(st.integers(0, 3)),
    )  # fmt: skip


heartbeats = st.builds(
    Heartbeat, names, counts, counts, names, st.integers(0, 1024), counts, st.dictionaries(names, counts, max_size=4),
    st.lists(counts, max_size=20).map(tuple),
    st.dictionaries(names, st.lists(counts, max_size=20).map(tuple), max_size=3),
    st.dictionaries(names, st.lists(counts, max_size=8).map(tuple), max_size=3),
)  # fmt: skip


@given(usage_records())
def test_usage_records_come_back(record):
    assert UsageRecord.decode(record.encode()) == record


@given(heartbeats)
def test_heartbeats_come_back(beat):
    assert Heartbeat.decode(beat.encode()) == beat


@pytest.mark.parametrize("kind", [UsageRecord, Heartbeat])
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_with_a_sentence(kind, value):
    with pytest.raises(ValueError, match=r"."):
        kind.decode(value)


@given(usage_records(), st.data())
def test_a_damaged_record_is_refused(record, data):
    body = json.loads(record.encode())
    key = data.draw(st.sampled_from(sorted(body.keys() - {"v", "topic", "model", "task"})))
    body[key] = data.draw(st.sampled_from([None, -1, 1.5, "x", [], True]))
    if key == "tenants" and body[key] == {}:
        return
    with pytest.raises(ValueError, match=r"."):
        UsageRecord.decode(json.dumps(body).encode())


def test_another_version_is_named():
    body = json.loads(UsageRecord("t", 0, "m", "moderation", 0, 0, 0, UsageTotals()).encode()) | {"v": 2}
    with pytest.raises(ValueError, match="format 2"):
        UsageRecord.decode(json.dumps(body).encode())


def test_reserved_time_counts_idle_cores():
    beat = Heartbeat("host/0", 1_000, 61_000, "running", 2, 5)
    assert beat.reserved_core_ms == 120_000
    assert Heartbeat("host/0", 1_000, 500, "running", 2, 5).reserved_core_ms == 0  # a clock that went back

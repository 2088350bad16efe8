"""Usage records and heartbeats: written, read back, and what is no such thing is refused with a sentence."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.latencies import EDGES_MS, by_edge
from farthing.meter.records import Heartbeat, TenantCount, UsageRecord
from farthing.meter.untrusted import Refused
from farthing.meter.usage import LARGEST_EVENT_BYTES, LAST_SIZE_CLASS, UsageTotals

counts = st.integers(0, 2**63 - 1)
names = st.text(max_size=20)


@st.composite
def totals(draw):
    calls = {}
    for at in draw(st.sets(st.integers(0, LAST_SIZE_CLASS), max_size=8)):
        n = draw(st.integers(1, 2**32 - 1))
        calls[at] = n, draw(st.integers(0, n * LARGEST_EVENT_BYTES))
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
    st.none() | st.dictionaries(names, st.dictionaries(counts, counts, max_size=8), max_size=3),
)  # fmt: skip

# Written by the release before ages were told in fine buckets.
OLDER = (
    b'{"v":1,"worker":"node-a:9464/0","started_at_ms":1795516000000,"at_ms":1795516220000,"state":"running","cores":2,'
    b'"cpu_ns":92400000000,"lag":{"events.m":1200},"latency_edges_ms":[1,2,4,8,16,32,64,128,256,512,1024,2048,4096,8192,'
    b'16384,32768,65536],"latency":{"events.m":[0,0,3,40,300,500,190,0,10,4,2,1,0,0,0,0,0,5]},"sample":{'
    b'"moderation@1a2b3c4d":[1,2,3,4,5,6,7,8]}}'
)


@given(usage_records())
def test_usage_records_come_back(record):
    assert UsageRecord.decode(record.encode()) == record


@given(heartbeats)
def test_heartbeats_come_back(beat):
    assert Heartbeat.decode(beat.encode()) == beat


def test_an_older_heartbeat_is_read_and_written_as_it_was():
    beat = Heartbeat.decode(OLDER)
    assert beat.encode() == OLDER
    assert beat.lag == {"events.m": 1200}
    assert beat.events_by_age == {
        "events.m": {4: 3, 8: 40, 16: 300, 32: 500, 64: 190, 256: 10, 512: 4, 1024: 2, 2048: 1, math.inf: 5}
    }


def test_an_older_ledger_finds_every_key_that_it_reads():
    fine = {"events.m": {3: 5, 70_000: 1}}
    body = json.loads(replace(Heartbeat.decode(OLDER), ages=fine).encode())
    assert body.pop("ages") == {"events.m": [3, 5, 70_000, 1]}
    assert body == json.loads(OLDER)


def test_the_unreadable_part_of_lag_is_sent_where_there_is_some():
    beat = replace(Heartbeat.decode(OLDER), unreadable={"events.m": 7})
    assert Heartbeat.decode(beat.encode()) == beat
    assert json.loads(beat.encode())["unreadable"] == {"events.m": 7}
    for wrong in ([1], 5, {"r": -1}, {"r": "x"}):
        with pytest.raises(ValueError, match="damaged heartbeat"):
            Heartbeat.decode(json.dumps(json.loads(OLDER) | {"unreadable": wrong}).encode())


def test_a_heartbeat_stays_small():
    rng = np.random.default_rng(1)
    counts = np.zeros(len(EDGES_MS), np.int64)
    ages = np.exp(rng.normal(3.5, 1.2, 1_000_000)).astype(np.int64)  # around 33 ms, some below 1 ms, some over 10 s
    np.add.at(counts, np.searchsorted(EDGES_MS, ages), 1)
    beat = replace(Heartbeat.decode(OLDER), ages={"events.m": by_edge(counts)})
    assert len(beat.encode()) - len(OLDER) < 2_000


@pytest.mark.parametrize(
    "ages", [{"r": [1]}, {"r": [1, -1]}, {"r": ["1", 2]}, [], {"r": {"1": 2}}, {"r": 5}, 7, {"r": None}]
)
def test_damaged_ages_are_refused_in_words(ages):
    with pytest.raises(ValueError, match="damaged heartbeat"):
        Heartbeat.decode(json.dumps(json.loads(OLDER) | {"ages": ages}).encode())


WIDE = [1] * (len(EDGES_MS) + 2)


@pytest.mark.parametrize(
    "wide",
    [{part: {f"r{n}": row for n in range(257)}} for part, row in
     [("lag", 1), ("latency", []), ("sample", []), ("ages", []), ("unreadable", 1)]]
    + [{part: {"r": WIDE}} for part in ("latency", "sample")]
    + [{"latency_edges_ms": WIDE}, {"ages": {"r": list(range(2 * len(EDGES_MS) + 2))}}],
)  # fmt: skip
def test_a_heartbeat_with_more_than_a_worker_has_is_refused(wide):
    with pytest.raises(Refused, match="at most") as refused:
        Heartbeat.decode(json.dumps(json.loads(OLDER) | wide).encode())
    assert refused.value.reason == "too_large"
    (part, value), *_ = wide.items()
    if len(value) > 256 and part != "latency_edges_ms":
        value.pop("r256")
        assert len(getattr(Heartbeat.decode(json.dumps(json.loads(OLDER) | wide).encode()), part)) == 256


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

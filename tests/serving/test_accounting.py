"""Running totals beside offsets: taken over, begun anew, and whatever stands in the metadata."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from farthing.blocks import TextColumn
from farthing.kafka import Incarnation
from farthing.meter.count import CALLS, N_COUNTS, PAYLOAD, ROWS, SCORED, SIZES
from farthing.meter.records import OTHER, TenantCount, UsageRecord
from farthing.meter.tenants import TenantNames, pack
from farthing.meter.untrusted import REASONS
from farthing.meter.usage import METADATA_LIMIT_BYTES
from farthing.serving import accounting
from farthing.serving.accounting import Accounting, Scored

PARTITION = ("e", 0)


class Clock:
    """``time`` of the module under test."""

    def __init__(self):
        self.now_s = 1_000.0

    def monotonic(self):
        return self.now_s

    def time_ns(self):
        return int(self.now_s * 1e9)


@pytest.fixture
def clock(monkeypatch):
    one = Clock()
    monkeypatch.setattr(accounting, "time", one)
    return one


def make():
    return Accounting({"e": Scored("m@1", "moderation")}, most_tenants=200)


def counts(n, size=10):
    row = np.zeros(N_COUNTS, np.int64)
    row[SCORED] = row[ROWS] = n
    row[PAYLOAD] = n * (size + 5)
    row[CALLS + size], row[SIZES + size] = n, n * size
    return row


def publish(one, *, everything=False):
    records = one.due([PARTITION], everything=everything)
    one.published(records)
    return records


def test_the_next_owner_goes_on_from_what_was_committed(clock):
    one = make()
    one.assign(PARTITION, 100, "")
    one.add(PARTITION, 107, counts(7))
    text = one.metadata([PARTITION])[PARTITION]
    other = make()
    other.assign(PARTITION, 107, text)
    other.add(PARTITION, 110, counts(3))
    (record,) = publish(other)
    assert (record.base_offset, record.next_offset, record.totals.scored, record.incarnation) == (100, 110, 10, 0)
    assert record.totals.prompt_bytes == 100


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"model":"m@2","base_offset":0,"log":0,"totals":{}}', '{"model":"m@1","base_offset":-1,"log":0}', "x"],
)
def test_what_is_no_total_of_ours_begins_a_new_count(clock, text):
    one = make()
    one.assign(PARTITION, 50, text)
    one.add(PARTITION, 52, counts(2))
    (record,) = publish(one)
    assert (record.base_offset, record.totals.scored) == (50, 2)


def test_once_a_second_and_what_is_left_follows(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    assert publish(one) == []  # nothing is counted
    one.add(PARTITION, 5, counts(5))
    assert len(publish(one)) == 1
    one.add(PARTITION, 6, counts(1))
    clock.now_s += 0.5
    assert publish(one) == []
    clock.now_s += 0.5
    (record,) = publish(one)
    assert record.totals.scored == 6
    clock.now_s += 5
    assert publish(one, everything=True) == []


def test_a_total_that_was_taken_over_is_published_again(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    other = make()
    other.assign(PARTITION, 5, one.metadata([PARTITION])[PARTITION])
    assert [r.totals.scored for r in publish(other)] == [5]  # its last record may have been lost


def test_a_new_log_is_another_count_with_the_number_that_it_is_given(clock):
    one = make()
    one.name_logs(lambda _: "the-id")
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    one.move(PARTITION, 3, 4, 0)  # at a later offset than the last log's end would be as well
    assert one.metadata([PARTITION])[PARTITION].startswith(
        '{"model":"m@1","task":"moderation","base_offset":3,"log":4,"totals"'
    )
    one.add(PARTITION, 7, counts(4))
    old, new = publish(one)
    assert (old.incarnation, old.base_offset, old.next_offset, old.totals.scored, old.topic_id) == (
        0,
        0,
        5,
        5,
        "the-id",
    )
    assert (new.incarnation, new.base_offset, new.next_offset, new.totals.scored) == (4, 3, 7, 4)
    assert old.key != new.key
    one.move(("other", 0), 3, 4, 0)  # no longer ours


def test_lost_events_are_in_the_books_and_stay_there(clock):
    one = make()
    one.assign(PARTITION, 10, "")
    one.add(PARTITION, 15, counts(5))
    one.move(PARTITION, 40, 0, 25)
    records = publish(one)
    assert [(r.base_offset, r.next_offset, r.lost) for r in records] == [(10, 15, 0), (40, 40, 25)]
    other = make()
    other.assign(PARTITION, 40, one.metadata([PARTITION])[PARTITION])
    other.add(PARTITION, 41, counts(1))
    (record,) = publish(other)
    assert (record.base_offset, record.next_offset, record.lost) == (40, 41, 25)
    assert UsageRecord.decode(record.encode()) == record


def test_a_commit_without_a_total_says_only_which_log_it_is(clock):
    one = make()
    with capture_logs() as said:
        one.assign(PARTITION, 5, Incarnation(3).written(""))
    assert said == []


def test_a_log_that_begins_anew_is_another_count_and_the_old_ones_last_total_is_kept(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    publish(one)
    one.add(PARTITION, 9, counts(4))
    one.assign(PARTITION, 0, "")  # the topic was deleted and created again
    one.add(PARTITION, 2, counts(2))
    records = publish(one)
    clock.now_s += 2
    assert publish(one) == []
    assert [(r.incarnation, r.next_offset, r.totals.scored) for r in records] == [(0, 9, 9), (1, 2, 2)]
    assert len({r.key for r in records}) == 2
    other = make()
    other.assign(PARTITION, 2, one.metadata([PARTITION])[PARTITION])
    other.add(PARTITION, 3, counts(1))
    assert [(r.incarnation, r.totals.scored) for r in publish(other)] == [(1, 3)]


def tenants_of(names, *texts):
    """Rows of one part: an event of 10 bytes for each text."""
    data = [text.encode() for text in texts]
    indptr = np.cumsum([0, *map(len, data)], dtype=np.int64)
    column = TextColumn(np.full(len(data), 2, np.uint8), np.frombuffer(b"".join(data), np.uint8), indptr)
    n = len(data)
    bounds = np.array([0, n])
    found = names.count(bounds, np.zeros(n, np.uint8), np.full(n, 10, np.int64), column, np.zeros(0, np.uint8))
    return names, found.of_part(0)


def test_tenants_are_told_and_a_new_owner_changes_no_figure(clock):
    names, one = TenantNames(tokens=False), make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 4, counts(4), tenants_of(names, "a", "b", "a", ""))
    (record,) = publish(one)
    assert record.tenants == {"a": (2, 0, 20), "b": (1, 0, 10), OTHER: (1, 0, 10)}
    other = make()
    other.assign(PARTITION, 4, one.metadata([PARTITION])[PARTITION])
    (again,) = publish(other)
    assert again.tenants == record.tenants
    clock.now_s += 1
    other.add(PARTITION, 6, counts(2), tenants_of(TenantNames(tokens=False), "c", "b"))
    (record,) = publish(other)
    assert record.tenants == {"a": (2, 0, 20), "b": (2, 0, 20), "c": (1, 0, 10), OTHER: (1, 0, 10)}


def test_many_tenants_fit_the_metadata_and_all_events_are_in_them(clock):
    names, one = TenantNames(tokens=False), make()
    one.assign(PARTITION, 0, "")
    texts = [f"{n * 7919 % 100_003:x}" * 6 for n in range(3_000)]
    one.add(PARTITION, 3_000, counts(3_000), tenants_of(names, *texts))
    text = one.metadata([PARTITION])[PARTITION]
    assert len(text) <= METADATA_LIMIT_BYTES
    assert text.isascii()
    (record,) = publish(one)
    assert 50 < len(record.tenants) <= 201
    assert sum(count.scored for count in record.tenants.values()) == 3_000
    other = make()
    other.assign(PARTITION, 3_000, text)
    assert publish(other)[0].tenants == record.tenants


def test_without_any_tenant_nothing_is_told_of_them(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 2, counts(2), tenants_of(TenantNames(tokens=False), "", ""))
    assert publish(one)[0].tenants == {}


def test_what_is_no_longer_ours_is_not_counted(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.revoke([PARTITION])
    one.add(PARTITION, 5, counts(5))
    assert publish(one, everything=True) == []
    assert one.metadata([PARTITION]) == {}


# --- Metadata that anyone may have committed.

ODD = [
    "[" * 4_000, "{" * 4_000, '{"a":' * 700, "9" * 400, "-1", "1.5", "NaN", "1e999", "null", "true", '"x"', "[]", "{}",
    str(2**63), str(2**62 + 1), '"' + "n" * 3_000 + '"', '"\\ud800"', "[1,2]", '[[["a"],[1],[2],[3]]]',
]  # fmt: skip


def committed():
    """What a worker commits at offset 7, with tenants."""
    one = Accounting({"e": Scored("m@1", "moderation")}, most_tenants=200)
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 7, counts(7), tenants_of(TenantNames(tokens=False), "a", "b", "a"))
    return one.metadata([PARTITION])[PARTITION]


COMMITTED = committed()


def goes_on(text, offset=7):
    """Whatever was committed, counting goes on; what is then published and committed can be read."""
    refused = []
    one = Accounting({"e": Scored("m@1", "moderation")}, most_tenants=200, on_refused=refused.append)
    one.assign(PARTITION, offset, text)
    one.add(PARTITION, offset + 3, counts(3))
    assert set(refused) <= set(REASONS)
    for record in one.due([PARTITION], everything=True):
        assert UsageRecord.decode(record.encode()) == record
        assert sum(count.scored for count in record.tenants.values()) in (0, record.totals.scored)
    again = Accounting({"e": Scored("m@1", "moderation")}, most_tenants=200)
    again.assign(PARTITION, offset + 3, one.metadata([PARTITION])[PARTITION])
    assert again._counts[PARTITION].counts.tolist() == one._counts[PARTITION].counts.tolist()
    return one._counts[PARTITION].counts[SCORED], refused


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_metadata_is_no_obstacle_to_scoring(text):
    scored, refused = goes_on(text)
    assert scored == 3
    assert len(refused) == bool(text)


@given(st.data())
def test_metadata_with_any_part_made_odd_is_no_obstacle(data):
    """Every member, inside and out, is replaced by what it must not be."""
    body = json.loads(COMMITTED)
    inside = data.draw(st.booleans())
    place = body["totals"] if inside else body
    key = data.draw(st.sampled_from(sorted(place)))
    place[key] = "ODD"
    goes_on(json.dumps(body, separators=(",", ":")).replace('"ODD"', data.draw(st.sampled_from(ODD)), 1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base_offset": 8}, "damaged"),  # after the offset that it was committed with
        ({"base_offset": -1}, "damaged"),
        ({"log": 10**400}, "damaged"),
        ({"model": None}, "damaged"),
        ({"totals": {"v": 2}}, "version"),
        ({"totals": {"v": 1, "s": 2**63 - 1, "d": 0, "r": 0, "b": 0, "c": [1, 2**63 - 1, 0]}}, "damaged"),
        ({"totals": {"v": 1, "s": 0, "d": 2**62 + 1, "r": 0, "b": 0, "c": []}}, "damaged"),
        ({"tenants": pack({"a": TenantCount(8, 0, 0)}, 500)[0]}, "damaged"),  # more than all
        ({"tenants": "!" * 3_000}, "damaged"),
    ],
)
def test_why_metadata_is_refused(change, reason):
    scored, refused = goes_on(json.dumps(json.loads(COMMITTED) | change))
    assert (scored, refused) == (3, [reason])


def test_refused_metadata_of_many_partitions_is_said_once_in_a_while(clock):
    refused = []
    one = Accounting({"e": Scored("m@1", "moderation")}, most_tenants=200, on_refused=refused.append)
    with capture_logs() as logs:
        for number in range(1_000):
            one.assign(("e", number), 5, "garbage")
        clock.now_s += accounting.SAY_AGAIN_S
        one.assign(("e", 1_000), 5, "garbage")
    assert refused == ["syntax"] * 1_001
    assert [log["partition"] for log in logs] == [0, 1_000]


def test_another_models_last_total_is_published_by_the_next_owner(clock):
    """Its own owner may have ended while the usage topic was gone."""
    one = make()
    one.assign(PARTITION, 100, "")
    one.add(PARTITION, 107, counts(7))
    other = Accounting({"e": Scored("m@2", "moderation")}, most_tenants=200)
    other.assign(PARTITION, 107, one.metadata([PARTITION])[PARTITION])
    other.add(PARTITION, 110, counts(3))
    found = {(r.model, r.task, r.base_offset, r.next_offset, r.totals.scored) for r in publish(other)}
    assert found == {("m@1", "moderation", 100, 107, 7), ("m@2", "moderation", 107, 110, 3)}
    assert publish(other) == []


def test_when_the_topic_is_back_every_total_is_published_again(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    one.assign(("e", 1), 0, "")
    one.add(PARTITION, 5, counts(5))
    publish(one)
    clock.now_s += 2
    one.publish_all_again()
    assert [r.totals.scored for r in publish(one)] == [5]


@pytest.mark.parametrize("step_s", [30 * 86_400, -30 * 86_400, -(10**10), 73 * 365 * 86_400])
def test_a_clock_that_is_put_forward_or_back_holds_no_total_up(clock, step_s, monkeypatch):
    one = make()
    one.assign(PARTITION, 0, "")
    one.add(PARTITION, 5, counts(5))
    publish(one)
    monkeypatch.setattr(clock, "time_ns", lambda: int((1.8e9 + step_s) * 1e9))
    clock.now_s += 1
    one.add(PARTITION, 6, counts(1))
    (record,) = publish(one)
    assert UsageRecord.decode(record.encode()).next_offset == 6


def test_a_broker_that_takes_less_metadata_gets_less_and_in_the_end_none(clock):
    one = make()
    one.assign(PARTITION, 0, "")
    texts = [f"{n * 7919 % 100_003:x}" * 6 for n in range(300)]
    one.add(PARTITION, 300, counts(300), tenants_of(TenantNames(tokens=False), *texts))
    sizes = [len(one.metadata([PARTITION])[PARTITION])]
    with capture_logs() as logs:
        for _ in range(12):
            found = one.metadata([PARTITION], refused=True)
            if not found:
                break
            sizes.append(len(found[PARTITION]))
            other = make()
            other.assign(PARTITION, 300, found[PARTITION])
            assert publish(other)[0].totals.scored == 300
    assert found == {}
    assert len(sizes) > 3
    assert all(size <= METADATA_LIMIT_BYTES >> k for k, size in enumerate(sizes))
    assert len(logs) == len(sizes)
    assert publish(one)[0].totals.scored == 300

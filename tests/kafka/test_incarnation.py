"""Which log an offset belongs to: what is committed with it, and when a batch says that the log is another one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.kafka.incarnation import MARK_BYTES, Incarnation, other_log, topic_id_of, topic_id_text
from farthing.wire import BatchHead

NUMBERS = st.integers(0, 2**62)
KNOWN = BatchHead(100, 110, 12345, 3, 10)


@st.composite
def incarnations(draw):
    base = draw(NUMBERS)
    head = BatchHead(
        base, base + draw(st.integers(0, 2**31)), draw(st.integers(0, 2**32 - 1)), draw(st.integers(-1, 2**31 - 1)),
        draw(st.integers(0, 2**31 - 1)),
    )  # fmt: skip
    ids = st.one_of(st.just(bytes(16)), st.binary(min_size=16, max_size=16))
    return Incarnation(draw(st.integers(0, 10**6)), draw(ids), draw(st.one_of(st.none(), st.just(head))))


@given(incarnations())
def test_what_is_committed_is_read_with_and_without_a_total(one):
    assert Incarnation.read(one.written("")) == one
    total = json.dumps({"model": "m", "log": one.number, "totals": {"s": 1}}, separators=(",", ":"))
    text = one.written(total)
    assert len(text) - len(total) <= MARK_BYTES
    assert len(one.written("")) <= MARK_BYTES
    assert Incarnation.read(text) == one
    assert json.loads(total).items() <= json.loads(text).items()


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "{", "[]", "7", "null", '{"log":-1}', '{"log":"1"}', '{"log":true}', '{"log":1e9}', "[" * 100_000,
        '{"log":0,"topic_id":"short"}', '{"log":0,"topic_id":7}', '{"log":0,"batch":[1,2,3]}',
        '{"log":0,"batch":[1,2,3,4,null]}', '{"log":0,"batch":[-1,2,3,4,5]}', '{"log":' + "9" * 400 + "}",
        '{"log":0,"batch":{"a":1}}', '{"log":0,"topic_id":"ä"}',
    ],
)  # fmt: skip
def test_what_is_not_ours_is_nothing(text):
    assert Incarnation.read(text) is None


def test_an_older_commit_has_the_number_alone():
    assert Incarnation.read('{"model":"m","base_offset":0,"log":2,"totals":{}}') == Incarnation(2)


def test_topic_ids_are_written_as_kafka_does():
    assert topic_id_text(bytes(16)) == "AAAAAAAAAAAAAAAAAAAAAA"
    assert topic_id_of(topic_id_text(bytes(range(16)))) == bytes(range(16))


@pytest.mark.parametrize(
    ("found", "log_start", "why"),
    [
        (KNOWN, 0, None),
        (None, 101, None),  # retention has removed it
        (None, 0, "it ends before offset 100"),
        (BatchHead(105, 120, 1, 3, 10), -1, None),  # compaction has removed it
        (BatchHead(90, 110, 12345, 3, 10), -1, "is another one"),
        (BatchHead(100, 111, 12345, 3, 10), -1, "is another one"),
        (BatchHead(100, 110, 999, 3, 10), -1, "another checksum"),
        (BatchHead(100, 110, 12345, 4, 10), -1, "its leader epoch is 4, it was 3"),
        (BatchHead(100, 110, 999, 3, 9), -1, None),  # compaction has taken records out of it
        (BatchHead(100, 110, 999, 3, 10, rewritten=True), -1, None),  # and keeps tombstones for a while
    ],
)
def test_compaction_and_retention_are_no_new_log(found, log_start, why):
    said = other_log(KNOWN, found, log_start)
    assert (said is None) if why is None else (why in said)

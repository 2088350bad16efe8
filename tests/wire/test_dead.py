"""Dead letters keep what they can of an event, say what they could not, and always fit their topic."""

import hashlib
import itertools

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import FetchedPartition, Status
from farthing.wire import Arena, TopicLimits, decode, encode_dead
from farthing.wire.dead import STAGE_OF_STATUS, share
from farthing.wire.varint import varlong

from .test_encode import block_of, read

OURS = "farthing.error."


def test_dead_letters_keep_everything_and_say_why():
    block = block_of()
    status = np.zeros(len(block), np.uint8)
    status[::4] = Status.SYNTAX
    status[1] = Status.NON_FINITE
    rows = read(encode_dead(block, status, topic="dead", model="m@1"))
    dead = np.flatnonzero(status)
    assert len(rows) == len(dead)
    for (partition, record), event in zip(rows, dead, strict=True):
        start, stop = block.value_start[event], block.value_stop[event]
        assert record.value == (None if start < 0 else block.buffer[start:stop].tobytes())
        headers = dict(record.headers[int(block.header_count[event]) :])
        assert headers["farthing.error.reason"] == Status(status[event]).name.lower().encode()
        assert headers["farthing.error.stage"] == (b"score" if event == 1 else b"parse")
        assert headers["farthing.error.model"] == b"m@1"
        assert headers["farthing.error.topic"] == b"t"
        assert headers["farthing.error.partition"] == str(partition).encode()
        assert headers["farthing.error.offset"] == str(block.offsets[event]).encode()


def letters_of(events, limits, **options):
    """The letters of events (key, value, headers), all of them bad, as aiokafka reads them; each fits."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
    for k, (key, value, headers) in enumerate(events):
        builder.append(k, 1_700_000_000_000, key, value, headers)
    block = decode([FetchedPartition("source", 3, 0, 0, bytes(builder.build()))], Arena())
    status = np.full(len(events), Status.SYNTAX, np.uint8)
    outputs = encode_dead(block, status, topic="d", model="m@1", now_ms=77, limits=limits, **options)
    assert all(len(out.data) <= limits.max_message_bytes for out in outputs)
    return [record for _, record in read(outputs)]


def ours(record):
    return {name.removeprefix(OURS): value for name, value in record.headers if name.startswith(OURS)}


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


def encoded(headers):
    """Headers as they are in a record."""
    return b"".join(
        varlong(len(name.encode())) + name.encode() + varlong(-1 if value is None else len(value)) + (value or b"")
        for name, value in headers
    )


def check(record, event, room):
    """Nothing is missing that the letter does not say."""
    key, value, headers = event
    told, theirs = ours(record), [pair for pair in record.headers if not pair[0].startswith(OURS)]
    for name, whole, kept in (("value", value, record.value), ("key", key, record.key)):
        if f"{name}_bytes" not in told:
            assert kept == whole
            continue
        assert whole.startswith(kept) and len(kept) < len(whole)
        assert told[f"{name}_bytes"] == b"%d" % len(whole)
        assert told.get(f"{name}_sha256") == (digest(whole) if room else None)
    if "headers_bytes" in told:
        assert [pair for pair in headers if pair in theirs] != headers
        assert told["headers_bytes"] == b"%d" % len(encoded(headers))
        assert told["headers_count"] == b"%d" % len(headers)
        assert told.get("headers_sha256") == (digest(encoded(headers)) if room else None)
    else:
        assert theirs == headers


SIZES = [0, 450, 1_500, 5_000, 1_047_900]


@pytest.mark.parametrize("limit", [1_000, 2_000, 10_000, 1_048_588])
def test_a_letter_fits_whatever_is_too_long(limit):
    events = []
    sizes = [size for size in SIZES if size == 0 or limit / 10 < size < 6 * limit]
    for key, value, headers in itertools.product(sizes, sizes, sizes):
        if key + value + headers < 2_000_000:
            pairs = [("", None), ("trace", b"1")] + [(f"h{n}", b"x" * min(headers, 100)) for n in range(headers // 100)]
            events.append((b"k" * key if key else None, b"v" * value if value else None, pairs))
    for event in events:
        (record,) = letters_of([event], TopicLimits(limit))
        told = ours(record)
        assert (told["reason"], told["topic"], told["partition"], told["offset"]) == (b"syntax", b"source", b"3", b"0")
        assert (told["stage"], told["model"], told["time_ms"]) == (b"parse", b"m@1", b"77")
        check(record, event, room=True)
        size = len(event[0] or b"") + len(event[1] or b"") + len(encoded(event[2]))
        if size + 400 < limit:
            assert not any(name.endswith("_bytes") for name in told)  # byte for byte
        elif size > limit:
            assert any(name.endswith("_bytes") for name in told)


def test_what_is_short_stays_whole_beside_what_is_long():
    (record,) = letters_of([(b"k" * 1_048_500, b'{"id":1}', [("trace", b"a")])], TopicLimits())
    assert record.value == b'{"id":1}' and ("trace", b"a") in record.headers
    assert 1_046_000 < len(record.key) < 1_048_500
    (record,) = letters_of([(b"key", b"v" * 1_048_500, [("trace", b"a")])], TopicLimits())
    assert record.key == b"key" and 1_046_000 < len(record.value) < 1_048_500


@pytest.mark.parametrize("limit", [230, 300, 400, 500, 700])
def test_where_next_to_nothing_fits_the_reason_and_the_place_remain(limit):
    event = (b"k" * 100, b"v" * 1_000, [("h", b"x" * 300)])
    (record,) = letters_of([event], TopicLimits(limit))
    told = ours(record)
    assert (told["reason"], told["offset"]) == (b"syntax", b"0")
    if "model" in told:
        check(record, event, room="value_sha256" in told)
    else:
        assert told.get("value_sha256", digest(event[1])) == digest(event[1])
        assert ("value_sha256" in told) == (limit >= 300)  # by which its event is known again


def test_the_smallest_letter_has_our_headers_only():
    event = (b"k" * 100, b"v" * 1_000, [("h", b"x" * 300)])
    (record,) = letters_of([event], TopicLimits(), smallest=True)
    assert (record.key, record.value) == (b"", b"")
    assert record.headers == [(OURS + "reason", b"syntax"), (OURS + "offset", b"0")]


def test_letters_in_a_compacted_topic_do_not_replace_each_other():
    events = [(b"same", b"one", []), (b"same", b"two", []), (None, b"three", []), (b"k" * 5_000, b"v", [])]
    records = letters_of(events, TopicLimits(2_000, compacted=True))
    assert [record.key for record in records] == [b"source-3-%d" % k for k in range(4)]
    assert [ours(record).get("key") for record in records[:3]] == [b"same", b"same", None]
    assert ours(records[3])["key_bytes"] == b"5000" and 0 < len(ours(records[3])["key"]) < 2_000


def test_a_topic_with_times_of_its_own_keeps_the_events():
    (record,) = letters_of([(b"k", b"v", [])], TopicLimits(log_append_time=True))
    assert ours(record)["timestamp_ms"] == b"%d" % record.timestamp


def test_every_reason_has_a_stage():
    assert set(STAGE_OF_STATUS) == set(Status)
    assert set(STAGE_OF_STATUS.values()) == {"decode", "parse", "score", "produce"}


@settings(max_examples=300)
@given(st.integers(-5, 5_000), st.lists(st.integers(0, 2_000), max_size=5))
def test_a_share_wastes_nothing(room, sizes):
    parts = share(room, sizes)
    assert all(0 <= part <= size for part, size in zip(parts, sizes, strict=True))
    assert sum(parts) <= max(room, 0)
    short = [part for part, size in zip(parts, sizes, strict=True) if part < size]
    if short:
        assert sum(parts) > room - len(sizes) and max(short) - min(short) <= 1

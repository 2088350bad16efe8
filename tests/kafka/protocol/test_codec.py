"""Every version of every table by round trips, against hostile bytes, and against aiokafka's structures."""

import inspect
import io
import struct

import aiokafka.protocol
import pytest
from aiokafka.protocol import admin, commit, coordination, fetch, metadata, offset, produce, transaction
from aiokafka.protocol.api import RequestStruct, Response
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.kafka.protocol import FETCH, METADATA, PRODUCE, ProtocolError, best_version, decode, encode
from tests.kafka.protocol.messages import APIS, bodies, completed, joined, plain

BY_KEY = {api.key: api for api in APIS}
CASES = [
    (api, kind, version)
    for api in APIS
    for kind in ("request", "response")
    for version in range(api.versions.first, api.versions.last + 1)
]
IDS = [f"{api}-{kind}-v{version}" for api, kind, version in CASES]


def fields_of(api, kind):
    return api.request if kind == "request" else api.response


def framed(api, kind, version, body, correlation_id=7):
    return joined(encode(api, version, body, correlation_id=correlation_id, client_id="me", kind=kind))


def seen(api, kind, version, frame):
    return plain(decode(api, version, memoryview(frame), kind=kind))


@settings(max_examples=settings.default.max_examples // 25)
@pytest.mark.parametrize(("api", "kind", "version"), CASES, ids=IDS)
@given(data=st.data())
def test_what_is_written_is_read(api, kind, version, data):
    body = data.draw(bodies(fields_of(api, kind), version))
    frame = framed(api, kind, version, body)
    assert seen(api, kind, version, frame) == plain(completed(fields_of(api, kind), version, body))


@settings(max_examples=settings.default.max_examples * 3)
@given(data=st.data())
def test_damaged_frames_are_refused_in_one_way(data):
    """Cut anywhere, or with any byte changed: a message or a ProtocolError, and never more elements than bytes."""
    api, kind, version = data.draw(st.sampled_from(CASES))
    frame = bytearray(framed(api, kind, version, data.draw(bodies(fields_of(api, kind), version))))
    at = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(ProtocolError):
        seen(api, kind, version, frame[:at])
    frame[at] = data.draw(st.integers(0, 255))
    try:
        assert _elements(seen(api, kind, version, frame)) <= len(frame)
    except ProtocolError:
        pass


def _elements(value):
    if isinstance(value, dict):
        return sum(map(_elements, value.values()))
    return sum(1 + _elements(one) for one in value) if isinstance(value, list) else 0


@pytest.mark.parametrize(("count", "version"), [(2**31 - 1, 4), (2**31 - 1, 11), (2**31 - 1, 13), (300_000, 13)])
def test_an_array_that_claims_more_than_there_is_costs_nothing(count, version):
    head = framed(FETCH, "response", version, {"responses": []})
    length = struct.pack(">i", count) if version < 12 else _varint(count + 1)
    place = len(head) - (4 if version < 12 else 2)  # before the empty array, and the tagged fields after it
    frame = head[:place] + length + b"\0" * 300_000
    with pytest.raises(ProtocolError, match=f"responses claims {count} elements"):
        decode(FETCH, version, memoryview(frame))


def _varint(value):
    out = b""
    while value >> 7:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_record_bytes_are_views_of_the_frame_and_are_sent_from_where_they_are():
    records = bytes(range(256)) * 100
    body = {"topic_data": [{"name": "t", "partition_data": [{"index": 3, "records": records}]}], "acks": -1}
    pieces = encode(PRODUCE, 9, body, correlation_id=1, client_id=None)
    assert any(piece is records for piece in pieces)
    rows = [{"partition_index": 0, "records": records, "aborted_transactions": None}]
    frame = memoryview(framed(FETCH, "response", 12, {"responses": [{"topic": "t", "partitions": rows}]}))
    (topic,) = decode(FETCH, 12, frame)["responses"]
    found = topic["partitions"][0]["records"]
    assert isinstance(found, memoryview)
    assert found.obj is frame.obj
    assert found == records


@pytest.mark.parametrize(
    ("body", "version", "error"),
    [
        ({"no_such_field": 1}, 12, "Fetch v12 has no no_such_field"),
        ({"topics": [{"topik": "t"}]}, 12, "FetchTopic has no topik"),
        ({"max_wait_ms": 2**31}, 12, "max_wait_ms = 2147483648"),
        ({"topics": None}, 12, "topics is null"),
        ({"topics": [{"topic": None}]}, 12, "topic is null"),
        ({"topics": [{"topic": "x" * 40_000}]}, 11, "a length of 40000"),
        ({"topics": [{"partitions": [{"last_fetched_epoch": 3}]}]}, 11, "has no last_fetched_epoch"),
        ({}, 3, "no table of Fetch v3"),
        ({}, 19, "no table of Fetch v19"),
    ],
)
def test_what_a_version_cannot_say_is_an_error(body, version, error):
    with pytest.raises(ProtocolError, match=error):
        encode(FETCH, version, body, correlation_id=1, client_id="me")


def test_fields_that_may_be_dropped_are_and_unknown_tags_are_skipped():
    body = {"topics": [{"topic": "t", "topic_id": b"x" * 16, "partitions": []}], "rack_id": "r"}
    assert seen(FETCH, "request", 4, framed(FETCH, "request", 4, body))["topics"][0]["topic"] == "t"
    frame = framed(METADATA, "response", 12, {})
    assert frame[-1:] == b"\0"
    tagged = frame[:-1] + bytes([2, 5, 1, 0xFF, 9, 0])  # tag 5 with one byte, tag 9 with none
    assert seen(METADATA, "response", 12, tagged) == seen(METADATA, "response", 12, frame)
    with pytest.raises(ProtocolError, match="tag 5 follows tag 9"):
        seen(METADATA, "response", 12, frame[:-1] + bytes([2, 9, 0, 5, 0]))
    with pytest.raises(ProtocolError, match="1 bytes follow its end"):
        seen(METADATA, "response", 12, frame + b"\0")


@pytest.mark.parametrize(
    ("spoken", "at_most", "expected"),
    [
        ((0, 99), 99, 18),
        ((0, 12), 99, 12),
        ((4, 4), 99, 4),
        ((0, 17), 11, 11),
        ((0, 3), 99, None),
        ((19, 20), 99, None),
    ],
)
def test_the_latest_version_that_both_know(spoken, at_most, expected):
    if expected is not None:
        assert best_version(FETCH, {1: spoken}, at_most=at_most) == expected
        return
    with pytest.raises(ProtocolError, match=f"the broker speaks {spoken[0]} to {spoken[1]}"):
        best_version(FETCH, {1: spoken}, at_most=at_most)


def test_an_api_that_a_broker_does_not_have():
    with pytest.raises(ProtocolError, match="Fetch v4 to v18 is needed, and the broker speaks none"):
        best_version(FETCH, {0: (0, 9)})


# --- aiokafka's structures


def structures():
    for module in (admin, commit, coordination, fetch, metadata, offset, produce, transaction):
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, RequestStruct | Response) and found.__module__ == module.__name__:
                key = getattr(found, "API_KEY", None)
                if key in BY_KEY and found.API_VERSION in BY_KEY[key].versions:
                    yield found


# aiokafka gives the leader epoch of ListOffsets v4 and v5 eight bytes; it has four.
WRONG = {"OffsetRequest_v4", "OffsetRequest_v5"}
SHARED = sorted({found for found in structures() if found.__name__ not in WRONG}, key=lambda found: found.__name__)


def test_enough_is_compared_with_aiokafka():
    assert len(SHARED) >= 60
    assert aiokafka.protocol


@settings(max_examples=settings.default.max_examples // 25)
@pytest.mark.parametrize("structure", SHARED, ids=lambda found: found.__name__)
@given(data=st.data())
def test_aiokafka_reads_and_writes_the_same_bytes(structure, data):
    api, version = BY_KEY[structure.API_KEY], structure.API_VERSION
    kind = "request" if issubclass(structure, RequestStruct) else "response"
    flexible = version in api.flexible
    body = data.draw(bodies(fields_of(api, kind), version))
    body = _untagged(fields_of(api, kind), version, body)
    frame = framed(api, kind, version, body)
    head = (8 + 2 + len("me") if kind == "request" else 4) + flexible
    theirs = structure.decode(io.BytesIO(frame[head:]))
    values = [theirs.__dict__[name] for name in structure.SCHEMA.names]
    assert _flat(values) == _listed(fields_of(api, kind), version, body)
    assert theirs.encode() == frame[head:]


def _untagged(fields, version, body):
    """Leave out tagged fields: aiokafka keeps their bytes, and writes them without their length."""
    return {
        f.name: [_untagged(f.fields, version, one) for one in body[f.name]]
        if f.fields and body[f.name]
        else body[f.name]
        for f in fields
        if version in f.versions and version not in f.tagged
    }


def _listed(fields, version, body):
    """The numbers and texts of a body in order; aiokafka drops the struct around a single field."""
    out = []
    for field in fields:
        if version in field.versions and version not in field.tagged:
            value = body[field.name]
            for one in value if isinstance(value, list | tuple) else [value]:
                out += _listed(field.fields, version, one) if field.fields and one is not None else [one]
    return out


def _flat(values):
    out = []
    for value in values:
        if isinstance(value, list | tuple):
            out += _flat(value)
        elif not isinstance(value, dict):  # tagged fields
            out.append(value)
    return out

"""Generated functions write the same bytes and read the same messages as the codec, or leave them to it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.kafka.protocol import FETCH, PRODUCE, ProtocolError
from farthing.kafka.protocol.generated import UnusualError, reader_of, writer_of
from farthing.kafka.protocol.primitives import Reader, Writer
from farthing.kafka.protocol.reading import reader_of_struct
from farthing.kafka.protocol.writing import writer_of_struct

from .messages import APIS, bodies, joined, plain

CASES = [
    (api, fields, version)
    for api in APIS
    for fields in (api.request, api.response)
    for version in range(api.versions.first, api.versions.last + 1)
    if version in api.flexible
]
IDS = [f"{api}-{'request' if fields is api.request else 'response'}-v{version}" for api, fields, version in CASES]
HEAD = b"head\0"  # it ends with the number of its tagged fields


def written(fields, version, body):
    writer = Writer()
    writer_of_struct("it", fields, version, True)(writer, body)
    return joined(writer.pieces())


def read(fields, version, data):
    """A message, or None for an error."""
    reader = Reader(memoryview(data))
    try:
        message = reader_of_struct(fields, version, True)(reader)
    except ProtocolError:
        return None
    return None if reader.left else plain(message)


def or_unusual(function, *arguments):
    try:
        return function(*arguments)
    except UnusualError:
        return None


@settings(max_examples=settings.default.max_examples // 25)
@pytest.mark.parametrize(("api", "fields", "version"), CASES, ids=IDS)
@given(data=st.data())
def test_they_agree_with_the_codec(api, fields, version, data):
    """With tagged fields they leave a message to the codec; without them they do not."""
    body = data.draw(bodies(fields, version))
    bare = _without_tagged(fields, version, body)
    write, parse = writer_of(fields, version), reader_of(fields, version)
    assert joined(write(bare, HEAD)) == HEAD + written(fields, version, bare)
    frame = written(fields, version, bare)
    assert plain(parse(memoryview(HEAD + frame), len(HEAD) - 1)) == read(fields, version, frame)
    frame = written(fields, version, body)
    found = or_unusual(parse, memoryview(b"\0" + frame), 0)
    assert found is None or plain(found) == read(fields, version, frame)
    assert or_unusual(parse, memoryview(b"\1" + frame), 0) is None
    pieces = or_unusual(write, body, HEAD)
    assert pieces is None or joined(pieces) == HEAD + frame


def _without_tagged(fields, version, body):
    out = {}
    for field in fields:
        if version not in field.versions or version in field.tagged:
            continue
        value = body[field.name]
        if field.fields and value is not None:
            value = (
                [_without_tagged(field.fields, version, one) for one in value]
                if field.is_array
                else _without_tagged(field.fields, version, value)
            )
        out[field.name] = value
    return out


@settings(max_examples=settings.default.max_examples * 3)
@given(data=st.data())
def test_damaged_frames_are_left_to_the_codec(data):
    """Whatever is wrong, they read what it reads, or nothing."""
    _, fields, version = data.draw(st.sampled_from(CASES))
    frame = bytearray(written(fields, version, _without_tagged(fields, version, data.draw(bodies(fields, version)))))
    parse = reader_of(fields, version)
    at = data.draw(st.integers(0, len(frame) - 1))
    assert or_unusual(parse, memoryview(b"\0" + frame[:at]), 0) is None
    frame[at] = data.draw(st.integers(0, 255))
    frame += data.draw(st.binary(max_size=2))
    found = or_unusual(parse, memoryview(b"\0" + frame), 0)
    assert found is None or plain(found) == read(fields, version, frame)


@pytest.mark.parametrize(
    "body",
    [
        {"no_such_field": 1},
        {"topics": [{"topik": "t"}]},
        {"max_wait_ms": 2**31},
        {"max_wait_ms": "1"},
        {"topics": None},
        {"topics": 1},
        {"topics": [1]},
        {"rack_id": 1},
        {"cluster_id": "a tagged field"},
    ],
)
def test_what_they_cannot_write_is_left_to_the_codec(body):
    assert or_unusual(writer_of(FETCH.request, 13), body, HEAD) is None


def test_long_bytes_are_pieces_of_their_own():
    records = bytes(2_000)
    rows = [{"index": n, "records": records} for n in range(2)]
    pieces = writer_of(PRODUCE.request, 9)({"topic_data": [{"name": "t", "partition_data": rows}]}, HEAD)
    assert sum(piece is records for piece in pieces) == 2

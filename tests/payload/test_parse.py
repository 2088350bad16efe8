"""The JSON kernel against oracles, each where it rules.

- The standard library rules what is JSON and what a value is, for what is neither NaN nor Infinity nor a lone
  surrogate, whose numbers do not overflow and that is not too deep: these it accepts and we refuse.
- msgspec rules UTF-8 and escapes in the wanted fields (it does not look at all of them in unknown ones).
- Python's ``float`` rules numbers, bit for bit.
"""

import json
import math
import random
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import Presence, RecordBlock, Segment, Status
from farthing.errors import ConfigError
from farthing.kernels.jit import NO_JIT
from farthing.payload import Field, FieldPlan, parse

from .corpus import CORPUS

PLAN = FieldPlan((Field("id", "id", "raw"), Field("text", "text", required=True)))
ROWS_PLAN = FieldPlan(
    (
        Field("q", "q", required=True), Field("t", "a.c[*].t"), Field("n", "a.c[*].n.v", "number"), Field("k", "a.k", "raw"),
        Field("r", "a.c[*].r", "raw"), Field("z", "b.z", "number", required=True),
    ),
    max_rows=3,
)  # fmt: skip
EXAMPLES = settings().max_examples
GUARD = b'"}]\xff\\u'  # what follows a value in the buffer must not matter


def block(values):
    pieces, start, stop, at = [], [], [], 0
    for value in values:
        if value is None:
            start.append(-1)
            stop.append(-1)
            continue
        start.append(at + len(GUARD))
        stop.append(at + len(GUARD) + len(value))
        pieces += [GUARD, value]
        at += len(GUARD) + len(value)
    pieces.append(GUARD)
    n = len(values)
    none = np.full(n, -1, np.int64)
    return RecordBlock(
        np.frombuffer(b"".join(pieces), np.uint8), np.arange(n), np.zeros(n, np.int64), none, none,
        np.array(start, np.int64), np.array(stop, np.int64), none, none, np.zeros(n, np.int32),
        (Segment("t", 0, 0, n, 0, n),),
    )  # fmt: skip


def run(values, plan=PLAN, **options):
    """Parse; what the kernel gives is also what its reference gives, bit for bit."""
    records = block(values)
    columns = parse(records, plan, **options)
    if not NO_JIT:
        assert_equal(columns, parse.reference(records, plan, **options))
    return records, columns


def assert_equal(found, expected):
    assert found.status.tolist() == expected.status.tolist()
    assert found.row_indptr.tolist() == expected.row_indptr.tolist()
    assert list(found.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        assert type(found.columns[name]) is type(column)
        for part in column.__slots__:
            ours, theirs = getattr(found.columns[name], part), getattr(column, part)
            if part == "data":  # there may be room after the last string
                ours = ours[: len(theirs)]
            assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes()), (name, part)


def text_of(columns, i, name="text"):
    column = columns.columns[name]
    return column.data[column.indptr[i] : column.indptr[i + 1]].tobytes()


def id_of(records, columns, i):
    column = columns.columns["id"]
    return records.buffer[column.start[i] : column.stop[i]].tobytes() if column.start[i] >= 0 else None


def standard_library(value):
    """What the standard library says: the object, or None when it is no JSON object as we accept it."""

    def refuse(token):
        raise ValueError(token)

    def number(token):
        found = float(token)
        if math.isinf(found):
            raise ValueError(token)
        return found

    try:
        found = json.loads(value.decode("utf-8"), parse_constant=refuse, parse_float=number, parse_int=number)
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def test_the_corpus_is_large_and_every_oddity_gets_its_status():
    assert len(CORPUS) >= 300
    _, columns = run([value for value, _ in CORPUS])
    wrong = [
        (value if value is None else value[:60], Status(found).name, expected)
        for (value, expected), found in zip(CORPUS, columns.status, strict=True)
        if expected is not None and found != expected
    ]
    assert not wrong


def test_the_corpus_agrees_with_the_standard_library():
    _, columns = run([value for value, _ in CORPUS])
    for i, (value, _) in enumerate(CORPUS):
        if value is None or value[:3] == b"\xef\xbb\xbf" or columns.status[i] == Status.TOO_DEEP:
            continue
        found = standard_library(value)
        good_json = columns.status[i] in (Status.OK, Status.MISSING_FIELD, Status.NULL_FIELD, Status.WRONG_TYPE)
        assert good_json == (found is not None), (value[:80], Status(columns.status[i]).name)
        if columns.status[i] == Status.OK:
            assert text_of(columns, i).decode() == found["text"]


def test_msgspec_agrees_on_texts():
    class Event(msgspec.Struct):
        text: str

    decoder = msgspec.json.Decoder(Event)
    for i, (value, _) in enumerate(CORPUS):
        if value is None:
            continue
        _, columns = run([value])
        if columns.status[0] == Status.OK:
            try:
                assert decoder.decode(value).text.encode() == text_of(columns, 0), i
            except msgspec.ValidationError:
                assert value.count(b'"text"') > 1  # it judges the first of two equal keys too


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=4 * EXAMPLES)
@given(st.dictionaries(st.sampled_from(["id", "text", "b", "te"]), json_values), st.booleans())
def test_generated_objects(event, ascii_only):
    value = json.dumps(event, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    records, columns = run([value])
    if standard_library(value) is None:
        assert columns.status[0] != Status.OK
        return
    if "text" not in event:
        assert columns.status[0] == Status.MISSING_FIELD
    elif event["text"] is None:
        assert columns.status[0] == Status.NULL_FIELD
    elif not isinstance(event["text"], str):
        assert columns.status[0] == Status.WRONG_TYPE
    else:
        assert columns.status[0] == Status.OK
        assert text_of(columns, 0).decode() == event["text"]
        if "id" in event:
            assert json.loads(id_of(records, columns, 0)) == event["id"]
        else:
            assert id_of(records, columns, 0) is None


@settings(max_examples=6 * EXAMPLES)
@given(st.data())
def test_mutated_objects_are_judged_as_the_standard_library_does(data):
    value = bytearray(b'{"id":{"a":[1,-2.5e3,null]},"text":"caf\\u00e9 \xf0\x9f\x98\x80 \\ud83d\\ude00","z":[true,{}]}')
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        value[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(
                [b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"1", b"e", b"\xff", b"\xc3", b"\n", b" ", b"u"]
            )
        )
    value = bytes(value)
    _, columns = run([value])
    if value[:3] == b"\xef\xbb\xbf":
        return
    found = standard_library(value)
    good = columns.status[0] in (Status.OK, Status.MISSING_FIELD, Status.NULL_FIELD, Status.WRONG_TYPE)
    assert good == (found is not None)
    if columns.status[0] == Status.OK:
        assert text_of(columns, 0).decode() == found["text"]


@settings(max_examples=3 * EXAMPLES)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_and_neighbours_do_not_matter(values):
    _, together = run([*values, b'{"text":"a"}'])
    assert together.status[-1] == Status.OK
    for i, value in enumerate(values):
        assert run([value])[1].status[0] == together.status[i]


FRAGMENTS = [
    b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b'"', b'"q"', b'"a"', b'"c"', b'"t"', b'"b"', b'"z"', b'"n"', b'"v"', b'{"q":"x",',
    b'"a":{"c":[', b'{"t":"y"}', b"null", b"true", b"nul", b"0", b"-", b"1.5", b"1e400", b"01", b".", b"e", b"\\", b"\\u", b"\\ud83d",
    b"\\ude00", b"\\u0041", b"\\n", b"\xc3", b"\xc3\xa9", b"\xf0\x9f\x98\x80", b"\xff", b"\x00", b"\x1f", b"\x7f", b"\xef\xbb\xbf",
]  # fmt: skip


@settings(max_examples=10 * EXAMPLES)
@given(
    st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join), max_size=4),
    st.sampled_from([PLAN, ROWS_PLAN]),
)
def test_any_fragments_are_judged_as_the_reference_does(values, plan):
    run(values, plan)


def members(depth):
    """Objects whose keys a plan may want, some of them twice, as (key, value) pairs; values as JSON text."""
    scalar = st.sampled_from(
        ["null", "true", "5", "-0.0", "1.25e-3", "123456789012345678", '"s"', '"\\u00e9"', "[]", "{}"]
    )
    if depth == 0:
        return scalar
    inner = members(depth - 1)
    pair = st.tuples(st.sampled_from(["q", "a", "c", "t", "n", "v", "k", "r", "b", "z"]), inner)
    pairs = st.lists(pair.map(lambda p: f'"{p[0]}":{p[1]}'), max_size=5)
    return (
        scalar
        | pairs.map(lambda p: "{" + ",".join(p) + "}")
        | st.lists(inner, max_size=4).map(lambda v: f"[{','.join(v)}]")
    )


@settings(max_examples=10 * EXAMPLES)
@given(st.lists(st.tuples(members(3), st.booleans(), st.booleans()), max_size=4))
def test_any_rows_are_those_of_the_reference(drawn):
    """Whatever lies on the way to the array and below it, also when it comes twice."""
    values = []
    for value, wanted, twice in drawn:
        first = '{"q":"x","a":{"c":' + value + '},"b":{"z":1}' if wanted else '{"a":' + value + ',"q":"x","b":{"z":2.5}'
        values.append((first + (',"a":{"k":1,"c":[{"t":"l","n":{"v":2}},3]}}' if twice else "}")).encode())
    run(values, ROWS_PLAN)


def hard_numbers():
    rng = random.Random(4)
    for _ in range(600 * EXAMPLES):
        bits = rng.getrandbits(64)
        found = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
        if math.isfinite(found):
            yield repr(found)
            yield f"{found:.{rng.randrange(1, 25)}e}"
    for _ in range(200 * EXAMPLES):
        yield f"{rng.randrange(-(10**18), 10**18)}e{rng.randrange(-330, 290)}"
        yield f"{rng.uniform(-1e6, 1e6):.{rng.randrange(0, 12)}f}"
    for exponent in range(-1074, 1023, 7):  # half-way cases, exactly
        mid = (2**53 + 1) * 2**exponent if exponent >= 0 else None
        if mid is not None:
            yield str(mid)
    yield from (
        "5e-324",
        "2.5e-324",
        "2.4703282292062328e-324",
        "1.7976931348623157e308",
        "0",
        "-0",
        "1e22",
        "1e23",
        "9007199254740993",
    )


def test_numbers_are_pythons_bit_for_bit():
    plan = FieldPlan((Field("n", "n", "number"),))
    tokens = [t for t in hard_numbers() if math.isfinite(float(t))]
    assert len(tokens) > 1000 * EXAMPLES
    _, columns = run([b'{"n":' + t.encode() + b"}" for t in tokens], plan)
    assert not columns.status.any()
    expected = np.array([float(t) for t in tokens])
    assert columns.columns["n"].values.tobytes() == expected.tobytes()


def test_arrays_give_rows():
    plan = FieldPlan(
        (
            Field("q", "q", required=True),
            Field("t", "c[*].t"),
            Field("n", "c[*].n.v", "number"),
            Field("z", "a.b", "number"),
        ),
        max_rows=3,
    )
    values = [
        b'{"q":"x","c":[{"t":"one"},{"t":"two","n":{"v":1.5}},null],"a":{"b":0.1}}',
        b'{"q":"x","c":[]}', b'{"q":"x"}', b'{"q":"x","c":null}', b'{"q":"x","c":5}', b'{"q":"x","c":{"t":"a"}}',
        b'{"q":"x","c":[{"t":"zz"},{}],"c":[{"t":"k","t":"l","n":{"v":2,"v":3}}]}',
        b'{"q":"x","c":[1,2,3,4]}', b'{"q":"x","c":[{"t":"a"}],"a":3}', b'{"q":"x","c":[{"t":"a"}],"a":null}',
        b'{"q":"x","c":[{"t":5},{"n":4},{"n":{"v":"s"}}]}', b'{"c":[{"t":"lost"}]}', b'{"q":"y","c":[{"t":"p"},{"t":"q"}]}',
    ]  # fmt: skip
    _, columns = run(values, plan)
    S = Status
    assert [S(s) for s in columns.status] == [
        S.OK, S.NO_ROWS, S.NO_ROWS, S.NO_ROWS, S.NOT_AN_OBJECT, S.NOT_AN_OBJECT, S.OK, S.TOO_MANY_ROWS, S.OK, S.OK,
        S.OK, S.MISSING_FIELD, S.OK,
    ]  # fmt: skip
    assert np.diff(columns.row_indptr).tolist() == [3, 0, 0, 0, 0, 0, 1, 0, 1, 1, 3, 0, 2]
    texts = [b"one", b"two", b"", b"l", b"a", b"a", b"", b"", b"", b"p", b"q"]
    assert [text_of(columns, i, "t") for i in range(11)] == texts
    assert columns.columns["n"].presence.tolist() == [0, 2, 0, 2, 0, 0, 0, 0, 3, 0, 0]
    assert columns.columns["n"].values[3] == 3.0
    assert columns.columns["z"].values[0] == 0.1
    assert columns.columns["z"].presence[8:10].tolist() == [Presence.MISSING] * 2


OPTIONAL_PLAN = FieldPlan(
    (
        Field("text", "text", required=True), Field("tenant", "account.id", "raw"), Field("name", "who.name"),
        Field("age", "who.age.years", "number"), Field("owner", "need.this", required=True),
    )
)  # fmt: skip
ODD_VALUES = ('"acme"', '["acme"]', "null", "5", "true", "[]", "{}", '[{"id":1}]', "[[{}]]", '{"id":{"id":[]}}',
              '{"name":5,"age":{"years":"1"}}', '{"name":["x"],"age":7}', '{"id":null,"name":null,"age":null}')  # fmt: skip


def test_an_optional_field_never_refuses_an_event():
    """Whatever is at its place or on the way to it, once or with another value after it."""
    good = [f'{{"text":"t","need":{{"this":"n"}},"{key}":{odd}}}' for key in ("account", "who") for odd in ODD_VALUES]
    twice = [f'{{"{key}":{odd},"text":"t","{key}":{last},"need":{{"this":"n"}}}}'
             for key in ("account", "who") for odd in ODD_VALUES for last in ODD_VALUES]  # fmt: skip
    _, columns = run([value.encode() for value in good + twice], OPTIONAL_PLAN)
    assert not columns.status.any()
    assert all(text_of(columns, i) == b"t" for i in range(len(good)))
    there = columns.columns
    assert there["tenant"].presence[:13].tolist() == [0] * 9 + [2, 0, 0, 1]
    assert there["name"].presence[13:26].tolist() == [0] * 10 + [3, 3, 1]
    assert there["age"].presence[13:26].tolist() == [0] * 10 + [3, 0, 0]
    assert np.isnan(there["age"].values).all()


def test_a_required_field_still_refuses():
    refused = [
        f'{{"text":"t","need":{odd}}}'.encode() for odd in ('"n"', "[]", "null", "{}", '{"this":5}', '{"this":null}')
    ]
    _, columns = run(refused, OPTIONAL_PLAN)
    assert [Status(s).name for s in columns.status] == [
        "NOT_AN_OBJECT", "NOT_AN_OBJECT", "MISSING_FIELD", "MISSING_FIELD", "WRONG_TYPE", "NULL_FIELD",
    ]  # fmt: skip


def test_max_event_bytes():
    value = b'{"text":"' + b"a" * 100 + b'"}'
    assert run([value], max_event_bytes=len(value))[1].status[0] == Status.OK
    assert run([value], max_event_bytes=len(value) - 1)[1].status[0] == Status.TOO_LARGE


def test_a_megabyte_of_text():
    value = b'{"text":"' + b"\\u00e9" * 170_000 + b'"}'
    _, columns = run([value])
    assert columns.status[0] == Status.OK
    assert text_of(columns, 0) == "é".encode() * 170_000


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([{"name": "a b", "path": "a"}], "a b"),
        ([{"name": "a", "path": "a", "kind": "string"}], "kind"),
        ([{"name": "a", "path": "a..b"}], "path"),
        ([{"name": "a", "path": "a[*]"}], "ends in an array"),
        ([{"name": "a", "path": "a[*].b[*].c"}], "two arrays"),
        ([{"name": "a", "path": "a[*].b"}, {"name": "c", "path": "d[*].b"}], "one array"),
        ([{"name": "a", "path": "a"}, {"name": "b", "path": "a.b"}], "lies above"),
        ([{"name": "a", "path": "a"}, {"name": "a", "path": "b"}], "different names"),
        ([{"name": "a", "path": "a", "colour": 1}], "colour"),
    ],
)
def test_impossible_plans_are_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        FieldPlan.from_manifest({"fields": fields})


def test_a_plan_survives_its_manifest():
    assert FieldPlan.from_manifest(PLAN.to_manifest()) == PLAN


@given(st.lists(st.integers(0, 700), min_size=1, max_size=4), st.integers(600, 800))
def test_more_rows_than_expected_are_all_read(sizes, max_rows):
    """Columns begin with room for rows of some hundred bytes; here a row has three."""
    plan = FieldPlan((Field("q", "q", "raw"), Field("v", "c[*].v", "number")), max_rows=max_rows)
    values = [
        b'{"q":%d,"c":[%s]}' % (k, b",".join([b"{}"] * (size - 1) + [b'{"v":7}'] * (size > 0)))
        for k, size in enumerate(sizes)
    ]
    _, columns = run(values, plan)
    read = [size if 0 < size <= max_rows else 0 for size in sizes]
    assert np.diff(columns.row_indptr).tolist() == read
    assert np.flatnonzero(columns.columns["v"].values == 7).tolist() == [
        end - 1 for end, size in zip(np.cumsum(read), read, strict=True) if size
    ]

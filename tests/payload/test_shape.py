"""Events like those before them are read by a short cut, and it changes nothing but the time.

The reference learns nothing, so every comparison with it is one of the short cut with the whole parser.
"""

import json
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import RecordBlock, Status
from farthing.kernels.jit import NO_JIT, kernel
from farthing.payload import Field, FieldPlan, columns, parse, plain, shape, strings
from farthing.payload.numbers import skip_digits
from farthing.payload.rules import parse_reference
from tests.fuzz.mutate import mutated

from .test_parse import EXAMPLES, PLAN, ROWS_PLAN, run

compiled = pytest.mark.skipif(NO_JIT, reason="without compilation nothing is learned")
DEEP_PLAN = FieldPlan(
    (
        Field("text", "comment.body", required=True), Field("id", "account.id", "raw"), Field("n", "n", "number"),
        Field("lang", "comment.lang"), Field("raw", "comment.more", "raw"),
    )
)  # fmt: skip
EVENT = {
    "id": "c-17",
    "user": "u1",
    "ts": 1790000000,
    "x": [1, {"text": "no"}],
    "text": "a plain text of more than 32 bytes",
    "ok": True,
}
DEEP = {
    "n": 1.5, "account": {"id": 7, "name": "é"}, "comment": {"lang": "en", "body": "some text \U0001f600", "more": {"a": []}},
    "text": "x" * 40,
}  # fmt: skip
ROWS = {
    "q": "x",
    "a": {"k": 1, "c": [{"t": "one", "n": {"v": 1}, "r": "s"}, {"t": "two", "n": {"v": 2.5}, "r": [7]}]},
    "b": {"z": -0.0},
}


END = b" " * 40  # the last bytes of a block are read by the whole parser: a link is compared in words


def written(event, *, compact=True, ascii_only=True, indent=None):
    return json.dumps(
        event, separators=(",", ":") if compact else None, ensure_ascii=ascii_only, indent=indent
    ).encode()


def without(event, key):
    return {k: v for k, v in event.items() if k != key}


STREAMS = [  # (plan, what one producer writes: a few forms of its events)
    (PLAN, [written(EVENT), written(EVENT | {"text": "né \U0001f600 и так далее"})]),
    (PLAN, [written(EVENT, compact=False, ascii_only=False), written(EVENT | {"text": "né и", "ts": -3.5e-7, "id": None}, compact=False)]),
    (PLAN, [written(EVENT, indent=2), written(without(EVENT, "user"), indent=2), written(dict(reversed(EVENT.items())))]),
    (PLAN, [b'{"text":"a","id":1,"text":"b","id":"z"}', b'{"text":5,"text":"b"}', b'{"text":"b","text":null,"id":[]}']),
    (PLAN, [b'{"te\\u0078t":"a","id" :\t7 }\n', b'{"\\u0069d":"caf\\u00e9","te\\u0078t":"x\\ny"}', b'{}', b'{"text":"a"}', b"", None]),
    (DEEP_PLAN, [written(DEEP), written(DEEP | {"account": None}), written(DEEP | {"comment": {"body": "b"}, "n": 1e300})]),
    (DEEP_PLAN, [written(DEEP, compact=False), written(dict(reversed(DEEP.items()))), b'{"account":{"id":1,"id":2},"account":{"id":3},"comment":{"body":"t"}}']),
    (ROWS_PLAN, [written(ROWS), written(ROWS | {"a": {"c": [{"n": {"v": 3}}, {}, {"t": None}]}}), written(ROWS | {"a": {"c": []}})]),
    (ROWS_PLAN, [written(ROWS, compact=False), b'{"q":"x","a":{"c":[{"t":"1"}],"k":2,"c":[{"t":"2","r":3},{"t":"4"}]},"b":{"z":1}}']),
]  # fmt: skip


@settings(max_examples=16 * EXAMPLES)
@given(st.sampled_from(STREAMS), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2**32)), max_size=40))
def test_events_that_differ_from_those_before_them_in_any_way(stream, drawn):
    """Two in five have been mutated: bits flipped, bytes inserted and deleted, parts of other forms, cut ends."""
    plan, forms = stream
    values = [forms[seed % len(forms)] for _, seed in drawn]
    seeds = [form for form in forms if form]
    for k, (share, seed) in enumerate(drawn):
        if share < 4 and values[k]:
            values[k] = mutated(np.random.default_rng(seed), values[k], seeds)
    _, together = run(values, plan)
    for k in range(0, len(values), 7):  # nor does it matter what stood before
        assert run([values[k]], plan)[1].status[0] == together.status[k]


@settings(max_examples=4 * EXAMPLES)
@given(st.sampled_from(STREAMS), st.integers(0, 2**32), st.integers(100, 400))
def test_one_byte_of_a_known_event_is_another(stream, seed, size):
    plan, forms = stream
    rng = np.random.default_rng(seed)
    good = next(form for form in forms if form)
    values = [good] * 3
    for at in range(len(good)):
        values += [good[:at] + bytes([rng.integers(0, 256)]) + good[at + 1 :], good[:at] + good[at + 1 :], good[:at]]
    run(values[:size], plan)


def test_a_known_key_is_not_read_beyond_the_end_of_its_event():
    """The rest of a key lies right behind a cut event, as the beginning of the next one."""
    good = '{"é":1,"text":"a"}'.encode()
    for cut in range(len(good)):
        records = RecordBlock.of_values([good, good, good[:cut], good[cut:], good])
        assert parse(records, PLAN).status.tolist() == parse_reference(records, PLAN).status.tolist()


def learned(values, plan=PLAN):
    """Parse, and give how many links there are, how many of the last events had an unknown one, and the pause left."""
    seen = []
    original = columns.parse_events

    def watch(*arguments):
        seen.append(arguments[-1])
        return original(*arguments)

    with mock.patch.object(columns, "parse_events", watch):
        found = parse(RecordBlock.of_values(values), plan)
    tally = seen[-1]
    links = tally[shape.N_NODES] // shape.NODE_WIDTH - len(plan.compiled.node_fields)
    return found, int(links), int(tally[shape.STRIKES]), int(tally[shape.PAUSE])


@compiled
@pytest.mark.parametrize("form", [{}, {"compact": False}, {"indent": 2}, {"ascii_only": False}])
def test_a_producer_s_keys_are_learned_once_with_its_own_white_space(form):
    values = [written({"id": k, "user": f"u{k}", "text": f"né \U0001f600 {k}"}, **form) for k in range(500)]
    found, links, strikes, pause = learned([*values, END])
    assert (links, strikes, pause) == (3, 0, 0)
    assert found.status[:-1].sum() == 0


@compiled
def test_objects_below_and_rows_are_learned_as_well():
    values = [written(ROWS | {"b": {"z": k}}) for k in range(100)]
    assert learned([*values, END], ROWS_PLAN)[1:] == (10, 0, 0)  # the keys of the event, a, a row, n and b
    assert learned([*[written(DEEP)] * 100, END], DEEP_PLAN)[1:] == (9, 0, 0)  # those of more are not the plan's


@compiled
def test_two_producers_are_both_known_and_a_change_is_learned():
    one, other = {"id": 1, "text": "a"}, {"text": "b", "id": 2}
    assert learned([written(one), written(other)] * 100 + [END])[1:] == (4, 0, 0)
    assert learned([written(one)] * 50 + [written(other)] * 50 + [END])[1:] == (4, 0, 0)


@compiled
def test_where_no_event_is_like_another_the_search_pauses():
    values = [written({f"k{k}": 1, "text": f"{k}"}) for k in range(16)]
    assert learned(values)[1:] == (0, 12, 64)  # nothing is left of what was learned
    assert learned([*values, *values[:10]])[1:] == (0, 12, 54)
    same = [written({"text": f"{k}"}) for k in range(100)]
    assert learned([*values, *same, END])[1:] == (1, 0, 0)  # and when they are alike again, that is noticed


@compiled
def test_more_keys_than_there_is_room_for():
    many = [written({f"key{k}": k for k in range(1000)} | {"text": "a"}), written({"x" * 9000: 1, "text": "b"})]
    found, links, *_ = learned(many * 3)
    assert links == shape.MOST_NODES
    assert found.status.tolist() == [Status.OK] * 6


@kernel
def marks_at(data, at):
    return plain.mark_special_bytes(data, at)


@kernel
def copied_and_marked(data, at, out, to):
    return plain.copy_and_mark(data, at, out, to)


@kernel
def after_plain(data, at, stop):
    return plain.skip_plain(data, at, stop)


@kernel
def after_digits(data, at, stop):
    return skip_digits(data, at, stop)


@compiled
@given(st.binary(min_size=plain.LANES, max_size=100) | st.text("ab09/:~ \x7f", min_size=32).map(str.encode), st.data())
def test_pieces_equal_their_references(data, draw):
    array = np.frombuffer(data, np.uint8).copy()
    at = draw.draw(st.integers(0, len(array) - plain.LANES))
    stop = draw.draw(st.integers(at, len(array)))
    assert marks_at(array, at) == plain.mark_special_bytes_reference(array, at)
    one, other = np.zeros(40, np.uint8), np.zeros(40, np.uint8)
    assert copied_and_marked(array, at, one, 5) == plain.copy_and_mark_reference(array, at, other, 5)
    assert one.tobytes() == other.tobytes()
    special = next((k for k in range(at, len(data)) if not 32 <= data[k] < 128 or data[k] in b'"\\'), len(data))
    assert at <= after_plain(array, at, stop) <= special
    digits = next((k for k in range(at, stop) if data[k] not in b"0123456789"), stop)
    assert after_digits(array, at, stop) == digits


@compiled
@given(st.text(max_size=80), st.integers(0, 50), st.integers(0, 50), st.booleans())
def test_a_string_is_copied_into_its_room_and_no_further(text, before, behind, ascii_only):
    """Whatever lies before it and behind it, in what is read and in what is written."""
    text = text.encode("utf-8", "replace").decode()
    written_ = json.dumps(text, ensure_ascii=ascii_only).encode()
    data = np.frombuffer(b"x" * before + written_ + b"x" * behind, np.uint8)
    out = np.full(len(written_) + 40, 7, np.uint8)
    stop = 3 + len(text.encode())
    end, to, state = strings.copy_string(data, before + 1, len(data), out, 3, max(stop, len(written_)))
    assert (end, to, state) == (before + len(written_) - 1, stop, 0)
    assert out[3:stop].tobytes().decode() == text
    assert (out[:3] == 7).all() and (out[max(stop, len(written_)) :] == 7).all()

"""Which letters are meant: the flags, and what they leave out."""

import pytest

from farthing.dead.letters import Letter
from farthing.dead.selection import Selection, make_selection, parse_time
from farthing.errors import ConfigError

NOW = 1_800_000_000_000


def letter(value=b"{}", *, partition=0, offset="7", at_ms=NOW, reason="syntax"):
    error = {"reason": reason, "topic": "t", "offset": offset, "time_ms": str(at_ms)}
    return Letter("dead", partition, 0, 0, None, value, (), error)


def test_nothing_given_takes_everything():
    assert Selection().takes(letter(b"\xff"))
    assert make_selection(now_ms=NOW).takes(letter(None))


@pytest.mark.parametrize(
    ("flags", "taken", "left"),
    [
        ({"reasons": ["syntax", "too_deep"]}, letter(reason="too_deep"), letter(reason="null_field")),
        ({"reasons": ["SYNTAX"]}, letter(), letter(reason="too_deep")),
        ({"reasons": ["CorruptBatchError"]}, letter(reason="CorruptBatchError"), letter()),
        ({"partitions": [1, 2]}, letter(partition=2), letter(partition=0)),
        ({"since": "90m"}, letter(at_ms=NOW - 90 * 60_000), letter(at_ms=NOW - 90 * 60_000 - 1)),
        ({"until": "2027-01-15T08:00:00Z"}, letter(at_ms=NOW - 1), letter(at_ms=NOW)),
        ({"places": ["2:7"]}, letter(partition=2), letter(partition=2, offset="8")),
        ({"fields": ["user.id=42"]}, letter(b'{"user":{"id":42}}'), letter(b'{"user":{"id":43}}')),
        ({"fields": [".user.id=42"]}, letter(b'{"user":{"id":"42"}}'), letter(b'{"user":[42]}')),
        ({"fields": ["lang=en"]}, letter(b'{"lang":"en"}'), letter(b'{"lang":"en')),
        ({"fields": ["n=1"]}, letter(b'{"n":1.0}'), letter(b'{"n":true}')),
        ({"fields": ["n=null"]}, letter(b'{"n":null}'), letter(b"{}")),
        ({"fields": ["a=1", "b=2"]}, letter(b'{"a":1,"b":2}'), letter(b'{"a":1,"b":3}')),
        ({"fields": [r"a\.b=x=y"]}, letter(b'{"a.b":"x=y"}'), letter(b'{"a":{"b":"x=y"}}')),
        ({"fields": ["a=1"]}, letter(b'{"a":1}'), letter(b"[" * 100_000)),
    ],
)  # fmt: skip
def test_a_flag_takes_what_it_names(flags, taken, left):
    selection = make_selection(**flags, now_ms=NOW)
    assert selection.takes(taken)
    assert not selection.takes(left)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"since": "yesterday"}, "--since yesterday: write a time such as"),
        ({"until": "9999999999d-"}, "--until"),
        ({"fields": ["user.id"]}, "--field user.id: write PATH=VALUE"),
        ({"fields": ["a[*].b=1"]}, "a path through an array"),
        ({"fields": ["a..b=1"]}, "empty key"),
        ({"places": ["7"]}, "write PARTITION:OFFSET"),
    ],
)
def test_a_flag_that_cannot_be_read_says_how_it_is_written(flags, said):
    with pytest.raises(ConfigError) as raised:
        make_selection(**flags, now_ms=NOW)
    assert said in str(raised.value)


def test_times():
    assert parse_time("2027-01-15T08:00:00Z", flag="--since", now_ms=0) == NOW
    assert parse_time("2027-01-15T09:00:00+01:00", flag="--since", now_ms=0) == NOW
    assert parse_time("2027-01-15 08:00", flag="--since", now_ms=0) == NOW
    assert parse_time("2d", flag="--since", now_ms=NOW) == NOW - 2 * 86_400_000

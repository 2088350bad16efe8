"""Named fields are replaced wherever they are, and nothing is shown of what cannot be searched."""

import json

import pytest

from farthing.dead.letters import Letter
from farthing.dead.redact import ALL_HIDDEN, HIDDEN, redacted
from farthing.dead.showing import as_lines, as_object
from farthing.payload.paths import parse_path

SECRET = "c4nary"


def hide(value, *paths):
    return redacted(value, [parse_path(path) for path in paths]).decode()


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({"email": SECRET}, "email"),
        ({"user": {"email": SECRET}}, "user.email"),
        ({"users": [{"email": SECRET}, {"email": [SECRET]}]}, "users[*].email"),
        ({"users": [{"email": SECRET}]}, "users.email"),
        ([{"email": {"deep": SECRET}}], "email"),
        ({"a.b": SECRET}, r"a\.b"),
    ],
)
def test_a_named_field_is_replaced(event, path):
    shown = hide(json.dumps({"kept": 1, **event} if isinstance(event, dict) else event).encode(), path)
    assert SECRET not in shown
    assert HIDDEN in shown
    assert "kept" in shown or isinstance(event, list)


@pytest.mark.parametrize("value", [b"{", b'{"email":"c4nary"', b"\xff c4nary", b"[" * 100_000 + b"c4nary", b"",
                                   b'{"email":"c4nary","n":' + b"9" * 5_000 + b"}"])  # fmt: skip
def test_what_is_not_json_is_hidden_whole(value):
    assert hide(value, "email") == ALL_HIDDEN


def test_without_paths_the_bytes_are_as_they_are():
    assert redacted(b"\xff{", []) == b"\xff{"


def test_both_values_of_a_repeated_key_are_gone():
    assert SECRET not in hide(b'{"email":"c4nary","email":"c4nary"}', "email")


def test_shown_letters_hide_fields_and_move_no_cursor():
    error = {"reason": "syntax", "topic": "t", "offset": "1", "message": "\x1b[2J"}
    letter = Letter("dead", 0, 5, 0, b"\x1b]0;x\x07", b'{"email":"c4nary","t":"\x1b[31m"}', ((b"h", b"\xff"),), error)
    shown = as_object(letter, "t", [parse_path("email")])
    text = "\n".join(as_lines(shown))
    assert SECRET not in text + json.dumps(shown)
    assert "\x1b" not in text
    assert shown["headers"] == [{"name": "h", "value_base64": "/w=="}]

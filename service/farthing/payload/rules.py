"""Which JSON is accepted, and the status that refuses the rest, in plain Python: the reference of the stage ``parse``.

Regular expressions find the tokens; the standard library decides what is UTF-8 and what a string or a number means. The
first error in the JSON itself decides the status; fields are looked for only when the whole value is valid.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.blocks import (
    Column,
    FieldColumns,
    NumberColumn,
    Presence,
    RawColumn,
    RecordBlock,
    Status,
    TextColumn,
)
from farthing.limits import MAX_EVENT_BYTES
from farthing.payload.plan import MAX_DEPTH, Field, FieldPlan

SPACE = re.compile(rb"[ \t\n\r]*+")
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xfe\xff", b"\xff\xfe", b"\0\0\xfe\xff")  # UTF-32 LE's begins like UTF-16 LE's
LITERALS = {b"true": True, b"false": False, b"null": None}
LIKE_A_NUMBER = re.compile(rb"-?[0-9]*+(\.[0-9]*+)?([eE][+-]?[0-9]*+)?")
NUMBER = re.compile(rb"-?(0|[1-9][0-9]*+)(\.[0-9]++)?([eE][+-]?[0-9]++)?")
CHARACTERS = re.compile(
    rb"""(?: [^\x00-\x1F"\\] | \\["\\/bfnrt]
    | \\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}
    | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2} )*+""",
    re.VERBOSE,
)
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
NO_PARTNER_BUT_AN_ERROR = re.compile(rb"\\u[dD][89abAB]..\\u(?![0-9a-fA-F]{4})....", re.DOTALL)


class _Refused(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Token:
    """A JSON value: where it is in the buffer, and what it means (dict, list, str, float, bool, or None for null)."""

    start: int
    stop: int
    content: Any


class _Reader:
    """Reads one event's value, which begins at ``begin`` of the buffer; raises _Refused at the first error."""

    def __init__(self, value: bytes, begin: int) -> None:
        self.value, self.begin, self.at = value, begin, 0
        try:
            value.decode("utf-8")
            self.invalid = len(value)
        except UnicodeDecodeError as error:
            self.invalid = error.start

    def document(self) -> _Token:
        if not self.peek():
            raise _Refused(Status.EMPTY_VALUE)
        if self.value.startswith(BYTE_ORDER_MARKS):
            raise _Refused(Status.BYTE_ORDER_MARK)
        value = self.read(0)
        if self.peek():
            raise _Refused(Status.TRAILING_BYTES)
        return value

    def peek(self) -> bytes:
        """Skip white space; returns the next byte, or ``b""`` at the end."""
        self.at = self.match(SPACE)
        return self.value[self.at : self.at + 1]

    def match(self, pattern: re.Pattern[bytes]) -> int:
        match = pattern.match(self.value, self.at)
        return self.at if match is None else match.end()

    def expect(self, byte: bytes) -> None:
        if self.peek() != byte:
            raise _Refused(Status.SYNTAX)
        self.at += 1

    def read(self, depth: int) -> _Token:
        first, start = self.peek(), self.at
        content: Any
        if first in (b"{", b"["):
            if depth == MAX_DEPTH:
                raise _Refused(Status.TOO_DEEP)
            content = self.members(depth + 1) if first == b"{" else self.elements(depth + 1)
        elif first == b'"':
            content = self.string()
        elif first and first in b"-0123456789":
            content = self.number()
        else:
            content = self.literal()
        return _Token(self.begin + start, self.begin + self.at, content)

    def members(self, depth: int) -> dict[str, _Token]:
        self.expect(b"{")
        members: dict[str, _Token] = {}
        while self.peek() != b"}" or members:
            if self.peek() != b'"':
                raise _Refused(Status.SYNTAX)
            key = self.string()
            self.expect(b":")
            members[key] = self.read(depth)  # the last of equal keys counts
            if self.peek() != b",":
                break
            self.at += 1
        self.expect(b"}")
        return members

    def elements(self, depth: int) -> list[_Token]:
        self.expect(b"[")
        elements: list[_Token] = []
        while self.peek() != b"]" or elements:
            elements.append(self.read(depth))
            if self.peek() != b",":
                break
            self.at += 1
        self.expect(b"]")
        return elements

    def string(self) -> str:
        start = self.at
        self.at += 1
        stop = self.match(CHARACTERS)
        if stop > self.invalid:
            raise _Refused(Status.INVALID_UTF8)
        self.at = stop
        if self.value[stop : stop + 1] != b'"':
            if b"" < self.value[stop : stop + 1] < b" ":
                raise _Refused(Status.CONTROL_CHARACTER)
            surrogate = SURROGATE.match(self.value, stop) and not NO_PARTNER_BUT_AN_ERROR.match(self.value, stop)
            raise _Refused(Status.LONE_SURROGATE if surrogate else Status.SYNTAX)
        self.at += 1
        return str(json.loads(self.value[start : self.at].decode()))

    def number(self) -> float:
        token = self.value[self.at : self.match(LIKE_A_NUMBER)]
        if not NUMBER.fullmatch(token):
            raise _Refused(Status.SYNTAX)
        if math.isinf(float(token)):
            raise _Refused(Status.NUMBER_OVERFLOW)
        self.at += len(token)
        return float(token)

    def literal(self) -> bool | None:
        for token, meaning in LITERALS.items():
            if self.value.startswith(token, self.at):
                self.at += len(token)
                return meaning
        raise _Refused(Status.SYNTAX)


def _follow(value: _Token | None, keys: Sequence[str]) -> _Token | None:
    """Return the value below ``keys``; None where a key is missing or a null is in the way."""
    for key in keys:
        if value is None or value.content is None:
            return None
        if not isinstance(value.content, dict):
            raise _Refused(Status.NOT_AN_OBJECT)
        value = value.content.get(key)
    return value


def _presence(token: _Token | None, field: Field) -> Presence:
    if token is None:
        return Presence.MISSING
    if token.content is None:
        return Presence.NULL
    if field.kind != "raw" and not isinstance(token.content, str if field.kind == "text" else float):
        raise _Refused(Status.WRONG_TYPE)
    return Presence.PRESENT


Entry = tuple[Presence, _Token | None]
_NOTHING: Entry = (Presence.MISSING, None)


def _rows(top: _Token, plan: FieldPlan) -> list[_Token]:
    """Return the rows of an event: the elements of the plan's array, or the event itself."""
    path = next((field.parsed for field in plan.fields if field.in_array), None)
    if path is None:
        return [top]
    array = _follow(top, path.keys[: path.array + 1])
    if array is None or array.content is None:
        return []
    if not isinstance(array.content, list):
        raise _Refused(Status.NOT_AN_OBJECT)
    if len(array.content) > plan.max_rows:
        raise _Refused(Status.TOO_MANY_ROWS)
    return array.content


def _optional_entry(top: _Token, keys: Sequence[str], field: Field) -> Entry:
    """Read a field: WRONG_TYPE where it has another type, missing where there is no object to look in."""
    try:
        token = _follow(top, keys)
        return _presence(token, field), token
    except _Refused as refused:
        return (Presence.WRONG_TYPE, None) if refused.status == Status.WRONG_TYPE else _NOTHING


def _read_event(value: bytes, begin: int, plan: FieldPlan) -> tuple[int, dict[str, list[Entry]]]:
    """Return the number of rows and each field's entries: one per row for a field in the array, else one."""
    top = _Reader(value, begin).document()
    if not isinstance(top.content, dict):
        raise _Refused(Status.NOT_AN_OBJECT)
    rows = _rows(top, plan)
    entries: dict[str, list[Entry]] = {}
    for field in plan.compiled.order:  # the first that does not fit decides
        keys = field.parsed.keys
        if field.in_array:
            entries[field.name] = [_optional_entry(row, keys[field.parsed.array + 1 :], field) for row in rows]
            continue
        if not field.required:
            entries[field.name] = [_optional_entry(top, keys, field)]
            continue
        token = _follow(top, keys)
        presence = _presence(token, field)
        if presence != Presence.PRESENT:
            raise _Refused(Status.NULL_FIELD if presence == Presence.NULL else Status.MISSING_FIELD)
        entries[field.name] = [(presence, token)]
    if not rows:
        raise _Refused(Status.NO_ROWS)
    return len(rows), entries


def _column(field: Field, entries: list[Entry]) -> Column:
    presence = np.array([there for there, _ in entries], np.uint8)
    if field.kind == "raw":
        start = [-1 if token is None else token.start for _, token in entries]
        stop = [-1 if token is None else token.stop for _, token in entries]
        return RawColumn(presence, np.array(start, np.int64), np.array(stop, np.int64))
    contents = [None if token is None else token.content for _, token in entries]
    if field.kind == "number":
        return NumberColumn(presence, np.array([math.nan if c is None else c for c in contents], np.float64))
    texts = [b"" if text is None else text.encode() for text in contents]
    indptr = np.array([0, *itertools.accumulate(map(len, texts))], np.int64)
    return TextColumn(presence, np.frombuffer(b"".join(texts), np.uint8), indptr)


def parse_reference(records: RecordBlock, plan: FieldPlan, *, max_event_bytes: int = MAX_EVENT_BYTES) -> FieldColumns:
    """Plain form of :func:`farthing.payload.columns.parse`: one event after another."""
    n = len(records)
    status, row_indptr = np.zeros(n, np.uint8), np.zeros(n + 1, np.int64)
    columns: dict[str, list[Entry]] = {field.name: [] for field in plan.compiled.order}
    for event in range(n):
        start, stop = int(records.value_start[event]), int(records.value_stop[event])
        rows = 0
        entries: dict[str, list[Entry]] = {
            f.name: [] if f.in_array else [(Presence.MISSING, None)] for f in plan.fields
        }
        try:
            if start < 0:
                raise _Refused(Status.NULL_VALUE)
            if stop - start > max_event_bytes:
                raise _Refused(Status.TOO_LARGE)
            rows, entries = _read_event(records.buffer[start:stop].tobytes(), start, plan)
        except _Refused as refused:
            status[event] = refused.status
        row_indptr[event + 1] = row_indptr[event] + rows
        for name, added in entries.items():
            columns[name] += added
    return FieldColumns(status, row_indptr, {f.name: _column(f, columns[f.name]) for f in plan.compiled.order})

"""Makes the functions that write one version of a table."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from farthing.kafka.protocol.primitives import FIXED, ProtocolError, Writer, is_fixed
from farthing.kafka.protocol.table import Field

Write = Callable[[Writer, Any], None]


def writer_of_struct(place: str, fields: Sequence[Field], version: int, flexible: bool) -> Write:
    """Make the function that writes a struct; ``place`` is for errors."""
    present = [field for field in fields if version in field.versions]
    plain = [field for field in present if version not in field.tagged]
    steps = [s for fixed, run in groupby(plain, is_fixed) for s in _steps(place, list(run), fixed, version, flexible)]
    tagged = sorted((f for f in present if version in f.tagged), key=lambda field: field.tag)
    tags = [(f.tag, f.name, f.default, _writer(place, f, version, flexible)) for f in tagged]
    names = frozenset(field.name for field in fields)
    missing = {f.name: f.default for f in fields if version not in f.versions and not f.ignorable}

    def write(writer: Writer, message: Mapping[str, Any]) -> None:
        if not message.keys() <= names:
            raise ProtocolError(f"{place} has no {', '.join(sorted(message.keys() - names))}")
        for name in missing.keys() & message.keys() if missing else ():
            if not _same(message[name], missing[name]):
                raise ProtocolError(f"{place} has no {name}, a later or earlier version does")
        for step in steps:
            step(writer, message)
        if flexible:
            _write_tags(writer, message, tags)

    return write


def _steps(
    place: str, run: Sequence[Field], fixed: bool, version: int, flexible: bool
) -> list[Callable[[Writer, Mapping[str, Any]], None]]:
    """Make the functions that write fields of a message: one for a run of numbers, one for each other field."""
    each = [_step(field.name, field.default, _writer(place, field, version, flexible)) for field in run]
    if not fixed:
        return each
    form = struct.Struct(">" + "".join(FIXED[field.type] for field in run))
    defaults = [(field.name, field.default) for field in run]

    def write_run(writer: Writer, message: Mapping[str, Any]) -> None:
        try:
            writer.add(form.pack(*[message.get(name, default) for name, default in defaults]))
        except struct.error:  # one after the other, to name the one that has no room
            for step in each:
                step(writer, message)

    return [write_run]


def _step(name: str, default: Any, write: Write) -> Callable[[Writer, Mapping[str, Any]], None]:
    return lambda writer, message: write(writer, message.get(name, default))


def _write_tags(writer: Writer, message: Mapping[str, Any], tags: Sequence[tuple[int, str, Any, Write]]) -> None:
    chosen = (
        [
            (tag, message[name], write)
            for tag, name, default, write in tags
            if name in message and not _same(message[name], default)
        ]
        if tags
        else ()
    )
    writer.varint(len(chosen))
    for tag, value, write in chosen:
        inner = Writer()
        write(inner, value)
        writer.varint(tag)
        writer.varint(sum(map(len, inner.pieces())))
        writer.message(inner)


def _same(value: Any, default: Any) -> bool:
    """Whether a value is the default; an empty list is the empty tuple."""
    if isinstance(default, tuple) and value is not None:
        return len(value) == 0
    return bool(value == default)


def _writer(place: str, field: Field, version: int, flexible: bool) -> Write:
    nullable = version in field.nullable
    name = f"{place} {field.name}"
    if field.is_array:
        return _write_array(place, field, version, flexible, nullable)
    if field.type == "string":
        return _write_string(name, flexible, nullable)
    if field.type in ("bytes", "records"):
        return _write_bytes(name, flexible, nullable)
    if field.type in FIXED:
        return _write_number(name, field.type)
    return writer_of_struct(place, field.fields, version, flexible)


def _write_number(name: str, type_: str) -> Write:
    form = struct.Struct(">" + FIXED[type_])

    def write(writer: Writer, value: Any) -> None:
        try:
            writer.add(form.pack(value))
        except struct.error as error:
            raise ProtocolError(f"{name} = {value!r}: {error}") from None

    return write


def _write_string(name: str, compact: bool, nullable: bool) -> Write:
    def write(writer: Writer, value: str | None) -> None:
        if value is None:
            _check_null(name, nullable)
            writer.length(-1, compact=compact, short=True)
            return
        data = value.encode()
        writer.length(len(data), compact=compact, short=True)
        writer.add(data)

    return write


def _write_bytes(name: str, compact: bool, nullable: bool) -> Write:
    def write(writer: Writer, value: Any) -> None:
        if value is None:
            _check_null(name, nullable)
            writer.length(-1, compact=compact)
            return
        writer.length(len(value), compact=compact)
        writer.add(value)

    return write


def _write_array(place: str, field: Field, version: int, flexible: bool, nullable: bool) -> Write:
    name = f"{place} {field.name}"
    if field.fields:
        element = writer_of_struct(f"{place} {field.element}", field.fields, version, flexible)
    elif field.element == "string":
        element = _write_string(name, flexible, False)
    else:
        element = _write_number(name, field.element)

    def write(writer: Writer, values: Sequence[Any] | None) -> None:
        if values is None:
            _check_null(name, nullable)
            writer.length(-1, compact=flexible)
            return
        writer.length(len(values), compact=flexible)
        for value in values:
            element(writer, value)

    return write


def _check_null(name: str, nullable: bool) -> None:
    if not nullable:
        raise ProtocolError(f"{name} is null, which it may not be")

"""Makes the functions that read one version of a table.

Neighbouring numbers are read in one step, and byte strings are views of the frame, so reading a Fetch response costs a
few microseconds for each partition, whatever it carries. No length is believed: an array cannot have more elements than
the frame has bytes for, so a hostile response of n bytes costs no more memory than n bytes of real elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from farthing.kafka.protocol.primitives import FIXED, ProtocolError, Reader, is_fixed
from farthing.kafka.protocol.table import Field

Message = dict[str, Any]
Read = Callable[[Reader], Any]


def reader_of_struct(fields: Sequence[Field], version: int, flexible: bool) -> Read:
    """Make the function that reads a struct, to a dict of all fields of the table."""
    present = [field for field in fields if version in field.versions]
    plain = [field for field in present if version not in field.tagged]
    tags = {f.tag: (f.name, _reader(f, version, flexible)) for f in present if version in f.tagged}
    plain_names = {field.name for field in plain}
    absent = {field.name: field.default for field in fields if field.name not in plain_names}
    steps = [step for fixed, run in groupby(plain, is_fixed) for step in _steps(list(run), fixed, version, flexible)]

    def read(reader: Reader) -> Message:
        message = absent.copy()
        for step in steps:
            step(reader, message)
        if flexible:
            count = reader.varint("the tagged fields")
            if count:
                _read_tags(reader, count, message, tags)
        return message

    return read


def _steps(run: Sequence[Field], fixed: bool, version: int, flexible: bool) -> list[Callable[[Reader, Message], None]]:
    """Make the functions that read fields into a message: one for a run of numbers, one for each other field."""
    if fixed:
        form = struct.Struct(">" + "".join(FIXED[field.type] for field in run))
        names = tuple(field.name for field in run)
        what = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

        size, unpack_from = form.size, form.unpack_from

        def read_run(reader: Reader, message: Message) -> None:
            at = reader.at
            if at + size > reader.size:
                reader.fixed(form, what)  # raises
            message.update(zip(names, unpack_from(reader.data, at)))  # noqa: B905 - as many as the form has
            reader.at = at + size

        return [read_run]

    def step(name: str, read: Read) -> Callable[[Reader, Message], None]:
        def read_field(reader: Reader, message: Message) -> None:
            message[name] = read(reader)

        return read_field

    return [step(field.name, _reader(field, version, flexible)) for field in run]


def _read_tags(reader: Reader, count: int, message: Message, known: Mapping[int, tuple[str, Read]]) -> None:
    last = -1
    for _ in range(count):
        tag = reader.varint("a tag")
        if tag <= last:
            raise ProtocolError(f"tag {tag} follows tag {last}")
        last = tag
        value = Reader(reader.take(reader.varint(f"tag {tag}"), f"tag {tag}"))
        if tag in known:
            name, read = known[tag]
            message[name] = read(value)
            if value.left:
                raise ProtocolError(f"{value.left} bytes follow the end of {name}")


def skip_tags(reader: Reader) -> None:
    """Read tagged fields and drop them."""
    _read_tags(reader, reader.varint("the tagged fields"), {}, {})


def _reader(field: Field, version: int, flexible: bool) -> Read:
    nullable = version in field.nullable
    if field.is_array:
        return _array(field, version, flexible, nullable)
    if field.type == "string":
        return read_string(field.name, compact=flexible, nullable=nullable)
    if field.type in ("bytes", "records"):
        return _bytes(field.name, flexible, nullable)
    if field.type in FIXED:
        return _number(field)
    if nullable:
        raise ValueError(f"{field.name}: a struct that may be null is not supported")
    return reader_of_struct(field.fields, version, flexible)


def _number(field: Field) -> Read:
    form = struct.Struct(">" + FIXED[field.element])

    def read(reader: Reader) -> Any:
        return reader.fixed(form, field.name)[0]

    return read


def read_string(name: str, *, compact: bool, nullable: bool) -> Read:
    """Make the function that reads a string."""

    def read(reader: Reader) -> str | None:
        length = reader.length(name, compact=compact, short=True)
        if length < 0:
            _check_null(name, nullable)
            return None
        view = reader.take(length, name)
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError:
            raise ProtocolError(f"{name} is not UTF-8") from None

    return read


def _bytes(name: str, compact: bool, nullable: bool) -> Read:
    def read(reader: Reader) -> memoryview | None:
        length = reader.length(name, compact=compact)
        if length < 0:
            _check_null(name, nullable)
            return None
        return reader.take(length, name)

    return read


def _check_null(name: str, nullable: bool) -> None:
    if not nullable:
        raise ProtocolError(f"{name} is null, which it may not be")


def _array(field: Field, version: int, flexible: bool, nullable: bool) -> Read:
    name, least = field.name, least_bytes_of_element(field, version, flexible)
    if field.fields:
        element = reader_of_struct(field.fields, version, flexible)
    elif field.element == "string":
        element = read_string(name, compact=flexible, nullable=False)
    else:
        element = _number(field)

    def read(reader: Reader) -> list[Any] | None:
        count = reader.length(name, compact=flexible)
        if count < 0:
            _check_null(name, nullable)
            return None
        if count * least > reader.left:
            raise ProtocolError(f"{name} claims {count} elements, and {reader.left} bytes are left")
        return [element(reader) for _ in range(count)]

    return read


def least_bytes_of_element(field: Field, version: int, flexible: bool) -> int:
    """Return how many bytes an element of an array takes at least."""
    if field.fields:
        least = int(flexible)  # the number of tagged fields
        for inner in field.fields:
            if version in inner.versions and version not in inner.tagged:
                least += _least_bytes(inner, version, flexible)
        return max(least, 1)
    return _least_bytes_of_type(field.element, flexible)


def _least_bytes(field: Field, version: int, flexible: bool) -> int:
    if field.is_array:
        return 1 if flexible else 4
    return least_bytes_of_element(field, version, flexible)


def _least_bytes_of_type(name: str, flexible: bool) -> int:
    if name in FIXED:
        return struct.calcsize(">" + FIXED[name])
    return 1 if flexible else (2 if name == "string" else 4)

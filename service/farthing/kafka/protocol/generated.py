"""Makes Python functions that read and write one version of a message in one piece, for those that every block needs.

They do what :mod:`~farthing.kafka.protocol.reading` and :mod:`~farthing.kafka.protocol.writing` do with the usual
messages in less time, because nothing is looked up or called for each field. Anything else (a tagged field, a
version without compact lengths, bytes that are not what the table says) raises UnusualError: then those two read or
write the message, or say what is wrong with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from farthing.kafka.protocol.primitives import FIXED, SHORT_BYTES, ProtocolError, Reader, is_fixed
from farthing.kafka.protocol.reading import Message, least_bytes_of_element
from farthing.kafka.protocol.table import Field

ReadWhole = Callable[[memoryview, int], Message]
WriteWhole = Callable[[Mapping[str, Any], bytes], list[Any]]


class UnusualError(Exception):
    """The message is none of those that these functions are made for."""


def reader_of(fields: Sequence[Field], version: int) -> ReadWhole:
    """Make the function that reads a message of a flexible version, and a header's tagged fields before it.

    It begins at a place in a frame, must come to the frame's end, and else raises UnusualError.
    """
    source = _Source()
    source.add("def read(data, at):", 0)
    source.add("size = len(data)", 1)
    source.add("try:", 1)
    source.add("if data[at]: raise UnusualError", 2)
    source.add("at += 1", 2)
    message = _read_struct(source, fields, version, 2)
    source.add("except (IndexError, ValueError, StructError) as error:", 1)
    source.add("raise UnusualError from error", 2)
    source.add("if at != size: raise UnusualError", 1)
    source.add(f"return {message}", 1)
    made: ReadWhole = source.compiled("read")
    return made


def writer_of(fields: Sequence[Field], version: int) -> WriteWhole:
    """Make the function that writes a message of a flexible version after the bytes of its header.

    It returns pieces, as :func:`farthing.kafka.protocol.encode` does, and raises UnusualError.
    """
    source = _Source()
    source.add("def write(message, head):", 0)
    source.add("pieces, tail = [], bytearray(head)", 1)
    source.add("try:", 1)
    _write_struct(source, "message", fields, version, 2)
    source.add("except (AttributeError, TypeError, ValueError, StructError) as error:", 1)
    source.add("raise UnusualError from error", 2)
    source.add("if tail: pieces.append(bytes(tail))", 1)
    source.add("return pieces", 1)
    made: WriteWhole = source.compiled("write")
    return made


class _Source:
    """Lines of a function, and the constants that they name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {
            "UnusualError": UnusualError, "StructError": struct.error, "varint": _varint, "put_varint": _put_varint,
        }  # fmt: skip
        self._names = 0

    def add(self, line: str, depth: int) -> None:
        self.lines.append("    " * depth + line)

    def name(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def constant(self, value: Any) -> str:
        name = self.name()
        self.constants[name] = value
        return name

    def compiled(self, name: str) -> Any:
        space = dict(self.constants)
        exec("\n".join(self.lines), space)
        return space[name]


def _runs(fields: Sequence[Field], version: int) -> list[tuple[bool, list[Field]]]:
    """Return the fields of a version that are not tagged, in runs of numbers and of others."""
    plain = [field for field in fields if version in field.versions and version not in field.tagged]
    return [(fixed, list(run)) for fixed, run in groupby(plain, is_fixed)]


def _form(run: Sequence[Field]) -> struct.Struct:
    return struct.Struct(">" + "".join(FIXED[field.type] for field in run))


# --- reading: the lines leave the value in a variable, whose name is returned


def _read_struct(source: _Source, fields: Sequence[Field], version: int, depth: int) -> str:
    values = {field.name: source.constant(field.default) for field in fields}
    for fixed, run in _runs(fields, version):
        if fixed:
            form, names = _form(run), [source.name() for _ in run]
            source.add(f"{', '.join(names)}, = {source.constant(form.unpack_from)}(data, at)", depth)
            source.add(f"at += {form.size}", depth)
            values |= dict(zip((field.name for field in run), names, strict=True))
            continue
        for field in run:
            values[field.name] = _read_field(source, field, version, depth)
    source.add("if data[at]: raise UnusualError", depth)  # tagged fields
    source.add("at += 1", depth)
    message = source.name()
    source.add(f"{message} = {{{', '.join(f'{name!r}: {value}' for name, value in values.items())}}}", depth)
    return message


def _read_field(source: _Source, field: Field, version: int, depth: int) -> str:
    if not field.is_array and field.type not in ("string", "bytes", "records"):
        return _read_struct(source, field.fields, version, depth)
    length, value = source.name(), source.name()
    source.add(f"{length} = data[at]", depth)
    source.add(f"if {length} < 128: at += 1", depth)
    source.add(f"else: {length}, at = varint(data, at)", depth)
    source.add(f"if {length} == 0:", depth)
    source.add(f"{value} = None" if version in field.nullable else "raise UnusualError", depth + 1)
    source.add("else:", depth)
    depth += 1
    if field.is_array:
        least = least_bytes_of_element(field, version, flexible=True)
        source.add(f"if ({length} - 1) * {least} > size - at: raise UnusualError", depth)
        source.add(f"{value} = []", depth)
        source.add(f"for _ in range({length} - 1):", depth)
        element = _read_element(source, field, version, depth + 1)
        source.add(f"{value}.append({element})", depth + 1)
        return value
    stop = source.name()
    source.add(f"{stop} = at + {length} - 1", depth)
    source.add(f"if {stop} > size: raise UnusualError", depth)
    view = f"data[at:{stop}]"
    source.add(f"{value} = str({view}, 'utf-8')" if field.type == "string" else f"{value} = {view}", depth)
    source.add(f"at = {stop}", depth)
    return value


def _read_element(source: _Source, field: Field, version: int, depth: int) -> str:
    if field.fields:
        return _read_struct(source, field.fields, version, depth)
    alone = Field(field.kafka_name, field.element, "0+")
    if not is_fixed(alone):
        return _read_field(source, alone, version, depth)
    form, value = _form([alone]), source.name()
    source.add(f"{value}, = {source.constant(form.unpack_from)}(data, at)", depth)
    source.add(f"at += {form.size}", depth)
    return value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    reader = Reader(data)
    reader.at = at
    return reader.varint(""), reader.at  # a ProtocolError is a ValueError


# --- writing: the lines append to ``tail``, and to ``pieces`` what is long


def _write_struct(source: _Source, message: str, fields: Sequence[Field], version: int, depth: int) -> None:
    usual = frozenset(f.name for f in fields if version in f.versions and version not in f.tagged)
    dropped = frozenset(f.name for f in fields if version not in f.versions and f.ignorable)
    source.add(f"if not {message}.keys() <= {source.constant(usual | dropped)}: raise UnusualError", depth)
    get = source.name()
    source.add(f"{get} = {message}.get", depth)
    for fixed, run in _runs(fields, version):
        got = [f"{get}({field.name!r}, {source.constant(field.default)})" for field in run]
        if fixed:
            source.add(f"tail += {source.constant(_form(run).pack)}({', '.join(got)})", depth)
            continue
        for field, one in zip(run, got, strict=True):
            _write_field(source, one, field, version, depth)
    source.add("tail.append(0)", depth)  # no tagged fields


def _write_field(source: _Source, got: str, field: Field, version: int, depth: int) -> None:
    value = source.name()
    source.add(f"{value} = {got}", depth)
    if not field.is_array and field.type not in ("string", "bytes", "records"):
        _write_struct(source, value, field.fields, version, depth)
        return
    source.add(f"if {value} is None:", depth)
    source.add("tail.append(0)" if version in field.nullable else "raise UnusualError", depth + 1)
    source.add("else:", depth)
    depth += 1
    if field.type == "string":
        source.add(f"{value} = {value}.encode()", depth)
    source.add(f"put_varint(tail, len({value}) + 1)", depth)
    if field.is_array:
        element = source.name()
        source.add(f"for {element} in {value}:", depth)
        _write_element(source, element, field, version, depth + 1)
        return
    source.add(f"if len({value}) <= {SHORT_BYTES}: tail += {value}", depth)
    source.add("else:", depth)
    source.add("if tail: pieces.append(bytes(tail))", depth + 1)
    source.add("tail = bytearray()", depth + 1)
    source.add(f"pieces.append({value})", depth + 1)


def _write_element(source: _Source, element: str, field: Field, version: int, depth: int) -> None:
    if field.fields:
        _write_struct(source, element, field.fields, version, depth)
        return
    alone = Field(field.kafka_name, field.element, "0+")
    if is_fixed(alone):
        source.add(f"tail += {source.constant(_form([alone]).pack)}({element})", depth)
    else:
        _write_field(source, element, alone, version, depth)


def _put_varint(tail: bytearray, value: int) -> None:
    if value >> 32:
        raise ProtocolError(f"{value} has no unsigned 32 bits")
    while value >> 7:
        tail.append(value & 0x7F | 0x80)
        value >>= 7
    tail.append(value)

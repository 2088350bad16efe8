"""Reads and writes the messages that the tables describe: one codec for every API and version.

A message is a dict with Kafka's field names in snake case. For each version of a table, small functions are made once
that read and write exactly what that version has (:mod:`~farthing.kafka.protocol.reading`,
:mod:`~farthing.kafka.protocol.writing`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final, Literal

from farthing.kafka.protocol.generated import ReadWhole, UnusualError, WriteWhole, reader_of, writer_of
from farthing.kafka.protocol.primitives import ProtocolError, Reader, Writer
from farthing.kafka.protocol.reading import Message, Read, read_string, reader_of_struct, skip_tags
from farthing.kafka.protocol.table import Api
from farthing.kafka.protocol.writing import Write, writer_of_struct

Kind = Literal["request", "response"]

API_VERSIONS_KEY: Final = 18  # its response never has a flexible header: the client does not know the versions yet
_REQUEST_HEADER: Final = struct.Struct(">hhi")
_CORRELATION_ID: Final = struct.Struct(">i")
_NO_TAGS: Final = b"\0"


def best_version(api: Api, spoken: Mapping[int, tuple[int, int]], *, at_most: int = 1 << 15) -> int:
    """Return the latest version of an API that both the tables and a broker know; ``spoken`` is by API key.

    Raises
    ------
    ProtocolError
        There is none.
    """
    first, last = spoken.get(api.key, (1, 0))
    version = min(api.versions.last, last, at_most)
    if version < max(api.versions.first, first):
        known = f"{first} to {last}" if first <= last else "none"
        needed = f"v{api.versions.first} to v{min(api.versions.last, at_most)}"
        raise ProtocolError(f"{api} {needed} is needed, and the broker speaks {known}")
    return version


def encode(
    api: Api,
    version: int,
    body: Mapping[str, Any],
    *,
    correlation_id: int,
    client_id: str | None,
    kind: Kind = "request",
) -> list[Any]:
    """Return a message with its header, in pieces; byte strings longer than SHORT_BYTES are not copied.

    Raises
    ------
    ProtocolError
        The version cannot say something that ``body`` has, or the table does not know it.
    """
    if kind == "request":
        head = _REQUEST_HEADER.pack(api.key, version, correlation_id) + _client_id(client_id)
    else:
        head = _CORRELATION_ID.pack(correlation_id)
    if _header_is_flexible(api, version, kind):
        head += _NO_TAGS
    if api.often and kind == "request" and version in api.flexible:
        with suppress(UnusualError):
            return _whole_writer(api, version)(body, head)
    writer = Writer()
    writer.add(head)
    _struct_writer(api, kind, version)(writer, body)
    return writer.pieces()


def decode(api: Api, version: int, frame: memoryview, *, kind: Kind = "response") -> Message:
    """Read a whole frame, header included.

    Raises
    ------
    ProtocolError
        It is not what the table says: the message names the field.
    """
    if api.often and kind == "response" and _header_is_flexible(api, version, kind):
        with suppress(UnusualError):
            return _whole_reader(api, version)(frame, _CORRELATION_ID.size)
    reader = Reader(frame)
    try:
        if kind == "request":
            reader.fixed(_REQUEST_HEADER, "the header")
            read_string("client_id", compact=False, nullable=True)(reader)
        else:
            reader.fixed(_CORRELATION_ID, "the header")
        if _header_is_flexible(api, version, kind):
            skip_tags(reader)
        body: Message = _struct_reader(api, kind, version)(reader)
        if reader.left:
            raise ProtocolError(f"{reader.left} bytes follow its end")
    except ProtocolError as error:
        raise ProtocolError(f"{api} v{version} {kind}: {error}") from None
    return body


def _header_is_flexible(api: Api, version: int, kind: Kind) -> bool:
    return version in api.flexible and not (kind == "response" and api.key == API_VERSIONS_KEY)


@cache
def _client_id(client_id: str | None) -> bytes:
    writer = Writer()
    name = None if client_id is None else client_id.encode()
    writer.length(-1 if name is None else len(name), compact=False, short=True)
    return b"".join([*writer.pieces(), name or b""])


@cache
def _whole_reader(api: Api, version: int) -> ReadWhole:
    _check_version(api, version)
    return reader_of(api.response, version)


@cache
def _whole_writer(api: Api, version: int) -> WriteWhole:
    _check_version(api, version)
    return writer_of(api.request, version)


@cache
def _struct_reader(api: Api, kind: Kind, version: int) -> Read:
    _check_version(api, version)
    return reader_of_struct(api.request if kind == "request" else api.response, version, version in api.flexible)


@cache
def _struct_writer(api: Api, kind: Kind, version: int) -> Write:
    _check_version(api, version)
    fields = api.request if kind == "request" else api.response
    return writer_of_struct(f"{api} v{version}", fields, version, version in api.flexible)


def _check_version(api: Api, version: int) -> None:
    if version not in api.versions:
        raise ProtocolError(f"there is no table of {api} v{version}")

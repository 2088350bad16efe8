"""Reads and writes the messages that the tables describe: one codec for every API and version.

A message is a dict with Kafka's field names in snake case. For each version of a table, small functions are made once
that read and write exactly what that version has (:mod:`~farthing.kafka.protocol.reading`,
:mod:`~farthing.kafka.protocol.writing`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Literal

from farthing.kafka.protocol.primitives import ProtocolError, Reader, Writer
from farthing.kafka.protocol.reading import Message, Read, read_string, reader_of_struct, skip_tags
from farthing.kafka.protocol.table import Api
from farthing.kafka.protocol.writing import Write, writer_of_struct

Kind = Literal["request", "response"]

API_VERSIONS_KEY: Final = 18  # its response never has a flexible header: the client does not know the versions yet
_REQUEST_HEADER: Final = struct.Struct(">hhi")
_CORRELATION_ID: Final = struct.Struct(">i")


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
    writer = Writer()
    if kind == "request":
        writer.add(_REQUEST_HEADER.pack(api.key, version, correlation_id))
        name = None if client_id is None else client_id.encode()
        writer.length(-1 if name is None else len(name), compact=False, short=True)
        writer.add(name or b"")
    else:
        writer.add(_CORRELATION_ID.pack(correlation_id))
    if _header_is_flexible(api, version, kind):
        writer.varint(0)
    _struct_writer(api, kind, version)(writer, body)
    return writer.pieces()


def decode(api: Api, version: int, frame: memoryview, *, kind: Kind = "response") -> Message:
    """Read a whole frame, header included.

    Raises
    ------
    ProtocolError
        It is not what the table says: the message names the field.
    """
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

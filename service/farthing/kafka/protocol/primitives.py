"""Reads and writes the primitive types of Kafka's protocol; nothing is believed that the frame has no bytes for."""

from __future__ import annotations

import struct
from typing import Any, Final

from farthing.kafka.protocol.table import Field

FIXED: Final = {"bool": "?", "int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q",
                "float64": "d", "uuid": "16s"}  # fmt: skip
"""Types whose length is fixed, in the notation of :mod:`struct`."""

SHORT_BYTES: Final = 1024
"""Shorter byte strings are copied into the message, longer ones are sent from where they are."""

_MOST_VARINT_BYTES: Final = 5
_INT16: Final = struct.Struct(">h")
_INT32: Final = struct.Struct(">i")


def is_fixed(field: Field) -> bool:
    """Whether a field's length is fixed."""
    return field.type in FIXED


class ProtocolError(ValueError):
    """A message is not what its table says, or a version cannot say what it should."""


class Reader:
    """Bytes of a message, and how far they have been read."""

    __slots__ = ("at", "data", "size")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.size = len(data)
        self.at = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return self.size - self.at

    def take(self, size: int, what: str) -> memoryview:
        """Return the next ``size`` bytes, as a view. Raises ProtocolError."""
        stop = self.at + size
        if stop > self.size:
            raise ProtocolError(f"{what} claims {size} bytes, and {self.left} are left")
        view = self.data[self.at : stop]
        self.at = stop
        return view

    def fixed(self, form: struct.Struct, what: str) -> tuple[Any, ...]:
        """Return numbers. Raises ProtocolError."""
        at = self.at
        self.at = at + form.size
        try:
            return form.unpack_from(self.data, at)
        except struct.error:
            self.at = at
            raise ProtocolError(f"{what} takes {form.size} bytes, and {self.left} are left") from None

    def varint(self, what: str) -> int:
        """Return an unsigned number of at most 32 bits. Raises ProtocolError."""
        at = self.at
        if at < self.size:
            byte = self.data[at]
            if byte < 0x80:  # nearly always
                self.at = at + 1
                return byte
        value = 0
        for k in range(_MOST_VARINT_BYTES):
            (byte,) = self.take(1, what)
            value |= (byte & 0x7F) << (7 * k)
            if not byte & 0x80:
                break
        else:
            raise ProtocolError(f"{what} has a length of more than {_MOST_VARINT_BYTES} bytes")
        if value >> 32:
            raise ProtocolError(f"{what} has a length of more than 32 bits")
        return value

    def length(self, what: str, *, compact: bool, short: bool = False) -> int:
        """Return a length; -1 for null. ``short`` is a string's, which has two bytes where it is not compact."""
        if compact:
            return self.varint(what) - 1
        (length,) = self.fixed(_INT16 if short else _INT32, what)
        if length < -1:
            raise ProtocolError(f"{what} has the length {length}")
        return int(length)


class Writer:
    """A message being written: pieces of bytes, of which long ones are the caller's own."""

    __slots__ = ("_pieces", "_tail")

    def __init__(self) -> None:
        self._pieces: list[Any] = []
        self._tail = bytearray()

    def add(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        if len(data) <= SHORT_BYTES:
            self._tail += data
            return
        self._close()
        self._pieces.append(data)

    def varint(self, value: int) -> None:
        """Append an unsigned number of at most 32 bits."""
        if 0 <= value < 0x80:  # nearly always
            self._tail.append(value)
            return
        if not 0 <= value < 1 << 32:
            raise ProtocolError(f"{value} has no unsigned 32 bits")
        while value >> 7:
            self._tail.append(value & 0x7F | 0x80)
            value >>= 7
        self._tail.append(value)

    def length(self, length: int, *, compact: bool, short: bool = False) -> None:
        """Append a length; -1 for null."""
        if compact:
            self.varint(length + 1)
            return
        try:
            self._tail += (_INT16 if short else _INT32).pack(length)
        except struct.error:
            raise ProtocolError(f"a length of {length} has no room in the message") from None

    def message(self, other: Writer) -> None:
        """Append what another writer has."""
        for piece in other.pieces():
            self.add(piece)

    def pieces(self) -> list[Any]:
        """Return the bytes, in order."""
        self._close()
        return self._pieces

    def _close(self) -> None:
        if self._tail:
            self._pieces.append(bytes(self._tail))
            self._tail = bytearray()

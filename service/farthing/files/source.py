"""Reads a file, a pipe or standard input as lines of bytes; gzip and zstd are recognised by the first bytes.

Nothing is read before it is needed, so that a pipe that stays open is read as it is written to, and no file has to fit
into memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from farthing.errors import ConfigError, DataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STANDARD_INPUT: Final = "-"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = (
    b"\x28\xb5\x2f\xfd",
    *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16)),
)  # frames, skippable ones
_UNREADABLE: Final = {
    b"PK\x03\x04": "a zip file or a spreadsheet; save it as CSV in UTF-8, or unpack it first",
    b"\xfd7zX": "compressed with xz; decompress it first, or use gzip or zstd",
    b"\x04\x22\x4d\x18": "compressed with lz4; decompress it first, or use gzip or zstd",
}
_MAGIC: Final = (_GZIP, *_ZSTD, *_UNREADABLE)


class Source:
    """An open file or standard input, decompressed."""

    def __init__(self, name: str, raw: _Rejoined, unpacked: BinaryIO, size_bytes: int) -> None:
        self.name = name
        self.size_bytes = size_bytes  # of the file on disk; 0 if unknown, as for a pipe
        self._raw, self._unpacked = raw, unpacked

    @property
    def position_bytes(self) -> int:
        """How much of ``size_bytes`` has been read, for progress."""
        return self._raw.position

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield lines with their numbers, from 1, each with its line end; a byte order mark is left out.

        Raises
        ------
        DataError
            The file cannot be read to its end: it is truncated or damaged.
        """
        number = 0
        try:
            for number, line in enumerate(self._unpacked, 1):
                yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        except (EOFError, OSError, zlib.error, zstd.ZstdError) as error:
            raise DataError(
                f"{self.name}, after line {number}: cannot be read any further ({error}); get the file again"
            ) from (error)


@contextmanager
def open_source(file: str | Path, name: str | None = None) -> Iterator[Source]:
    """Open a file, or standard input for ``-``; compressed data is decompressed as it is read.

    ``name`` is what messages call it; without one it is the path.

    Raises
    ------
    ConfigError
        It cannot be opened, or its format or compression is not supported.
    """
    name = str(file) if name is None else name
    with ExitStack() as stack:
        try:
            opened = _standard_input() if str(file) == STANDARD_INPUT else stack.enter_context(Path(file).open("rb"))
            raw = stack.enter_context(_Rejoined(opened))
            head = raw.look(_MAGIC)
            status = os.fstat(opened.fileno()) if _has_number(opened) else None
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"{name}: cannot be read ({reason}): check the path") from error
        for magic, what in _UNREADABLE.items():
            if head.startswith(magic):
                raise ConfigError(f"{name}: is {what}")
        size_bytes = status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0
        yield Source(name, raw, stack.enter_context(_unpack(raw, head)), size_bytes)


def read_lines(file: str | Path, name: str | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, without their line ends, each with its number from 1.

    Raises
    ------
    ConfigError
        The file cannot be opened.
    DataError
        It cannot be read to its end.
    """
    with open_source(file, name) as source:
        for number, line in source.lines():
            value = line.rstrip(b"\r\n")
            if value.strip():
                yield number, value


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file as it is on disk. Raises ConfigError if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror or error}); give a file that can") from error


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes can be peeked at. A read returns what is there, and waits only if there is nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._head, self.position = stream, b"", 0

    def look(self, magic: tuple[bytes, ...]) -> bytes:
        """Return the first bytes: enough to know which of ``magic`` the stream begins with, if any."""
        while any(m.startswith(self._head) and m != self._head for m in magic):
            more = _read_some(self._stream, max(map(len, magic)) - len(self._head))
            if not more:
                break
            self._head += more
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head[: len(buffer)]
        self._head = self._head[len(piece) :]
        piece = piece or _read_some(self._stream, len(buffer))
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)


def _read_some(stream: BinaryIO, n: int) -> bytes:
    return stream.read1(n) if isinstance(stream, io.BufferedIOBase) else stream.read(n)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:  # the parent process closed it
        raise OSError(0, "standard input is closed")
    return sys.stdin.buffer


def _has_number(stream: BinaryIO) -> bool:
    try:
        return stream.fileno() >= 0
    except OSError:  # a stream in memory
        return False


def _unpack(raw: _Rejoined, head: bytes) -> BinaryIO:
    if head.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, raw), mode="rb"))
    if head.startswith(_ZSTD):
        return cast(BinaryIO, zstd.ZstdFile(cast(BinaryIO, raw), mode="r"))
    return cast(BinaryIO, io.BufferedReader(raw))

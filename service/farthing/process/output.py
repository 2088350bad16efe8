"""Standard output and output files: the one place that writes them for the commands, or says why it cannot.

A full disk, a closed stream or a folder that is gone becomes an :class:`OutputError` that names the file. When the
reader of standard output goes away (``farthing model show moderation | head -1``) the rest is thrown away and the
command ends with its own exit code; ``farthing score``, which could go on for hours, asks to be stopped instead.
Standard error never fails a command: a message that nobody can read is not worth an error that nobody can read either.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO, cast

from farthing.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from rich.console import Console

_BUFFER_BYTES: Final = 1 << 16
_FULL: Final = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_STANDARD_OUTPUT: Final = "standard output"


class ReaderGone(BrokenPipeError):
    """Nobody reads standard output any more; raised only where a command asked for it."""


class _OutputFile(io.FileIO):
    """A file, or an open descriptor, whose failed writes say which file it was."""

    def __init__(self, file: str | int, title: str) -> None:
        super().__init__(file, "wb", closefd=not isinstance(file, int))
        self._title = title
        self.stop_without_reader = False

    def write(self, data: Any) -> int:
        """Write all of it: with ``PYTHONUNBUFFERED`` there is no buffer above that would try again."""
        left = memoryview(data).cast("B")
        n_bytes = len(left)
        try:
            while left:
                written = super().write(left)
                if written is None:  # the descriptor does not block: someone at the other end made it so
                    select.select([], [self.fileno()], [])
                else:
                    left = left[written:]
        except OSError as error:
            if isinstance(error, BrokenPipeError) and self._title == _STANDARD_OUTPUT:
                if self.stop_without_reader:
                    raise ReaderGone(*error.args) from error
                return n_bytes
            raise cannot_write(self._title, error) from error
        return n_bytes


class _ErrorStream(io.FileIO):
    """Standard error, which drops what it cannot write."""

    def write(self, data: Any) -> int:
        """Write it, or not."""
        with suppress(OSError):
            super().write(data)
        return len(data)


class _Closed(io.RawIOBase):
    """A standard stream that was closed before the start; using it says so."""

    def __init__(self, title: str, *, output: bool) -> None:
        self._error = (OutputError if output else OSError)(f"{title} is closed; open it, or name a file instead")
        self._output = output
        self.ignore = False  # once the error has been raised

    def readable(self) -> bool:
        return not self._output

    def writable(self) -> bool:
        return self._output

    def readinto(self, _buffer: Any) -> int:
        raise self._error

    def write(self, data: Any) -> int:
        if self.ignore:
            return len(data)
        raise self._error


def cannot_write(title: str, error: OSError) -> OutputError:
    """Turn a failed write to what is called ``title`` into a sentence that says what to do."""
    code = error.errno or 0
    if code in _FULL:
        return OutputError(
            f"{title}: {_FULL[code]} ({error.strerror}); what was written is incomplete. Make room, or write elsewhere"
        )
    return OutputError(f"{title}: cannot be written ({error.strerror or error}); what was written is incomplete")


def open_standard_streams() -> None:
    """Make the three standard streams safe to use; those that a test or a host program put in place are left alone.

    Descriptors 0 to 2 that were closed are opened on the null device first: the next file that is opened would get
    their number, and what a library prints would land in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Closed("standard input", output=False)))
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed(_STANDARD_OUTPUT, output=True)))
    elif _is_plain(sys.stdout):
        sys.stdout.flush()
        # A character of a table's frame or of a name that the terminal's encoding lacks becomes a question mark.
        sys.stdout = _text(_OutputFile(1, _STANDARD_OUTPUT), sys.stdout, errors="replace")
    if sys.stderr is None or _is_plain(sys.stderr):
        sys.stderr = _text(_ErrorStream(2, "wb", closefd=False), sys.stderr, errors="backslashreplace")


def _is_plain(stream: TextIO) -> bool:
    """Tell whether a stream is Python's own over a descriptor: no test's, no notebook's, no Windows console's."""
    return type(stream) is io.TextIOWrapper and type(_raw(stream)) is io.FileIO


def _raw(stream: TextIO) -> object:
    """Give what is below a stream's buffer, if there is one: with ``PYTHONUNBUFFERED`` there is none."""
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


def _text(raw: io.FileIO, like: TextIO | None, errors: str) -> io.TextIOWrapper:
    unbuffered = like is not None and isinstance(getattr(like, "buffer", None), io.FileIO)
    return io.TextIOWrapper(
        cast(BinaryIO, raw) if unbuffered else io.BufferedWriter(raw, _BUFFER_BYTES),
        encoding="utf-8" if like is None else like.encoding,
        errors=errors,
        line_buffering=like is None or bool(getattr(like, "line_buffering", False)) or raw.isatty(),
        write_through=unbuffered,
    )


def finish() -> None:
    """Write what standard output still holds.

    Raises
    ------
    OutputError
        It cannot be written. What Python would try again at its exit is thrown away.
    """
    try:
        sys.stdout.flush()
    except OutputError:
        discard()
        raise
    except (BrokenPipeError, ValueError):  # ValueError: someone closed it
        discard()


def discard() -> None:
    """Throw away what standard output holds, and all that comes after."""
    raw = _raw(sys.stdout)
    if isinstance(raw, _Closed):
        raw.ignore = True
        return
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def standard_output() -> BinaryIO:
    """Give standard output for bytes; writing raises ReaderGone once its reader has gone, so that a long run ends."""
    raw = _raw(sys.stdout)
    if isinstance(raw, _OutputFile):
        raw.stop_without_reader = True
    return sys.stdout.buffer


def report_console(*, as_json: bool = False) -> Console:
    """Give the console for a report: standard output, or standard error where ``--json`` needs that for itself.

    What is printed is text: words in brackets, in a bundle's label or in a topic's name, are no markup.
    """
    from rich.console import Console  # here: __main__ needs this module before anything that is slow to load

    return Console(stderr=as_json, markup=False, emoji=False)


def write_text(text: str) -> None:
    """Write to standard output, and flush it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def write_json(value: object) -> None:
    """Write one object as JSON on a line of its own; NaN and infinity, which JSON lacks, are an error."""
    write_text(json.dumps(value, allow_nan=False) + "\n")


def write_json_text(text: str) -> None:
    """Write text that is JSON on a line of its own; what the encoding may lack is escaped."""
    write_text("".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text) + "\n")


@contextmanager
def created(path: Path, flag: str) -> Iterator[BinaryIO]:
    """Open a file that ``flag`` names for writing; it replaces what is there.

    Raises
    ------
    ConfigError
        It cannot be opened.
    OutputError
        It can be opened but not be written: a full disk, for one.
    """
    try:
        raw = _OutputFile(str(path), f"{flag} {path}")
    except OSError as error:
        raise ConfigError(f"{flag} {path}: cannot be written ({error.strerror})") from error
    with io.BufferedWriter(raw, _BUFFER_BYTES) as file:
        yield cast(BinaryIO, file)


@contextmanager
def writing(title: str) -> Iterator[None]:
    """Catch the errors of code that writes files by itself; ``title`` is what they are called: a flag and its value.

    Raises
    ------
    OutputError
        The disk is full.
    ConfigError
        Any other OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise cannot_write(title, error) from error
        raise ConfigError(f"{title}: cannot be written ({error.strerror or error})") from error


def safe(text: str) -> str:
    """Escape what would move a terminal's cursor, or worse: a text may be anybody's."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

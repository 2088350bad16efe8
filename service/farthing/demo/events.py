"""What the demo sends: made-up comments without end, or the lines of a file once."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.comments import comment_events
from farthing.errors import ConfigError

POOL_EVENTS: Final = 20_000
CHUNK_EVENTS: Final = 1_000
"""Events in one record batch at most: what a producer that lingers a little sends."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events that go into one record batch."""

    data: Bytes
    indptr: Int64s  # (n+1,) into data

    def __len__(self) -> int:
        """Events in it."""
        return len(self.indptr) - 1

    def value(self, index: int) -> bytes:
        """Give one event's bytes."""
        return self.data[self.indptr[index] : self.indptr[index + 1]].tobytes()


class MadeUpComments:
    """An endless stream: a pool of generated comments, over and over."""

    name: Final = "made-up comments"
    done: Final = False

    def __init__(self) -> None:
        values = comment_events(POOL_EVENTS)
        self._indptr = np.cumsum([0, *map(len, values)], dtype=np.int64)
        self._data = np.frombuffer(b"".join(values), np.uint8)
        self._at = 0

    def take(self, n: int) -> Chunk:
        """Give the next events, ``n`` or, at the end of the pool, fewer."""
        stop = min(self._at + n, POOL_EVENTS)
        indptr = self._indptr[self._at : stop + 1]
        self._at = stop % POOL_EVENTS
        return Chunk(self._data[indptr[0] : indptr[-1]], indptr - indptr[0])


class FileEvents:
    """The lines of a file, once. ``done`` says that it has come to its end."""

    def __init__(self, path: Path) -> None:
        """Open it: raises ConfigError where it cannot be read or holds no event, before anything is started."""
        self.name = path.name
        self.done = False
        self._values: Iterator[bytes] = _lines(path)
        first = next(self._values, None)
        if first is None:
            raise ConfigError(f"--events {path}: no events; give a file of JSON lines, plain or .gz")
        self._values = itertools.chain([first], self._values)

    def take(self, n: int) -> Chunk | None:
        """Give the next ``n`` events, or fewer at the end of the file; None after it. Raises ConfigError."""
        values = list(itertools.islice(self._values, n))
        self.done = len(values) < n
        if not values:
            return None
        indptr = np.cumsum([0, *map(len, values)], dtype=np.int64)
        return Chunk(np.frombuffer(b"".join(values), np.uint8), indptr)


def _lines(path: Path) -> Iterator[bytes]:
    """Read the lines of a plain or gzip file; empty ones are left out.

    Raises
    ------
    ConfigError
        The file cannot be opened or is no gzip file although its name says so.
    """
    try:
        with cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb")) as file:
            for line in file:
                value = line.rstrip(b"\r\n")
                if value.strip():
                    yield value
    except (OSError, EOFError) as error:
        raise ConfigError(f"--events {path}: cannot be read ({error}); give a file of JSON lines, plain or .gz") from (
            error
        )

"""What the demo sends: made-up comments without end, or the lines of a file once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.errors import ConfigError, DataError
from farthing.files import read_lines
from farthing.local.comments import comment_events

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
            raise ConfigError(f"--events {path}: no events; give a file of JSON lines, compressed or not")
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
    try:
        for _, line in read_lines(path, f"--events {path}"):
            yield line
    except DataError as error:
        raise ConfigError(str(error)) from error

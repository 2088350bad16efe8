"""Labelled text: reading, splitting, and keeping test texts out of training."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError

DEV_SHARE = 10  # one text in ten is held out where there is no official dev split


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with 0/1 labels, and the SHA-256 of the file they came from."""

    texts: tuple[str, ...]
    labels: NDArray[np.float32]  # (n,)
    sha256: str

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, keep: list[bool]) -> Labelled:
        """Give the rows where ``keep`` is true."""
        texts = tuple(t for t, k in zip(self.texts, keep, strict=True) if k)
        return Labelled(texts, self.labels[np.array(keep, bool)], self.sha256)


def read_labelled(path: Path) -> Labelled:
    """Read JSON lines (gzipped or not) with ``text`` and ``label``.

    Raises
    ------
    ConfigError
        The file is missing or a line is not as stated; the line is named.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: the data cannot be read ({error.strerror}); give --data the folder that has it"
        ) from error
    lines = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).splitlines()
    texts, labels = [], []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            texts.append(str(row["text"]))
            labels.append(float(row["label"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}:{number}: expected an object with text and label: {error!r}") from error
    return Labelled(tuple(texts), np.array(labels, np.float32), hashlib.sha256(raw).hexdigest())


def key_of(text: str) -> str:
    """Give what makes two texts the same for leak checks: lower case, letters and digits only, no retweet mark."""
    return "".join(c for c in text.lower().removeprefix("rt ") if c.isalnum())


def without(data: Labelled, others: set[str]) -> Labelled:
    """Leave out texts whose key is among ``others``, and repeats."""
    seen = set(others)
    keep = []
    for text in data.texts:
        key = key_of(text)
        keep.append(key not in seen)
        seen.add(key)
    return data.take(keep)


def hold_out(data: Labelled) -> tuple[Labelled, Labelled]:
    """Split off a dev part by a hash of the text: the same at every run, equal texts on one side."""
    held = [int(hashlib.sha1(key_of(t).encode()).hexdigest(), 16) % DEV_SHARE == 0 for t in data.texts]
    return data.take([not h for h in held]), data.take(held)

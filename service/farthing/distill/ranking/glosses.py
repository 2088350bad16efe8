"""Reads WordNet's glosses as texts: short, on all subjects, and free to learn from (Fellbaum 1998; format: wndb(5WN)).

A line of ``data.noun`` is a synset: numbers and words, then `` | `` and the gloss, which is a definition and perhaps
examples.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from farthing.errors import ConfigError, DataError

FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
_LICENCE_LINE = "  "  # the lines of the licence begin with two blanks
_MARKER = re.compile(r"\(\w+\)$")  # marks the position of an adjective: "galore(ip)"
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Glosses:
    """Texts in the order of the files."""

    texts: tuple[str, ...]  # "word, other word: what they mean", and the examples, each a text
    sha256: str  # of the files, one after another


def read_glosses(folder: Path) -> Glosses:
    """Read the glosses of a WordNet 3 folder.

    Raises
    ------
    ConfigError
        A file is missing.
    DataError
        A line is not a synset.
    """
    texts: list[str] = []
    h = hashlib.sha256()
    for name in FILES:
        file = folder / name
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{file} cannot be read ({error.strerror}); install WordNet 3.0, which Debian has as wordnet-base, or "
                "name the folder of its data.noun in the recipe"
            ) from error
        h.update(data)
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if not line.startswith(_LICENCE_LINE):
                texts += _texts_of(line, f"{file}:{number}")
    return Glosses(tuple(texts), h.hexdigest())


def _texts_of(line: str, where: str) -> list[str]:
    head, bar, gloss = line.partition(" | ")
    fields = head.split()
    try:
        n_words = int(fields[3], 16)
        words = [_MARKER.sub("", fields[4 + 2 * k]).replace("_", " ") for k in range(n_words)]
    except (IndexError, ValueError):
        words = []
    if not bar or not words:
        raise DataError(f"{where}: not a synset of WordNet 3; take the file as it was published")
    definition = gloss.split('; "')[0].strip()
    return [f"{', '.join(words)}: {definition}", *_QUOTED.findall(gloss)]

"""Reads ``NEW=OLD`` pairs, which say that the field NEW is at OLD in the user's events, and explains a bad one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from farthing.errors import ConfigError

FLAG: Final = "--map"


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Read every ``--map NEW=OLD`` that was given, as a dict of NEW to OLD.

    Raises
    ------
    ConfigError
        One has another form, or NEW is given twice.
    """
    named: dict[str, str] = {}
    for pair in pairs:
        new, equals, old = pair.partition("=")
        if not (new and equals and old):
            raise ConfigError(f"{FLAG} {pair}: expected NEW=OLD, such as {FLAG} text=comment.body")
        if new in named:
            raise ConfigError(f"{FLAG} {pair}: {new} is mapped to {named[new]} already; give each name once")
        named[new] = old
    return named


def unknown(name: str, candidates: Iterable[str]) -> str:
    """Say that there is no such name, which names there are, and which one may be meant."""
    names = list(dict.fromkeys(candidates))
    close = difflib.get_close_matches(name, names, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"nothing is called {name!r} here; known are {', '.join(names)}{meant}"


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Prefix an error in a map with ``where`` the map was given."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where} {error}") from error

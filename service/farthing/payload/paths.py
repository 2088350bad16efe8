r"""Paths of fields in an event: ``comment.text``, ``candidates[*].text``, ``comment\.text`` for a key with a dot.

Field plans, ``--map``, ``[route.fields]`` and columns of files all have their paths read here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from farthing.errors import ConfigError

HOW_TO_ESCAPE: Final = r"a dot goes one level down; a dot that is part of a key is written \., as in 'comment\.text'"

_ESCAPABLE: Final = frozenset("\\.[]*")
_TO_ESCAPE: Final = re.compile(r"[\\.\[]")


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = _Absent()
"""What :meth:`FieldPath.find` returns where there is nothing (null is a value)."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A parsed path: keys from the top of the event; ``array`` is the index of the key that is followed by ``[*]``."""

    keys: tuple[str, ...]
    array: int = -1  # no array

    def __str__(self) -> str:
        keys = [escape(key) + ("[*]" if place == self.array else "") for place, key in enumerate(self.keys)]
        return ".".join(keys)

    def find(self, event: object) -> object:
        """Return the value at this path of an event that :func:`json.loads` has read; ABSENT where there is none.

        A path through an array is always ABSENT, because it may lead to many values.
        """
        if self.array >= 0:
            return ABSENT
        for key in self.keys:
            if not isinstance(event, Mapping) or key not in event:
                return ABSENT
            event = event[key]
        return event

    def put(self, event: dict[str, Any], value: object, row: int = 0) -> None:
        """Put a value at this path of an event (in an array's element ``row``), creating what is missing on the way."""
        at = event
        for place, key in enumerate(self.keys[:-1]):
            if place == self.array:
                rows = at.setdefault(key, [])
                rows += [{} for _ in range(row + 1 - len(rows))]
                at = rows[row]
            else:
                at = at.setdefault(key, {})
        at[self.keys[-1]] = value


def escape(key: str) -> str:
    """Escape a key for use in a path."""
    return _TO_ESCAPE.sub(r"\\\g<0>", key)


@lru_cache(maxsize=1 << 14)
def parse_path(text: str) -> FieldPath:
    """Read a path.

    Raises
    ------
    ConfigError
        It is not like 'a.b' or 'a[*].b'; the message says why, and how to write a dot that is part of a key.
    """
    keys: list[str] = []
    arrays: list[int] = []
    key, at = "", 0
    while at < len(text):
        here, after = text[at], text[at + 1 : at + 2]
        if here == "\\":
            if after not in _ESCAPABLE:
                raise ConfigError(
                    f"field path '{text}' has a backslash before {after or 'nothing'}: it can only escape . [ ] * or "
                    f"another backslash; {HOW_TO_ESCAPE}"
                )
            key += after
            at += 2
        elif text.startswith("[*]", at) and text[at + 3 : at + 4] in ("", "."):
            arrays.append(len(keys))
            at += 3
        elif here == "[":
            raise ConfigError(
                f"field path '{text}' is not like 'a.b' or 'a[*].b': [*] goes through all elements of an array, and "
                r"no other bracket is allowed; one that is part of a key is written \["
            )
        elif here == ".":
            keys.append(key)
            key = ""
            at += 1
        else:
            key += here
            at += 1
    keys.append(key)
    if not all(keys):
        raise ConfigError(
            f"field path '{text}' is not like 'a.b' or 'a[*].b': it has an empty key (a dot too many?); {HOW_TO_ESCAPE}"
            if text
            else "the field path is empty; name a key of the event, like 'a.b' or 'a[*].b'"
        )
    if len(arrays) > 1:
        raise ConfigError(f"field path '{text}' goes through two arrays; only one is allowed")
    if arrays and arrays[0] == len(keys) - 1:
        raise ConfigError(f"field path '{text}' ends in an array; name a key of its elements")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"field path {text!r} is not UTF-8; give it as text") from error
    return FieldPath(tuple(keys), arrays[0] if arrays else -1)

"""The language of the tables: an API's messages, field by field, with the names, types and versions that Kafka gives.

A field's ``versions`` say in which versions of the message it is, ``nullable`` in which it may be null, and ``tagged``
in which it is one of the tagged fields at a struct's end (KIP-482), which a reader that does not know them skips.
An ``ignorable`` field may be dropped when a version lacks it; any other with a value of its own is an error there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

NO_TOPIC_ID: Final = bytes(16)
"""The id that stands for none."""

LAST_VERSION: Final = 32_767
_UNSET: Final = object()
_DEFAULTS: Final = {"bool": False, "string": "", "bytes": b"", "records": None, "uuid": NO_TOPIC_ID, "float64": 0.0}


@dataclass(frozen=True, slots=True)
class Versions:
    """A range of versions, both ends included; ``0+`` has no end, ``none`` is empty."""

    first: int
    last: int

    @classmethod
    def read(cls, text: str) -> Versions:
        """Read Kafka's notation: ``3``, ``3+``, ``0-2`` or ``none``."""
        if text == "none":
            return cls(1, 0)
        if text.endswith("+"):
            return cls(int(text[:-1]), LAST_VERSION)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last


class Field:
    """One field of a struct. ``type`` is Kafka's: ``int32``, ``[]int32``, ``[]FetchTopic`` or ``LeaderIdAndEpoch``."""

    def __init__(
        self,
        name: str,
        type: str,
        versions: str,
        *fields: Field,
        nullable: str = "none",
        tagged: str = "none",
        tag: int = -1,
        default: Any = _UNSET,
        ignorable: bool = False,
    ) -> None:
        self.kafka_name = name
        self.name = snake_case(name)
        self.type = type
        self.element = type.removeprefix("[]")
        self.is_array = type.startswith("[]")
        self.versions = Versions.read(versions)
        self.nullable = Versions.read(nullable)
        self.tagged = Versions.read(tagged)
        self.tag = tag
        self.fields = fields
        self.ignorable = ignorable
        self._default = default

    @cached_property
    def default(self) -> Any:
        """The value of a field that a message does not have; not to be changed."""
        if self._default is not _UNSET:
            return self._default
        if self.is_array:
            return ()
        if self.fields:
            return {field.name: field.default for field in self.fields}
        return _DEFAULTS.get(self.type, 0)


@dataclass(frozen=True, eq=False)
class Api:
    """One API: its key, the versions that its tables describe, and the fields of its request and its response."""

    name: str
    key: int
    versions: Versions
    flexible: Versions
    """Versions with compact lengths and tagged fields."""
    request: tuple[Field, ...]
    response: tuple[Field, ...]
    often: bool = False
    """Whether requests are made for each block, so that functions of their own read and write them."""

    @classmethod
    def of(
        cls,
        name: str,
        key: int,
        versions: str,
        *,
        flexible: str,
        request: tuple[Field, ...],
        response: tuple[Field, ...],
        often: bool = False,
    ) -> Api:
        """Make one, with versions in Kafka's notation."""
        return cls(name, key, Versions.read(versions), Versions.read(flexible), request, response, often)

    def __repr__(self) -> str:
        return self.name


def snake_case(name: str) -> str:
    """Turn Kafka's ``TopicId`` into our ``topic_id``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()

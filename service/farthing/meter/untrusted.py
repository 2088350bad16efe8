"""Reads JSON that anyone may have written: commit metadata, usage records, heartbeats, the ledger's own changelogs.

Whatever the bytes are, the result is an object or a :class:`Refused`, never another error: size, nesting, members that
appear twice, numbers and names are bounded here, so that what is read can be kept, added up, encoded and shown.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal, NoReturn, get_args

Reason = Literal[
    "empty",  # no value at all
    "too_large",  # more bytes than such a thing can have
    "syntax",  # not UTF-8, or not a JSON object
    "nesting",
    "duplicate",  # a member appears twice
    "version",
    "damaged",  # a member is missing, or of another type or range
    "task",  # a task that has no price here
    "too_many",  # there is no room for more of its kind
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

MOST_COUNT: Final = 2**63 - 1
LONGEST_NAME: Final = 255
"""Characters of a topic, model, task, route or worker; Kafka's topics have 249 at most."""

_SHOWN: Final = 80


class Refused(ValueError):
    """Says why something was not read. ``reason`` is one of :data:`REASONS`, for a metric."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def read_object(value: bytes | str | None, what: str, *, most: int) -> dict[str, Any]:
    """Parse a JSON object of at most ``most`` bytes (characters, of a text).

    Parameters
    ----------
    value:
        What was received.
    what:
        The name of such a thing, for the message: "usage record".
    most:
        Most bytes or characters.

    Raises
    ------
    Refused
        It is something else.
    """
    if not value:
        raise Refused("empty", f"not a {what}: it is empty")
    if len(value) > most:
        raise Refused("too_large", f"not a {what}: it has {len(value):,} bytes, and at most {most:,} are read")
    try:
        text = value if isinstance(value, str) else value.decode("utf-8")
        body = json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant)
    except Refused as error:
        raise Refused(error.reason, f"not a {what} ({error}): {shown(value)}") from None
    except RecursionError as error:
        raise Refused("nesting", f"not a {what}: it is nested too deep: {shown(value)}") from error
    except ValueError as error:
        raise Refused("syntax", f"not a {what}: {shown(value)}") from error
    if not isinstance(body, dict):
        raise Refused("syntax", f"not a {what}: {shown(value)}")
    return body


def whole(value: object, most: int = MOST_COUNT) -> int:
    """Return ``value`` if it is a whole number from 0 to ``most``. Raises Refused."""
    if type(value) is not int or not 0 <= value <= most:
        raise Refused("damaged", f"{shown(value)} is not a whole number from 0 to {most}")
    return value


def name(value: object, longest: int = LONGEST_NAME) -> str:
    """Return ``value`` if it is a text of at most ``longest`` characters that UTF-8 can express. Raises Refused."""
    if type(value) is not str or len(value) > longest:
        raise Refused("damaged", f"{shown(value)} is not a name of at most {longest} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused("damaged", f"the name {shown(value)} has half a surrogate pair") from error
    return value


def shown(value: object) -> str:
    """Return the beginning of a value for a message: short, printable, and of any value without an error."""
    if isinstance(value, str | bytes):
        return ascii(value[:_SHOWN])
    if isinstance(value, float) or value is None:
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**30 else "a number of more than 30 digits"
    return f"a value of type {type(value).__name__}"


def damaged(what: str, error: BaseException) -> Refused:
    """Return the refusal that stands for an error met in reading ``what``."""
    if isinstance(error, RecursionError):
        return Refused("nesting", f"damaged: {what} that is nested too deep")
    if isinstance(error, Refused):
        return Refused(error.reason, f"damaged {what} ({error})")
    return Refused("damaged", f"damaged {what} ({type(error).__name__}: {str(error)[:_SHOWN]})")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Refused("duplicate", "a member appears twice")
    return members


def _no_constant(text: str) -> NoReturn:
    raise Refused("syntax", f"{text} is no JSON")

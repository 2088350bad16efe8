"""The events of a cell, made from its seed: unique ids, a counter for each key, and a checksum over both.

Some are bad on purpose. Which text an event has, and what is wrong with a bad one, follows from the seed alone.
"""

import json
import random
import zlib
from typing import NamedTuple

from farthing.local.comments import comment_events

KEYS = 24
BAD = (
    lambda text: b"not JSON",
    lambda text: b"",
    lambda text: b"null",
    lambda text: b"[1,2,3]",
    lambda text: b'{"text":5}',
    lambda text: b'{"id":1}',
    lambda text: b'{"text":null}',
    lambda text: b'{"text":"\\ud800"}',
    lambda text: b'{"text":"\xff\xfe"}',
    lambda text: b"\xef\xbb\xbf" + text,
    lambda text: text[:-1],
    lambda text: text + b"}",
    lambda text: b'{"text":"a","x":' + b"[" * 80 + b"]" * 80 + b"}",
    lambda text: b'{"text":"a","x":1e999}',
)


class Planned(NamedTuple):
    """One event as it is produced."""

    name: str
    partition: int
    key: bytes
    value: bytes


class Plan:
    """The events 0, 1, 2, ... of one cell."""

    def __init__(self, seed, *, partitions, bad=0.0, prefix="e"):
        self._random = random.Random(f"{seed}-{prefix}")
        self._bad = bad
        self._partitions = partitions
        self._prefix = f"{prefix}{seed}"
        self._counters = [0] * KEYS
        self._texts = [json.loads(value)["text"] for value in comment_events(2_000, seed=seed)]
        self._number = 0

    def next(self):
        """Plan the next event."""
        number, self._number = self._number, self._number + 1
        key = self._random.randrange(KEYS)
        counter = self._counters[key]
        self._counters[key] += 1
        name = f"{self._prefix}-{number}"
        text = self._texts[self._random.randrange(len(self._texts))]
        proof = zlib.crc32(f"{name}/{key}/{counter}/{text}".encode())
        value = json.dumps({"id": name, "text": text, "key": key, "counter": counter, "sum": proof}).encode()
        if self._random.random() < self._bad:
            value = self._random.choice(BAD)(value)
        return Planned(name, key % self._partitions, f"key-{key}".encode(), value)


def checks(value):
    """Whether an event carries the checksum of what it says; None if it is a bad one, which carries none."""
    try:
        event = json.loads(value)
        said = event["sum"]
    except (ValueError, KeyError, TypeError):
        return None
    return said == zlib.crc32(f"{event['id']}/{event['key']}/{event['counter']}/{event['text']}".encode())

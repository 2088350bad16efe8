"""Which log an offset belongs to: pure comparisons, and the text that is committed with the offset.

A topic that is deleted and created again has a new log, where the same offsets are other events. Brokers with topic ids
(Kafka 2.8 and later) say so themselves. With others we remember the last batch before our position: its offset, its
checksum and its leader epoch. Compaction and retention may remove that batch, or compaction rewrite it with fewer
records; that makes no new log.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from farthing.kafka.protocol import NO_TOPIC_ID
from farthing.meter.untrusted import read_object, whole
from farthing.meter.usage import METADATA_LIMIT_BYTES
from farthing.wire import BatchHead

MARK_BYTES: Final = 140
"""The most that :meth:`Incarnation.written` adds to a text."""

MOST_LOGS: Final = 1 << 30
"""No partition has had more logs. Whoever may commit can claim any number, and the next one must still fit."""

_ID_BYTES: Final = 16
_NAMES: Final = frozenset({"log", "topic_id", "batch"})


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One log of a partition. ``number`` is 0 for the first that workers knew, and rises with each new one."""

    number: int = 0
    topic_id: bytes = NO_TOPIC_ID
    last: BatchHead | None = None
    """The batch before the position, or an earlier one."""

    def written(self, text: str) -> str:
        """Add this to a commit's metadata, which is a JSON object or nothing."""
        body: dict[str, Any] = {} if text else {"log": self.number}  # the usage total has the number too
        if self.topic_id != NO_TOPIC_ID:
            body["topic_id"] = topic_id_text(self.topic_id)
        if self.last is not None:
            last = self.last
            length = last.next_offset - last.base_offset
            body["batch"] = [last.base_offset, length, last.crc, last.leader_epoch, last.count]
        added = json.dumps(body, separators=(",", ":"))
        if not text or added == "{}":
            return text or added
        return f"{text[:-1]},{added[1:]}"

    @classmethod
    def read(cls, text: str) -> Incarnation | None:
        """Read what is in a commit's metadata; None if nothing of ours is: other programs commit too."""
        try:
            body = read_object(text, "mark of a log", most=METADATA_LIMIT_BYTES)
            number, topic_id, batch = whole(body["log"], MOST_LOGS), body.get("topic_id"), body.get("batch")
            last = None
            if batch is not None:
                base, length, crc, epoch, count = batch
                last = BatchHead(whole(base), base + whole(length), whole(crc), whole(epoch + 1) - 1, whole(count))
            return cls(number, NO_TOPIC_ID if topic_id is None else topic_id_of(topic_id), last)
        except (ValueError, KeyError, TypeError):
            return None


def is_only_a_mark(text: str) -> bool:
    """Whether a commit's metadata says which log it is, and nothing else."""
    return Incarnation.read(text) is not None and json.loads(text).keys() <= _NAMES


def topic_id_text(topic_id: bytes) -> str:
    """Write a topic id as Kafka's tools do."""
    return base64.urlsafe_b64encode(topic_id).decode().rstrip("=")


def other_log(known: BatchHead, found: BatchHead | None, log_start: int) -> str | None:
    """Say why the log is not the one that has the batch ``known``, if so.

    Parameters
    ----------
    known:
        A batch that the log had.
    found:
        The first batch that the broker sent from the base offset of ``known`` on; None if there was none.
    log_start:
        The log's first offset; -1 if the broker does not say.
    """
    if log_start > known.base_offset:
        return None  # retention has removed it
    if found is None:
        return f"it ends before offset {known.base_offset}, where there was a batch"
    if found.base_offset > known.base_offset:
        return None  # compaction has removed it
    there = f"the batch at offset {known.base_offset} is another one"
    if (found.base_offset, found.next_offset) != (known.base_offset, known.next_offset):
        return there
    if found.leader_epoch != known.leader_epoch:
        return f"{there}: its leader epoch is {found.leader_epoch}, it was {known.leader_epoch}"
    if found.crc != known.crc and found.count >= known.count and not found.rewritten:
        return f"{there}: it has another checksum"
    return None


def topic_id_of(text: str) -> bytes:
    """Read what :func:`topic_id_text` wrote. Raises ValueError."""
    topic_id = base64.urlsafe_b64decode(f"{text}==")
    if len(topic_id) != _ID_BYTES:
        raise ValueError(f"{text!r} is not a topic id")
    return topic_id

"""What a broker's answer to a batch means: written, to be sent again, caused by a record, or by the topic."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from aiokafka.errors import for_code


class Meaning(Enum):
    """What to do after an answer."""

    WRITTEN = auto()
    AGAIN = auto()  # send the same batch again; if that goes on, the place is held
    RENEW = auto()  # the broker has lost or fenced our producer id: what was in flight may or may not be written
    RECORD = auto()  # some record of the batch is the cause: find it
    RECORD_PERHAPS = auto()  # the same, unless sending it again helps: the network may be the cause
    HOLD = auto()  # no batch would be taken: hold the place, and say what to do


@dataclass(frozen=True, slots=True)
class Verdict:
    """Kafka's name of an error code, its meaning for a batch, and what a person can do."""

    name: str
    meaning: Meaning
    remedy: str = ""

    def __str__(self) -> str:
        return self.name + (f": {self.remedy}" if self.remedy else "")


_DELETED: Final = "the topic, or this partition of it, is gone; create it again (farthing topics create)"
_NO_LEADER: Final = "the partition has no leader; bring its brokers back"
_REPLICAS: Final = "fewer replicas are in sync than min.insync.replicas; bring their brokers back"
_WRITE: Final = "grant this client the right to write to the topic"

_VERDICTS: Final = {
    0: Verdict("NONE", Meaning.WRITTEN),
    46: Verdict("DUPLICATE_SEQUENCE_NUMBER", Meaning.WRITTEN),
    3: Verdict("UNKNOWN_TOPIC_OR_PARTITION", Meaning.AGAIN, _DELETED),
    100: Verdict("UNKNOWN_TOPIC_ID", Meaning.AGAIN, _DELETED),
    103: Verdict("INCONSISTENT_TOPIC_ID", Meaning.AGAIN, _DELETED),
    5: Verdict("LEADER_NOT_AVAILABLE", Meaning.AGAIN, _NO_LEADER),
    6: Verdict("NOT_LEADER_OR_FOLLOWER", Meaning.AGAIN, _NO_LEADER),
    7: Verdict("REQUEST_TIMED_OUT", Meaning.AGAIN, "its replicas do not acknowledge in time; look at their brokers"),
    13: Verdict("NETWORK_EXCEPTION", Meaning.AGAIN),
    19: Verdict("NOT_ENOUGH_REPLICAS", Meaning.AGAIN, _REPLICAS),
    20: Verdict("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Meaning.AGAIN, _REPLICAS),
    56: Verdict("KAFKA_STORAGE_ERROR", Meaning.AGAIN, "the broker cannot write to its disk; is it full?"),
    74: Verdict("FENCED_LEADER_EPOCH", Meaning.AGAIN, _NO_LEADER),
    75: Verdict("UNKNOWN_LEADER_EPOCH", Meaning.AGAIN, _NO_LEADER),
    89: Verdict("THROTTLING_QUOTA_EXCEEDED", Meaning.AGAIN, "raise this client's quota"),
    45: Verdict("OUT_OF_ORDER_SEQUENCE_NUMBER", Meaning.RENEW),
    47: Verdict("INVALID_PRODUCER_EPOCH", Meaning.RENEW),
    48: Verdict("INVALID_TXN_STATE", Meaning.RENEW),
    49: Verdict("INVALID_PRODUCER_ID_MAPPING", Meaning.RENEW),
    59: Verdict("UNKNOWN_PRODUCER_ID", Meaning.RENEW),
    90: Verdict("PRODUCER_FENCED", Meaning.RENEW),
    120: Verdict("TRANSACTION_ABORTABLE", Meaning.RENEW),
    10: Verdict("MESSAGE_TOO_LARGE", Meaning.RECORD, "raise the topic's max.message.bytes"),
    18: Verdict("RECORD_LIST_TOO_LARGE", Meaning.RECORD, "raise the topic's segment.bytes"),
    32: Verdict("INVALID_TIMESTAMP", Meaning.RECORD, "look at the broker's log"),
    43: Verdict("UNSUPPORTED_FOR_MESSAGE_FORMAT", Meaning.RECORD, "upgrade the topic's message format"),
    44: Verdict("POLICY_VIOLATION", Meaning.RECORD, "look at the broker's log"),
    87: Verdict("INVALID_RECORD", Meaning.RECORD, "is the topic compacted? then every record needs a key"),
    2: Verdict("CORRUPT_MESSAGE", Meaning.RECORD_PERHAPS, "look at the broker's log"),
    -1: Verdict("UNKNOWN_SERVER_ERROR", Meaning.RECORD_PERHAPS, "look at the broker's log"),
    17: Verdict("INVALID_TOPIC_EXCEPTION", Meaning.HOLD, "no topic may have this name"),
    29: Verdict("TOPIC_AUTHORIZATION_FAILED", Meaning.HOLD, _WRITE),
    31: Verdict("CLUSTER_AUTHORIZATION_FAILED", Meaning.HOLD, _WRITE),
    53: Verdict(
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Meaning.HOLD, "grant the right to write with this client's id"
    ),
    76: Verdict("UNSUPPORTED_COMPRESSION_TYPE", Meaning.HOLD, "set another kafka.compression"),
}
INVALID_TIMESTAMP: Final = 32
INVALID_RECORD: Final = 87
TOO_LARGE: Final = (10, 18)
NO_LEADER: Final = _VERDICTS[5]


def verdict_of(code: int) -> Verdict:
    """Return what an error code means; of codes that are not expected, whether Kafka calls them retriable."""
    known = _VERDICTS.get(code)
    if known is not None:
        return known
    error = for_code(code)
    name = f"{error.__name__} (error code {code})"
    return Verdict(name, Meaning.AGAIN if error.retriable else Meaning.HOLD, "look at the broker's log")

"""Kafka's wire protocol where aiokafka's ends: messages as tables, and one codec for all of them. No I/O, no aiokafka.

Names are Kafka's, in tables as in its message schema (``TopicId``), in Python as dict keys in snake case
(``topic_id``). Which version of an API is spoken on a connection, :func:`best_version` says.
"""

from farthing.kafka.protocol.cluster import API_VERSIONS, DESCRIBE_CONFIGS, FIND_COORDINATOR, METADATA
from farthing.kafka.protocol.codec import best_version, decode, encode
from farthing.kafka.protocol.fetch import FETCH
from farthing.kafka.protocol.groups import DESCRIBE_GROUPS, LEAVE_GROUP, OFFSET_COMMIT, OFFSET_FETCH
from farthing.kafka.protocol.logs import DELETE_RECORDS, LIST_OFFSETS, OFFSET_FOR_LEADER_EPOCH
from farthing.kafka.protocol.primitives import SHORT_BYTES, ProtocolError
from farthing.kafka.protocol.produce import PRODUCE
from farthing.kafka.protocol.reading import Message
from farthing.kafka.protocol.table import NO_TOPIC_ID, Api
from farthing.kafka.protocol.transactions import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    INIT_PRODUCER_ID,
    TXN_OFFSET_COMMIT,
)

__all__ = [
    "ADD_OFFSETS_TO_TXN",
    "ADD_PARTITIONS_TO_TXN",
    "API_VERSIONS",
    "DELETE_RECORDS",
    "DESCRIBE_CONFIGS",
    "DESCRIBE_GROUPS",
    "END_TXN",
    "FETCH",
    "FIND_COORDINATOR",
    "INIT_PRODUCER_ID",
    "LEAVE_GROUP",
    "LIST_OFFSETS",
    "METADATA",
    "NO_TOPIC_ID",
    "OFFSET_COMMIT",
    "OFFSET_FETCH",
    "OFFSET_FOR_LEADER_EPOCH",
    "PRODUCE",
    "SHORT_BYTES",
    "TXN_OFFSET_COMMIT",
    "Api",
    "Message",
    "ProtocolError",
    "best_version",
    "decode",
    "encode",
]

"""Talks to Kafka: group membership, raw fetch, offsets, producing, topics. Only this room imports aiokafka."""

from typing import TYPE_CHECKING

from farthing.rooms import names_on_demand

if TYPE_CHECKING:
    from farthing.kafka.connecting import broker_complaints
    from farthing.kafka.consumer import REFUSED_AGAIN_S, RecordConsumer
    from farthing.kafka.coordinator import wait_for_coordinator
    from farthing.kafka.dead_letters import ShorterLetters, letter_of_batch
    from farthing.kafka.fetching import Fetched
    from farthing.kafka.granted import missing_rights
    from farthing.kafka.incarnation import MARK_BYTES, MOST_LOGS, Incarnation, is_only_a_mark, topic_id_of
    from farthing.kafka.lag import Lag, lag_by_topic
    from farthing.kafka.leaving import leave_group
    from farthing.kafka.offsets import OffsetTracker, Partition, Ticket
    from farthing.kafka.pacing import PacingReader, PacingTable
    from farthing.kafka.producer import BatchProducer
    from farthing.kafka.reading import TopicReader
    from farthing.kafka.recovery import Moved
    from farthing.kafka.sending import HeldError, Refused
    from farthing.kafka.settings import KafkaSettings
    from farthing.kafka.sink_limits import SinkLimits
    from farthing.kafka.tail import read_tail
    from farthing.kafka.topics import (
        Finding,
        RouteTopicNames,
        create_topics,
        delete_topics,
        ensure_compacted,
        findings,
        partition_counts,
    )
    from farthing.kafka.watch import BrokerWatch

__all__ = [
    "MARK_BYTES",
    "MOST_LOGS",
    "REFUSED_AGAIN_S",
    "BatchProducer",
    "BrokerWatch",
    "Fetched",
    "Finding",
    "HeldError",
    "Incarnation",
    "KafkaSettings",
    "Lag",
    "Moved",
    "OffsetTracker",
    "PacingReader",
    "PacingTable",
    "Partition",
    "RecordConsumer",
    "Refused",
    "RouteTopicNames",
    "ShorterLetters",
    "SinkLimits",
    "Ticket",
    "TopicReader",
    "broker_complaints",
    "create_topics",
    "delete_topics",
    "ensure_compacted",
    "findings",
    "is_only_a_mark",
    "lag_by_topic",
    "leave_group",
    "letter_of_batch",
    "missing_rights",
    "partition_counts",
    "read_tail",
    "topic_id_of",
    "wait_for_coordinator",
]

__getattr__ = names_on_demand(
    __name__,
    {
        "connecting": "broker_complaints",
        "consumer": "REFUSED_AGAIN_S RecordConsumer",
        "coordinator": "wait_for_coordinator",
        "dead_letters": "ShorterLetters letter_of_batch",
        "fetching": "Fetched",
        "granted": "missing_rights",
        "incarnation": "Incarnation MARK_BYTES MOST_LOGS is_only_a_mark topic_id_of",
        "lag": "Lag lag_by_topic",
        "leaving": "leave_group",
        "offsets": "OffsetTracker Partition Ticket",
        "pacing": "PacingReader PacingTable",
        "producer": "BatchProducer",
        "reading": "TopicReader",
        "recovery": "Moved",
        "sending": "HeldError Refused",
        "settings": "KafkaSettings",
        "sink_limits": "SinkLimits",
        "tail": "read_tail",
        "topics": "Finding RouteTopicNames create_topics delete_topics ensure_compacted findings partition_counts",
        "watch": "BrokerWatch",
    },
)

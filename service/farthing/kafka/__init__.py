"""Talks to Kafka: group membership, raw fetch, offsets, producing, topics. Only this room imports aiokafka."""

from typing import TYPE_CHECKING

from farthing.rooms import names_on_demand

if TYPE_CHECKING:
    from farthing.kafka.consumer import Fetched, RecordConsumer
    from farthing.kafka.coordinator import wait_for_coordinator
    from farthing.kafka.dead_letters import letter_of_batch
    from farthing.kafka.lag import lag_by_topic
    from farthing.kafka.leaving import leave_group
    from farthing.kafka.offsets import OffsetTracker, Partition, Ticket
    from farthing.kafka.pacing import PacingReader, PacingTable
    from farthing.kafka.producer import BatchProducer
    from farthing.kafka.reading import TopicReader
    from farthing.kafka.settings import KafkaSettings
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

__all__ = [
    "BatchProducer",
    "Fetched",
    "Finding",
    "KafkaSettings",
    "OffsetTracker",
    "PacingReader",
    "PacingTable",
    "Partition",
    "RecordConsumer",
    "RouteTopicNames",
    "Ticket",
    "TopicReader",
    "create_topics",
    "delete_topics",
    "ensure_compacted",
    "findings",
    "lag_by_topic",
    "leave_group",
    "letter_of_batch",
    "partition_counts",
    "read_tail",
    "wait_for_coordinator",
]

__getattr__ = names_on_demand(
    __name__,
    {
        "consumer": "Fetched RecordConsumer",
        "coordinator": "wait_for_coordinator",
        "dead_letters": "letter_of_batch",
        "lag": "lag_by_topic",
        "leaving": "leave_group",
        "offsets": "OffsetTracker Partition Ticket",
        "pacing": "PacingReader PacingTable",
        "producer": "BatchProducer",
        "reading": "TopicReader",
        "settings": "KafkaSettings",
        "tail": "read_tail",
        "topics": "Finding RouteTopicNames create_topics delete_topics ensure_compacted findings partition_counts",
    },
)

"""What brokers say of topics beside their leaders: the topic's id, and each partition's leader epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from aiokafka import errors as kafka_errors

from farthing.errors import BrokerError
from farthing.kafka.frames import Frames
from farthing.kafka.protocol import METADATA, NO_TOPIC_ID

AT_MOST: Final = 13
"""The latest version of Metadata that is asked for."""

_NOT_CREATING_SINCE: Final = 4


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """One topic, as a broker described it last."""

    topic_id: bytes = NO_TOPIC_ID
    leader_epochs: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))


async def ask_metadata(frames: Frames, node: int, topics: Iterable[str], timeout_s: float) -> dict[str, TopicMetadata]:
    """Ask a broker about topics; those that do not exist, or that may not be seen, are left out.

    Raises
    ------
    BrokerError
        It cannot be reached or does not answer in time; ``retriable``.
    """
    try:
        answer = await frames.request(node, METADATA, without_creating(topics), timeout_s, at_most=AT_MOST)
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise BrokerError(f"metadata from broker {node}: {type(error).__name__} {error}", retriable=True) from error
    return {
        topic["name"]: TopicMetadata(
            topic["topic_id"], {row["partition_index"]: row["leader_epoch"] for row in topic["partitions"]}
        )
        for topic in answer["topics"]
        if not topic["error_code"]
    }


def without_creating(topics: Iterable[str]) -> Callable[[int], Mapping[str, object]]:
    """Make the body of a request that creates no topic, from version 4 on."""
    body = {"topics": [{"name": topic} for topic in topics]}
    return lambda version: body | ({"allow_auto_topic_creation": False} if version >= _NOT_CREATING_SINCE else {})

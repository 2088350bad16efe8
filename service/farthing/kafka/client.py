"""A low-level client of aiokafka's without a group: connecting, and what it knows of brokers and topics.

This is one of the three modules that use names which aiokafka (>=0.14,<0.15) does not document; the others are
:mod:`farthing.kafka.membership` and :mod:`farthing.kafka.frames`. Those used here, each checked by
``tests/kafka/test_contract.py``: ``aiokafka.client.AIOKafkaClient`` with ``bootstrap``, ``close``, ``send``,
``set_topics``, ``add_topic``, ``force_metadata_update``, ``get_random_node`` and ``cluster`` (``partitions_for_topic``,
``leader_for_partition``, ``broker_metadata``, ``update_metadata``); ``InitProducerIdRequest`` of
``aiokafka.protocol.transaction``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import Message
from farthing.kafka.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class ProducerId:
    """The id by which the broker knows a producer (KIP-98), or the error that it returned instead."""

    producer_id: int = -1
    epoch: int = -1
    error: type[Any] | None = None


def make_client(settings: KafkaSettings, **changed: Any) -> Any:
    """Make a low-level client for use without a group; ``changed`` are options of its own. Raises ConfigError."""
    return AIOKafkaClient(**settings.client_options() | changed)


async def connect(client: Any, topics: Iterable[str] = ()) -> None:
    """Connect to a broker, and learn which brokers lead the partitions of ``topics``. The caller limits the time."""
    await client.bootstrap()
    names = list(topics)
    if names:
        await client.set_topics(names)


async def disconnect(client: Any, timeout_s: float) -> None:
    """Close a client's connections, within ``timeout_s``."""
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(client.close(), timeout_s)


def any_node(client: Any) -> int:
    """Return the node id of some broker. Raises NodeNotReadyError when none is known."""
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is available")
    return int(node)


def knows_node(client: Any, node: int) -> bool:
    """Whether the client knows a broker's address."""
    return client.cluster.broker_metadata(node) is not None


def learn_brokers(client: Any, response: Message) -> None:
    """Have the client know the brokers that a Metadata response names, and nothing else of it."""
    brokers = [(row["node_id"], row["host"], row["port"], row["rack"]) for row in response["brokers"]]
    client.cluster.update_metadata(
        SimpleNamespace(API_VERSION=1, brokers=brokers, controller_id=response["controller_id"], topics=[])
    )


def refresh_metadata(client: Any) -> asyncio.Future[Any]:
    """Have the client ask again which broker leads which partition; await the future to wait for the reply."""
    update: asyncio.Future[Any] = client.force_metadata_update()
    return update


def watch_topic(client: Any, topic: str) -> None:
    """Have the client learn about a topic when it next asks for metadata."""
    client.add_topic(topic)


async def ask_producer_id(client: Any) -> ProducerId:
    """Ask any broker for a producer id, once. Raises KafkaError when none can be asked."""
    try:
        response = await client.send(any_node(client), InitProducerIdRequest(None, 0))
    except IncompatibleBrokerVersion as error:
        return ProducerId(error=type(error))
    if response.error_code:
        return ProducerId(error=for_code(response.error_code))
    return ProducerId(response.producer_id, response.producer_epoch)


def partition_count(client: Any, topic: str) -> int | None:
    """Return the number of a topic's partitions; None while it is not known."""
    partitions = client.cluster.partitions_for_topic(topic)
    return len(partitions) if partitions else None


def leader_of(client: Any, partition: Partition) -> int | None:
    """Return the node id of a partition's leader; None while it is not known."""
    leader = client.cluster.leader_for_partition(TopicPartition(*partition))
    return None if leader is None or leader == -1 else int(leader)

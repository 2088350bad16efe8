"""Asks brokers what they know, request by request: topics, log ends, commits, rights, versions. Nothing is changed.

This is one of the three modules that use names which aiokafka (>=0.14,<0.15) does not document; the others are
:mod:`farthing.kafka.membership` and :mod:`farthing.kafka.frames`. Those used here, each checked by
``tests/kafka/test_contract.py``: ``aiokafka.client.AIOKafkaClient`` with ``send``, ``bootstrap``,
``coordinator_lookup``, ``get_random_node`` and ``cluster`` (``update_metadata``); of ``aiokafka.protocol.api``
``Request``, ``RequestStruct`` and ``Response``, and of ``aiokafka.protocol.types`` ``Array``, ``Boolean``, ``Bytes``,
``Int16``, ``Int32``, ``Schema`` and ``String``; ``ApiVersionRequest``, ``DescribeConfigsRequest``,
``OffsetFetchRequest``, ``MetadataRequest`` and ``OffsetRequest`` of ``aiokafka.protocol``. aiokafka stops at Metadata
v5, and reads DescribeGroups v3 without the last field; both are stated here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError
from aiokafka.protocol.admin import ApiVersionRequest, DescribeConfigsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from farthing.kafka.offsets import Partition
from farthing.kafka.settings import MOST_MS, KafkaSettings

LATEST: Final = -1
"""In place of a timestamp: the end of the log."""

GROUP_COORDINATOR: Final = 0
TOPIC: Final = 2
"""Kafka's number of the resource type."""

_TEXT: Final = String("utf-8")


class MetadataResponse(Response):  # type: ignore[misc]  # aiokafka is untyped
    """Metadata v8: topics, and what may be done with each."""

    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("name", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class MetadataRequest_v8(RequestStruct):  # type: ignore[misc]
    """Metadata v8."""

    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class TopicRightsRequest(Request[MetadataRequest_v8]):  # type: ignore[misc]
    """Asks for topics and rights; creates no topic."""

    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[MetadataRequest_v8]) -> MetadataRequest_v8:
        """Make the request."""
        return request_struct_class(self._topics, False, True, True)


class GroupResponse(Response):  # type: ignore[misc]  # aiokafka is untyped
    """DescribeGroups v3, with what may be done with each group."""

    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", _TEXT),
                ("state", _TEXT),
                ("protocol_type", _TEXT),
                ("protocol", _TEXT),
                (
                    "members",
                    Array(
                        ("member_id", _TEXT),
                        ("client_id", _TEXT),
                        ("client_host", _TEXT),
                        ("member_metadata", Bytes),
                        ("member_assignment", Bytes),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
    )


class DescribeGroupsRequest_v3(RequestStruct):  # type: ignore[misc]
    """DescribeGroups v3."""

    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = GroupResponse
    SCHEMA = Schema(("groups", Array(_TEXT)), ("include_authorized_operations", Boolean))


class GroupRightsRequest(Request[DescribeGroupsRequest_v3]):  # type: ignore[misc]
    """Asks for a group, its members and our rights."""

    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[DescribeGroupsRequest_v3]) -> DescribeGroupsRequest_v3:
        """Make the request."""
        return request_struct_class([self._group], True)


def asking_client(settings: KafkaSettings, timeout_s: float) -> Any:
    """Make a client that asks nothing by itself. Raises ConfigError when a certificate or secret cannot be read."""
    most_ms = min(round(timeout_s * 1000), settings.request_timeout_ms)
    options = settings.client_options() | {"request_timeout_ms": most_ms, "metadata_max_age_ms": MOST_MS}
    return AIOKafkaClient(**options)


def any_node(client: Any) -> int:
    """Return the node id of some broker. Raises NodeNotReadyError when none is known."""
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is available")
    return int(node)


async def ask_topics(client: Any, topics: Iterable[str]) -> Any:
    """Ask for topics, which creates none, unlike aiokafka's own requests. The client learns brokers' addresses alone.

    Returns
    -------
    ``brokers``, rows of (node, host, port, rack), and ``topics``, rows of (error code, name, is internal, partitions),
    with partitions as rows of (error code, number, leader, ...).
    """
    names = sorted(set(topics))
    response = await client.send(any_node(client), MetadataRequest(names, allow_auto_topic_creation=False))
    found, response.topics = response.topics, []  # aiokafka would log each missing topic
    client.cluster.update_metadata(response)
    response.topics = found
    return response


async def ask_offsets(
    client: Any, node: int, partitions: Iterable[Partition], *, isolation: int, timestamp_ms: int = LATEST
) -> dict[Partition, tuple[int, int]]:
    """Ask a leader for the ends of logs, or the first offsets from a time on: (error code, offset or -1)."""
    topics: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for topic, number in partitions:
        topics[topic].append((number, timestamp_ms))
    response = await client.send(node, OffsetRequest(-1, isolation, list(topics.items())))
    return {  # not every broker minds the time that was asked for
        (topic, number): (code, offset if timestamp_ms < 0 or at_ms >= timestamp_ms else -1)
        for topic, rows in response.topics
        for number, code, at_ms, offset in rows
    }


async def ask_coordinator(client: Any, group: str) -> int:
    """Ask any broker for a group's coordinator. Raises KafkaError."""
    return int(await client.coordinator_lookup(GROUP_COORDINATOR, group))


async def ask_committed(
    client: Any, node: int, group: str, partitions: Mapping[str, Sequence[int]]
) -> tuple[set[int], dict[Partition, tuple[int, str]]]:
    """Ask a coordinator for committed offsets: the codes of its errors; offsets and metadata, where there are any."""
    response = await client.send(node, OffsetFetchRequest(group, [(t, list(ns)) for t, ns in partitions.items()]))
    rows = [(topic, *row) for topic, of_topic in response.topics for row in of_topic]
    codes = {getattr(response, "error_code", 0), *(row[-1] for row in rows)}
    return codes - {0}, {(topic, number): (at, text or "") for topic, number, at, text, *_ in rows if at >= 0}


async def ask_versions(client: Any) -> dict[int, tuple[int, int]]:
    """Ask any broker for the lowest and highest version of each request that it takes, by key."""
    response = await client.send(any_node(client), ApiVersionRequest())
    return {key: (low, high) for key, low, high in response.api_versions}


async def ask_rights(client: Any, topics: Iterable[str]) -> Any:
    """Ask for topics and our rights. Raises IncompatibleBrokerVersion from brokers before Apache Kafka 2.3."""
    try:
        return await client.send(any_node(client), TopicRightsRequest(sorted(topics)))
    except NotImplementedError as error:
        raise IncompatibleBrokerVersion("no Metadata v8: the broker cannot say what this client may do") from error


async def ask_configs(client: Any, topics: Iterable[str]) -> dict[str, dict[str, str] | int]:
    """Ask any broker for topics' settings: their values by name, or Kafka's error code where they may not be seen."""
    response = await client.send(any_node(client), DescribeConfigsRequest([(TOPIC, topic, None) for topic in topics]))
    return {
        name: code or {entry[0]: str(entry[1]) for entry in entries} for code, _, _, name, entries in response.resources
    }


async def ask_group(client: Any, node: int, group: str) -> Any:
    """Ask a coordinator for a group and our rights. Raises IncompatibleBrokerVersion as :func:`ask_rights`."""
    try:
        return (await client.send(node, GroupRightsRequest(group))).groups[0]
    except NotImplementedError as error:
        raise IncompatibleBrokerVersion(
            "no DescribeGroups v3: the broker cannot say what this client may do"
        ) from error

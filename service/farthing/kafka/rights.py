"""Asks the broker what this user may do with topics, which aiokafka cannot: Metadata version 8 has it (KIP-430)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from farthing.kafka.connecting import connecting
from farthing.kafka.membership import connect, disconnect, make_client
from farthing.kafka.settings import KafkaSettings

OPERATIONS: Final = {"READ": 1 << 3, "WRITE": 1 << 4}
"""Bits of Kafka's operations in the answer."""

NOT_SAID: Final = -(1 << 31)
"""The answer of a broker that does not know."""

CLOSE_TIMEOUT_S: Final = 2.0


class _ResponseV8(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
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


class _RequestV8(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _ResponseV8
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Request(Request[_RequestV8]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[Any]) -> Any:
        """Give the request as it is sent."""
        return request_struct_class(self._topics, False, False, True)


async def missing_rights(settings: KafkaSettings, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the operation that is wanted on each topic and not allowed; none from a broker that cannot say.

    Raises
    ------
    BrokerError
        The broker cannot be reached.
    """
    limit_s = settings.request_timeout_ms / 1000
    client = make_client(settings)
    try:
        with connecting(settings):
            await asyncio.wait_for(connect(client), limit_s)
            try:
                response = await asyncio.wait_for(_ask(client, list(wanted)), limit_s)
            except (NotImplementedError, KafkaError):  # an older broker, or one that is not Apache Kafka
                return {}
    finally:
        await disconnect(client, CLOSE_TIMEOUT_S)
    missing = {}
    for error, topic, _internal, _partitions, allowed in response.topics:
        if not error and allowed != NOT_SAID and not allowed & OPERATIONS[wanted[topic]]:
            missing[topic] = wanted[topic]
    return missing


async def _ask(client: Any, topics: list[str]) -> Any:
    node = client.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is available")
    return await client.send(node, _Request(topics))

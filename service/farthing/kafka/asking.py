"""Asks brokers what they know, request by request: topics, log ends, commits, rights, versions. Nothing is changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from farthing.kafka.client import any_node, connect, disconnect, learn_brokers, make_client
from farthing.kafka.committed import fetch_committed
from farthing.kafka.error_codes import error_of
from farthing.kafka.frames import ASKING, Body, Frames
from farthing.kafka.metadata import AT_MOST, without_creating
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import (
    API_VERSIONS,
    DESCRIBE_CONFIGS,
    DESCRIBE_GROUPS,
    FIND_COORDINATOR,
    LIST_OFFSETS,
    METADATA,
    Api,
    Message,
)
from farthing.kafka.protocol.transactions import DESCRIBE_TRANSACTIONS
from farthing.kafka.settings import MOST_MS, KafkaSettings

LATEST: Final = -1
"""In place of a timestamp: the end of the log."""

CONSUMER: Final = -1  # as a replica's id: none
GROUP_COORDINATOR: Final = 0
TRANSACTION_COORDINATOR: Final = 1
TOPIC: Final = 2
BROKER: Final = 4
"""Kafka's numbers of resource types."""

SINCE_KEYS: Final = 4  # FindCoordinator: several keys in one request
WITHOUT_NAME: Final = 2  # ApiVersions: the last version that does not want the client software's name
OF_THE_CLUSTER: Final = 10  # Metadata: the last version that says what may be done with the cluster
DEAD_WITHOUT_ERROR: Final = 5  # DescribeGroups: the last version in which a group that is not there is no error


class Asking:
    """A client that only asks, on connections of its own. Methods raise KafkaError and OSError."""

    def __init__(self, settings: KafkaSettings, timeout_s: float) -> None:
        """Wait ``timeout_s`` for each answer. Raises ConfigError when a certificate or secret cannot be read."""
        most_ms = min(round(timeout_s * 1000), settings.request_timeout_ms)
        self._client = make_client(settings, request_timeout_ms=most_ms, metadata_max_age_ms=MOST_MS)
        self.frames = Frames(self._client, ASKING)
        self.timeout_s = most_ms / 1000

    async def connect(self) -> None:
        """Connect to any of the brokers, and learn where the others are. The caller limits the time."""
        await connect(self._client)

    async def close(self, timeout_s: float) -> None:
        """Disconnect, within ``timeout_s``."""
        await disconnect(self._client, timeout_s)

    async def topics(self, topics: Iterable[str]) -> Message:
        """Ask for topics, which creates none; returns Kafka's answer. The client learns the brokers' addresses."""
        response = await self._ask_any(METADATA, without_creating(sorted(set(topics))), at_most=AT_MOST)
        learn_brokers(self._client, response)
        return response

    async def offsets(
        self, node: int, partitions: Iterable[Partition], *, isolation: int, timestamp_ms: int = LATEST
    ) -> dict[Partition, tuple[int, int]]:
        """Ask a leader for the ends of logs, or the first offsets from a time on: (error code, offset or -1)."""
        topics: dict[str, list[dict[str, int]]] = defaultdict(list)
        for topic, number in partitions:
            topics[topic].append({"partition_index": number, "timestamp": timestamp_ms})
        body = {
            "replica_id": CONSUMER,
            "isolation_level": isolation,
            "topics": [{"name": topic, "partitions": rows} for topic, rows in topics.items()],
            "timeout_ms": round(self.timeout_s * 1000),
        }
        response = await self._ask(node, LIST_OFFSETS, body)
        return {  # not every broker minds the time that was asked for
            (topic["name"], row["partition_index"]): (
                row["error_code"],
                row["offset"] if timestamp_ms < 0 or row["timestamp"] >= timestamp_ms else -1,
            )
            for topic in response["topics"]
            for row in topic["partitions"]
        }

    async def coordinator(self, group: str) -> int:
        """Ask any broker for a group's coordinator."""
        return await ask_coordinator(self.frames, any_node(self._client), GROUP_COORDINATOR, group, self.timeout_s)

    async def committed(
        self, node: int, group: str, partitions: Mapping[str, Sequence[int]]
    ) -> tuple[set[int], dict[Partition, tuple[int, str]]]:
        """Ask a coordinator for committed offsets: the codes of its errors; offsets and metadata, where there are any.

        Those of a transaction that is still open are left out.
        """
        codes, found = await fetch_committed(self.frames, node, group, partitions, self.timeout_s, stable=False)
        return set(codes.values()), found

    async def versions(self) -> dict[int, tuple[int, int]]:
        """Ask any broker for the lowest and highest version of each request that it takes, by key."""
        response = await self._ask_any(API_VERSIONS, {}, at_most=WITHOUT_NAME)
        return {row["api_key"]: (row["min_version"], row["max_version"]) for row in response["api_keys"]}

    async def rights(self, topics: Iterable[str]) -> Message:
        """Ask for topics and our rights; returns Kafka's answer.

        Raises
        ------
        IncompatibleBrokerVersion
            The broker is older than Apache Kafka 2.3, and cannot say what this client may do.
        """
        asked = without_creating(sorted(set(topics)))

        def body(version: int) -> Mapping[str, Any]:
            wanted = ("include_cluster_authorized_operations", "include_topic_authorized_operations")
            return {**asked(version), **dict.fromkeys(wanted, True)}

        return await self._ask_any(METADATA, body, at_most=OF_THE_CLUSTER)

    async def configs(
        self, topics: Iterable[str], names: Sequence[str] | None = None
    ) -> tuple[dict[str, dict[str, str]], dict[str, type[Any]]]:
        """Ask any broker for topics' settings, all or those named.

        Returns
        -------
        Their values by name, of the topics that may be seen; the errors of the others.
        """
        resources = [
            {"resource_type": TOPIC, "resource_name": topic, "configuration_keys": names and list(names)}
            for topic in topics
        ]
        response = await self._ask_any(DESCRIBE_CONFIGS, {"resources": resources})
        found = {
            row["resource_name"]: {one["name"]: one["value"] for one in row["configs"] if one["value"] is not None}
            for row in response["results"]
            if not row["error_code"]
        }
        errors = {row["resource_name"]: error_of(row["error_code"]) for row in response["results"] if row["error_code"]}
        return found, errors

    async def broker_config(self, name: str) -> str | None:
        """Ask any broker for one of its own settings; None where it has no such. A refusal is raised too."""
        node = any_node(self._client)
        resource = {"resource_type": BROKER, "resource_name": str(node), "configuration_keys": [name]}
        response = await self._ask(node, DESCRIBE_CONFIGS, {"resources": [resource]})
        (row,) = response["results"]
        if row["error_code"]:
            raise error_of(row["error_code"])
        value: str | None = next((one["value"] for one in row["configs"] if one["name"] == name), None)
        return value

    async def transactional_id_code(self, name: str) -> int:
        """Ask any broker to describe a transactional id, which takes and makes none; returns Kafka's error code.

        A broker checks first whether this client may see the id, and then whether it coordinates it.
        """
        response = await self._ask_any(DESCRIBE_TRANSACTIONS, {"transactional_ids": [name]})
        return int(response["transaction_states"][0]["error_code"])

    async def group(self, node: int, group: str) -> Message:
        """Ask a coordinator for a group and our rights. Raises IncompatibleBrokerVersion as :meth:`rights`."""
        body = {"groups": [group], "include_authorized_operations": True}
        response = await self._ask(node, DESCRIBE_GROUPS, body, at_most=DEAD_WITHOUT_ERROR)
        found: Message = response["groups"][0]
        return found

    async def _ask_any(self, api: Api, body: Body, *, at_most: int = 1 << 15) -> Message:
        return await self._ask(any_node(self._client), api, body, at_most=at_most)

    async def _ask(self, node: int, api: Api, body: Body, *, at_most: int = 1 << 15) -> Message:
        return await self.frames.request(node, api, body, self.timeout_s, at_most=at_most)


async def ask_coordinator(frames: Frames, node: int, kind: int, key: str, timeout_s: float) -> int:
    """Ask a broker which node coordinates a group or a transactional id. Raises KafkaError, OSError."""

    def body(version: int) -> Mapping[str, Any]:
        keys = {"coordinator_keys": [key]} if version >= SINCE_KEYS else {"key": key}
        return keys | ({"key_type": kind} if version else {})

    response = await frames.request(node, FIND_COORDINATOR, body, timeout_s)
    found = response["coordinators"][0] if response["coordinators"] else response
    if found["error_code"]:
        raise error_of(found["error_code"])
    return int(found["node_id"])

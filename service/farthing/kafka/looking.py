"""What ``farthing doctor`` asks of brokers: everything that can be known without creating or changing anything."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from farthing.kafka.asking import Asking
from farthing.kafka.connecting import connecting
from farthing.kafka.error_codes import error_of
from farthing.kafka.fetching import READ_UNCOMMITTED
from farthing.kafka.frames import PRODUCE_BY_NAME
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import FETCH, METADATA, OFFSET_FETCH
from farthing.kafka.rights import TopicState, rights_of
from farthing.kafka.settings import KafkaSettings

CLOSE_TIMEOUT_S: Final = 1.0

SPOKEN: Final = {
    "Produce": (0, 3, PRODUCE_BY_NAME), "ListOffsets": (2, 1, 3), "OffsetCommit": (8, 2, 3),
    "FindCoordinator": (10, 0, 1), "JoinGroup": (11, 0, 5), "Heartbeat": (12, 0, 1), "LeaveGroup": (13, 0, 1),
    "SyncGroup": (14, 0, 3), "InitProducerId": (22, 0, 0),
} | {api.name: (api.key, api.versions.first, api.versions.last) for api in (FETCH, METADATA, OFFSET_FETCH)}  # fmt: skip
"""The requests that a worker sends, by Kafka's names: key, lowest and highest version that it can send."""


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group as its coordinator describes it."""

    error: int
    state: str = ""
    members: int = 0
    rights: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """Brokers and topics as one broker describes them."""

    brokers: int
    topics: dict[str, TopicState]
    rights: frozenset[str] | None
    leaders: dict[Partition, int] = field(default_factory=dict)


class BrokerLook:
    """One client that only asks. Methods raise KafkaError, OSError and TimeoutError."""

    def __init__(self, settings: KafkaSettings, *, timeout_s: float) -> None:
        """Raise ConfigError when a certificate or a secret cannot be read; connect later."""
        self._settings = settings
        self._asking = Asking(settings, timeout_s)

    async def connect(self) -> None:
        """Connect to any of the brokers. Raises BrokerError with the reason."""
        with connecting(self._settings):
            await self._asking.connect()

    async def close(self) -> None:
        """Disconnect."""
        await self._asking.close(CLOSE_TIMEOUT_S)

    async def unspoken(self) -> list[str]:
        """Return the requests of a worker of which the broker speaks no version that we do."""
        versions = await self._asking.versions()
        return [
            name
            for name, (key, lowest, highest) in SPOKEN.items()
            if max(versions.get(key, (0, -1))[0], lowest) > min(versions.get(key, (0, -1))[1], highest)
        ]

    async def cluster(self, topics: Iterable[str]) -> Cluster:
        """Describe topics. Raises IncompatibleBrokerVersion from brokers before Apache Kafka 2.3."""
        response = await self._asking.rights(topics)
        states = [TopicState.read(row) for row in response["topics"]]
        return Cluster(
            len(response["brokers"]),
            {state.name: state for state in states},
            rights_of(response["cluster_authorized_operations"]),
            {
                (topic["name"], row["partition_index"]): row["leader_id"]
                for topic in response["topics"]
                for row in topic["partitions"]
                if row["leader_id"] >= 0
            },
        )

    async def group(self) -> GroupState:
        """Describe our group, as its coordinator sees it."""
        name = self._settings.group_id
        try:
            node = await self._asking.coordinator(name)
        except GroupAuthorizationFailedError as error:
            return GroupState(error.errno)
        row = await self._asking.group(node, name)
        operations = rights_of(row["authorized_operations"])
        return GroupState(row["error_code"], row["group_state"], len(row["members"]), operations)

    async def committed(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, str]]:
        """Return committed offsets of our group and their metadata; partitions without one are left out."""
        topics: dict[str, list[int]] = {}
        for topic, number in partitions:
            topics.setdefault(topic, []).append(number)
        name = self._settings.group_id
        codes, found = await self._asking.committed(await self._asking.coordinator(name), name, topics)
        if codes:
            raise error_of(min(codes))
        return found

    async def configs(self, topics: Sequence[str]) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
        """Return the settings of the topics that may be seen, and Kafka's error codes of the others."""
        found, errors = await self._asking.configs(topics)
        return found, {topic: error.errno for topic, error in errors.items()}

    async def newer_than(self, cluster: Cluster, timestamp_ms: int) -> list[Partition]:
        """Return the partitions that have a record with this timestamp or a later one."""
        by_node: dict[int, list[Partition]] = {}
        for partition, leader in cluster.leaders.items():
            by_node.setdefault(leader, []).append(partition)
        found = []
        for node, partitions in by_node.items():
            answers = await self._asking.offsets(
                node, partitions, isolation=READ_UNCOMMITTED, timestamp_ms=timestamp_ms
            )
            found += [partition for partition, (code, offset) in answers.items() if not code and offset >= 0]
        return found

    async def round_trip_s(self) -> float:
        """Return the seconds that a small request takes."""
        began = time.monotonic()
        await self._asking.versions()
        return time.monotonic() - began


LOOK_ERRORS: Final = (KafkaError, OSError, TimeoutError)
"""What :class:`BrokerLook` raises."""

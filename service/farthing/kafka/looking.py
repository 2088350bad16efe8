"""What ``farthing doctor`` asks of brokers: everything that can be known without creating or changing anything."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, for_code

from farthing.kafka.asking import (
    ask_committed,
    ask_configs,
    ask_coordinator,
    ask_group,
    ask_offsets,
    ask_rights,
    ask_versions,
    asking_client,
)
from farthing.kafka.connecting import connecting
from farthing.kafka.fetching import READ_UNCOMMITTED
from farthing.kafka.membership import connect, disconnect
from farthing.kafka.offsets import Partition
from farthing.kafka.rights import TopicState, rights_of
from farthing.kafka.settings import KafkaSettings

CLOSE_TIMEOUT_S: Final = 1.0

SPOKEN: Final = {
    "Produce": (0, 3, 8), "Fetch": (1, 4, 11), "ListOffsets": (2, 1, 3), "Metadata": (3, 0, 5),
    "OffsetCommit": (8, 2, 3), "OffsetFetch": (9, 1, 3), "FindCoordinator": (10, 0, 1), "JoinGroup": (11, 0, 5),
    "Heartbeat": (12, 0, 1), "LeaveGroup": (13, 0, 1), "SyncGroup": (14, 0, 3), "InitProducerId": (22, 0, 0),
}  # fmt: skip
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
        self._client: Any = asking_client(settings, timeout_s)

    async def connect(self) -> None:
        """Connect to any of the brokers. Raises BrokerError with the reason."""
        with connecting(self._settings):
            await connect(self._client)

    async def close(self) -> None:
        """Disconnect."""
        await disconnect(self._client, CLOSE_TIMEOUT_S)

    async def unspoken(self) -> list[str]:
        """Return the requests of a worker of which the broker speaks no version that we do."""
        versions = await ask_versions(self._client)
        return [
            name
            for name, (key, lowest, highest) in SPOKEN.items()
            if max(versions.get(key, (0, -1))[0], lowest) > min(versions.get(key, (0, -1))[1], highest)
        ]

    async def cluster(self, topics: Iterable[str]) -> Cluster:
        """Describe topics. Raises IncompatibleBrokerVersion from brokers before Apache Kafka 2.3."""
        response = await ask_rights(self._client, topics)
        return Cluster(
            len(response.brokers),
            {row[1]: TopicState.read(row) for row in response.topics},
            rights_of(response.cluster_authorized_operations),
            {(row[1], p[1]): p[2] for row in response.topics for p in row[3] if p[2] >= 0},
        )

    async def group(self) -> GroupState:
        """Describe our group, as its coordinator sees it."""
        name = self._settings.group_id
        try:
            node = await ask_coordinator(self._client, name)
        except GroupAuthorizationFailedError as error:
            return GroupState(error.errno)
        row = await ask_group(self._client, node, name)
        code, _, state, _, _, members, operations = row
        return GroupState(code, state, len(members), rights_of(operations))

    async def committed(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, str]]:
        """Return committed offsets of our group and their metadata; partitions without one are left out."""
        topics: dict[str, list[int]] = {}
        for topic, number in partitions:
            topics.setdefault(topic, []).append(number)
        name = self._settings.group_id
        codes, found = await ask_committed(self._client, await ask_coordinator(self._client, name), name, topics)
        if codes:
            raise for_code(min(codes))
        return found

    async def configs(self, topics: Sequence[str]) -> dict[str, dict[str, str] | int]:
        """Return topics' settings, or Kafka's error code where they may not be seen."""
        return await ask_configs(self._client, topics)

    async def newer_than(self, cluster: Cluster, timestamp_ms: int) -> list[Partition]:
        """Return the partitions that have a record with this timestamp or a later one."""
        by_node: dict[int, list[Partition]] = {}
        for partition, leader in cluster.leaders.items():
            by_node.setdefault(leader, []).append(partition)
        found = []
        for node, partitions in by_node.items():
            answers = await ask_offsets(
                self._client, node, partitions, isolation=READ_UNCOMMITTED, timestamp_ms=timestamp_ms
            )
            found += [partition for partition, (code, offset) in answers.items() if not code and offset >= 0]
        return found

    async def round_trip_s(self) -> float:
        """Return the seconds that a small request takes."""
        began = time.monotonic()
        await ask_versions(self._client)
        return time.monotonic() - began


LOOK_ERRORS: Final = (KafkaError, OSError, TimeoutError)
"""What :class:`BrokerLook` raises."""

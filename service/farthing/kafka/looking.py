"""What ``farthing doctor`` asks of brokers: everything that can be known without creating or changing anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import GroupAuthorizationFailedError, IncompatibleBrokerVersion, KafkaError

from farthing.kafka.asking import Asking
from farthing.kafka.connecting import connecting
from farthing.kafka.error_codes import error_of
from farthing.kafka.fetching import READ_UNCOMMITTED
from farthing.kafka.frames import PRODUCE_BY_NAME, PRODUCE_IN_TRANSACTION
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    FETCH,
    FIND_COORDINATOR,
    INIT_PRODUCER_ID,
    METADATA,
    OFFSET_FETCH,
    TXN_OFFSET_COMMIT,
)
from farthing.kafka.rights import TopicState, rights_of
from farthing.kafka.settings import KafkaSettings
from farthing.kafka.transactions import LAST_VERSIONS

CLOSE_TIMEOUT_S: Final = 1.0

SPOKEN: Final = {
    "Produce": (0, 3, PRODUCE_BY_NAME), "ListOffsets": (2, 1, 3), "OffsetCommit": (8, 2, 3),
    "FindCoordinator": (10, 0, 1), "JoinGroup": (11, 0, 5), "Heartbeat": (12, 0, 1), "LeaveGroup": (13, 0, 1),
    "SyncGroup": (14, 0, 3), "InitProducerId": (22, 0, 0),
} | {api.name: (api.key, api.versions.first, api.versions.last) for api in (FETCH, METADATA, OFFSET_FETCH)}  # fmt: skip
"""The requests that a worker sends, by Kafka's names: key, lowest and highest version that it can send."""

SPOKEN_IN_TRANSACTIONS: Final = SPOKEN | {
    "Produce": (0, 3, PRODUCE_IN_TRANSACTION), "FindCoordinator": (10, 1, FIND_COORDINATOR.versions.last),
    OFFSET_FETCH.name: (OFFSET_FETCH.key, 7, OFFSET_FETCH.versions.last),  # from 7 on it waits for stable offsets
    TXN_OFFSET_COMMIT.name: (TXN_OFFSET_COMMIT.key, 3, LAST_VERSIONS[TXN_OFFSET_COMMIT]),  # from 3 on with a generation
} | {
    api.name: (api.key, api.versions.first, LAST_VERSIONS.get(api, api.versions.last))
    for api in (INIT_PRODUCER_ID, ADD_PARTITIONS_TO_TXN, ADD_OFFSETS_TO_TXN, END_TXN)
}  # fmt: skip
"""Those of a worker that delivers exactly once."""

OFFSETS_TOPIC: Final = "__consumer_offsets"
NO_GROUPS: Final = "none yet"
"""In place of a group's state: this broker has never had one, and asking for a coordinator would make a topic."""

ELSEWHERE: Final = (15, 16)
"""Kafka's codes of a broker that does not coordinate a group."""


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
        self._coordinator: int | None = None

    async def connect(self) -> None:
        """Connect to any of the brokers. Raises BrokerError with the reason."""
        with connecting(self._settings, self._asking.timeout_s):
            await self._asking.connect()

    async def close(self) -> None:
        """Disconnect."""
        await self._asking.close(CLOSE_TIMEOUT_S)

    async def unspoken(self) -> list[str]:
        """Return the requests of a worker of which the broker speaks no version that we do."""
        versions = await self._asking.versions()
        exactly_once = self._settings.delivery == "exactly_once"
        return [
            name
            for name, (key, lowest, highest) in (SPOKEN_IN_TRANSACTIONS if exactly_once else SPOKEN).items()
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
        """Describe our group, as its coordinator sees it.

        A broker that is asked for a coordinator makes the topic of offsets where there is none. So it is asked only
        where that topic is there; otherwise, or where it may not be seen, every broker is asked for the group.
        """
        name = self._settings.group_id
        answer = await self._asking.topics([OFFSETS_TOPIC])
        if not answer["topics"][0]["error_code"]:
            try:
                nodes = [await self._asking.coordinator(name)]
            except GroupAuthorizationFailedError as error:
                return GroupState(error.errno)
        else:
            nodes = [broker["node_id"] for broker in answer["brokers"]]
        rows = await asyncio.gather(*(self._asking.group(node, name) for node in nodes), return_exceptions=True)
        errors = [row for row in rows if isinstance(row, BaseException)]
        for node, row in zip(nodes, rows, strict=True):
            if not isinstance(row, BaseException) and row["error_code"] not in ELSEWHERE:
                self._coordinator = node
                operations = rights_of(row["authorized_operations"])
                return GroupState(row["error_code"], row["group_state"], len(row["members"]), operations)
        if errors:
            raise errors[0]
        if len(nodes) == 1 and not answer["topics"][0]["error_code"]:
            return GroupState(ELSEWHERE[0])
        return GroupState(0, NO_GROUPS)

    async def longest_transaction_ms(self) -> tuple[int | None, str]:
        """Return the broker's ``transaction.max.timeout.ms``, or None and why it does not say."""
        try:
            value = await self._asking.broker_config("transaction.max.timeout.ms")
        except KafkaError as error:
            return None, type(error).__name__
        return (None, "it has none") if value is None else (int(value), "")

    async def transactional_id(self) -> tuple[str, int | None]:
        """Return a transactional id such as a worker's, and Kafka's error code for looking at it; it is not taken.

        The code is None where the broker is older than Apache Kafka 3.0, and cannot say.
        """
        kafka = self._settings
        name = f"{kafka.group_id}.{kafka.group_instance_id or 'doctor'}"
        try:
            return name, await self._asking.transactional_id_code(name)
        except IncompatibleBrokerVersion:
            return name, None

    async def committed(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, str]]:
        """Return committed offsets of our group and their metadata; partitions without one are left out.

        :meth:`group` comes first: it finds the coordinator.
        """
        if self._coordinator is None:
            return {}
        topics: dict[str, list[int]] = {}
        for topic, number in partitions:
            topics.setdefault(topic, []).append(number)
        name = self._settings.group_id
        codes, found = await self._asking.committed(self._coordinator, name, topics)
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

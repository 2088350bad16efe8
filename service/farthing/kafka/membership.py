"""The only module that reaches inside aiokafka's consumer and client. aiokafka >=0.14,<0.15.

Private names used here, each checked by ``tests/kafka/test_contract.py``: ``AIOKafkaConsumer._client``,
``AIOKafkaConsumer._coordinator``, ``GroupCoordinator.fetch_committed_offsets``, ``AIOKafkaClient.send``,
``AIOKafkaClient.force_metadata_update``, ``AIOKafkaClient.add_topic``, ``AIOKafkaClient.cluster``. The public API gives
no way to fetch or send ready-made bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

from farthing.errors import BrokerError
from farthing.kafka.connecting import connecting
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings

log = structlog.get_logger()

NOT_OURS = (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

Listener = Callable[[list[Partition]], Awaitable[None]]


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """One member of a consumer group. aiokafka keeps the membership; it never fetches (its partitions are paused)."""

    def __init__(
        self, settings: KafkaSettings, topics: Iterable[str], *, on_revoked: Listener, on_assigned: Listener
    ) -> None:
        self._settings = settings
        self._topics = sorted(topics)
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned
        self._consumer: Any = None
        self.failure: BaseException | None = None
        """What a listener raised: aiokafka logs it and goes on as if nothing had happened, so we must look."""

    async def join(self) -> None:
        """Connect and join the group; returns when partitions are assigned (perhaps none).

        Raises
        ------
        BrokerError
            The broker could not be reached, or refused.
        """
        # The range assignor alone: its state is not shared between consumers, and aiokafka sends one JoinGroup for
        # each assignor in the list. It must be told to keep the same numbers of several topics together.
        self._consumer = AIOKafkaConsumer(
            **self._settings.consumer_options(), partition_assignment_strategy=(RangePartitionAssignor,)
        )
        self._consumer.subscribe(self._topics, listener=self)
        with connecting(self._settings):
            await asyncio.wait_for(self._consumer.start(), self._settings.request_timeout_ms / 1000 + 60)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Pass a rebalance's begin on (called by aiokafka)."""
        await self._listen(self._on_revoked, revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Stop aiokafka's own fetching before it begins, and pass the assignment on (called by aiokafka)."""
        if assigned:
            self._consumer.pause(*assigned)
        await self._listen(self._on_assigned, assigned)

    async def _listen(self, listener: Listener, partitions: set[TopicPartition]) -> None:
        try:
            await listener(sorted((tp.topic, tp.partition) for tp in partitions))
        except Exception as error:
            self.failure = error
            raise

    @property
    def client(self) -> Any:
        """Aiokafka's low-level client."""
        return self._consumer._client

    async def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, int]:
        """Read committed offsets; partitions without one are left out. Raises TimeoutError."""
        asked = [TopicPartition(*p) for p in partitions]
        found = await asyncio.wait_for(self._consumer._coordinator.fetch_committed_offsets(asked), timeout_s)
        return {(tp.topic, tp.partition): meta.offset for tp, meta in found.items() if meta.offset >= 0}

    async def bounds(self, partitions: Iterable[Partition], *, end: bool, timeout_s: float) -> dict[Partition, int]:
        """Read the first offsets of partitions, or the ones after the last. Raises TimeoutError, KafkaError."""
        asked = [TopicPartition(*p) for p in partitions]
        call = self._consumer.end_offsets if end else self._consumer.beginning_offsets
        found = await asyncio.wait_for(call(asked), timeout_s)
        return {(tp.topic, tp.partition): int(offset) for tp, offset in found.items()}

    async def commit(self, offsets: dict[Partition, int], timeout_s: float) -> bool:
        """Commit; False when a rebalance has taken a partition away.

        Raises
        ------
        BrokerError
            Not within ``timeout_s``: aiokafka itself would try for ever.
        """
        wanted = {TopicPartition(*p): offset for p, offset in offsets.items()}
        try:
            await asyncio.wait_for(self._consumer.commit(wanted), timeout_s)
        except NOT_OURS:
            return False
        except (KafkaError, TimeoutError) as error:
            raise BrokerError(f"offset commit: {type(error).__name__} {error}", retriable=True) from error
        return True

    async def leave(self, timeout_s: float) -> None:
        """Leave the group and close connections, within ``timeout_s`` whatever the broker does."""
        if self._consumer is None:
            return
        task = asyncio.ensure_future(self._consumer.stop())
        _, late = await asyncio.wait({task}, timeout=timeout_s)
        if late:
            task.cancel()
            with contextlib.suppress(BaseException):
                await asyncio.wait({task}, timeout=1.0)
            log.warning("group_not_left", after_s=timeout_s, note="the session timeout will free the partitions")
        elif task.exception() is not None:
            log.warning("group_not_left", error=repr(task.exception()))


def make_client(settings: KafkaSettings) -> Any:
    """Make a low-level client of its own (for the producer)."""
    return AIOKafkaClient(**settings.client_options())


def leader_of(client: Any, partition: Partition) -> int | None:
    """Give the node id of a partition's leader as far as is known."""
    leader = client.cluster.leader_for_partition(TopicPartition(*partition))
    return None if leader is None or leader == -1 else int(leader)

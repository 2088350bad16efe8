"""Everything that we use of aiokafka's consumer group and of its low-level client.

This is one of the three modules that use names which aiokafka (>=0.14,<0.15) does not document; the others are
:mod:`farthing.kafka.client` and :mod:`farthing.kafka.frames`. Those used here, each checked by
``tests/kafka/test_contract.py``: of ``AIOKafkaConsumer`` ``_client`` and ``_coordinator``; of the coordinator
``check_errors``, ``request_rejoin``, ``ensure_coordinator_known``, ``coordinator_id``, ``coordinator_dead``,
``_do_commit_offsets``, ``_coordination_task``, ``generation`` and ``member_id``; ``RangePartitionAssignor`` of
``aiokafka.coordinator.assignors.range``. The public API has no way to fetch or send ready-made bytes, or to commit as
the member to which the partitions were assigned.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupLoadInProgressError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    RebalanceInProgressError,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from farthing.errors import BrokerError, PutOutError, RightError
from farthing.kafka.committed import ask_committed
from farthing.kafka.connecting import connecting
from farthing.kafka.coordinator import wait_for_coordinator
from farthing.kafka.error_codes import UnstableOffsetCommit
from farthing.kafka.fetching import MAY_NOT_READ
from farthing.kafka.frames import ASKING, Frames
from farthing.kafka.leaving import leave
from farthing.kafka.offsets import Partition
from farthing.kafka.sending import HeldError
from farthing.kafka.settings import KafkaSettings

log = structlog.get_logger()

NOT_OURS = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
"""The broker's errors for a commit by a member that has left the group, or in an older generation."""

REFUSED = (
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
)
"""Errors of the group that trying again will not fix."""

RETRY_PAUSE_S = 0.1
RENAMES = 3
RENAMED_WITHIN_S = 60.0
"""A static member keeps its member id. One that gets a new id this often shares its instance id with another worker:
each evicts the other whenever it joins, and neither notices (aiokafka sends heartbeats without the instance id)."""

NO_METADATA: Mapping[Partition, str] = MappingProxyType({})

Listener = Callable[[list[Partition]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group, in the generation in which its partitions were assigned."""

    group_id: str
    generation: int
    member_id: str
    group_instance_id: str | None


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """One member of a consumer group. aiokafka keeps the membership, and never fetches: its partitions are paused."""

    def __init__(
        self, settings: KafkaSettings, topics: Iterable[str], *, on_revoked: Listener, on_assigned: Listener
    ) -> None:
        self._settings = settings
        self._topics = sorted(topics)
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned
        self._consumer: Any = None
        self.asking: Frames  # for short questions
        self._generation: int | None = None  # in which our partitions were assigned
        self._member_id: str | None = None
        self._renamed: deque[float] = deque(maxlen=RENAMES)
        self.failure: BaseException | None = None
        """What a listener raised: aiokafka logs it and goes on as if nothing had happened, so we have to check."""

    async def join(self) -> None:
        """Connect and join the group; returns when partitions are assigned (perhaps none).

        Raises
        ------
        BrokerError
            The broker could not be reached, or refused.
        """
        await wait_for_coordinator(self._settings, self._settings.group_id)
        # Only the range assignor: its state is not shared between consumers, it gives a member the same partition
        # numbers of all topics, and aiokafka sends one JoinGroup for each assignor in the list.
        self._consumer = AIOKafkaConsumer(
            **self._settings.consumer_options(), partition_assignment_strategy=(RangePartitionAssignor,)
        )
        self.asking = Frames(self._consumer._client, ASKING)
        self._consumer.subscribe(self._topics, listener=self)
        with connecting(self._settings):
            limit_s = self._settings.request_timeout_ms / 1000 + 60
            try:
                await asyncio.wait_for(self._consumer.start(), limit_s)
            except TimeoutError as error:
                raise BrokerError(
                    f"consumer group {self._settings.group_id}: the coordinator has not let this worker in for "
                    f"{limit_s:.0f} s; look for members that do not come back (kafka-consumer-groups.sh --members)",
                    retriable=True,
                ) from error
            except KafkaError as error:
                # FENCED_INSTANCE_ID has no name in aiokafka.
                if self._settings.group_instance_id is None or "UnknownError" not in str(error):
                    raise
                raise BrokerError(
                    f"kafka.group_instance_id = {self._settings.group_instance_id!r}: the group put this member out "
                    f"while it joined ({error}), most likely because another worker joins with the same instance id; "
                    "give each worker one of its own",
                    retriable=False,
                ) from error

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Report that a rebalance begins (called by aiokafka)."""
        await self._listen(self._on_revoked, revoked)
        self._generation = None

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Stop aiokafka's own fetching before it begins, and report the assignment (called by aiokafka)."""
        if assigned:
            self._consumer.pause(*assigned)
        coordinator = self._consumer._coordinator
        self._generation = coordinator.generation
        if self._member_id not in (None, coordinator.member_id):
            self._renamed.append(time.monotonic())
        self._member_id = coordinator.member_id
        await self._listen(self._on_assigned, assigned)

    def check(self) -> None:
        """Raise an error from the background: aiokafka only keeps it for the next poll, and we never poll.

        Raises
        ------
        PutOutError
            This client may not read the group any more. The membership has ended: aiokafka's does not go on by itself.
        BrokerError
            A listener failed, the group refuses this member, or another member has the same instance id.
        """
        if self.failure is not None:
            raise BrokerError(f"a rebalance failed: {self.failure!r}", retriable=False)
        coordinator = self._consumer._coordinator
        ended = coordinator._coordination_task.done()
        try:
            coordinator.check_errors()
        except GroupAuthorizationFailedError as error:
            raise PutOutError(self._may_not_read_the_group) from error
        except KafkaError as error:
            retriable = not ended and not isinstance(error, REFUSED)
            if retriable:
                coordinator.request_rejoin()  # heartbeats that ended in an error do not begin again without this
            raise BrokerError(
                f"consumer group {self._settings.group_id}: {type(error).__name__} {error}; check kafka.group_id, "
                "kafka.session_timeout_ms and that this client may read the group and its topics",
                retriable=retriable,
            ) from error
        instance = self._settings.group_instance_id
        window = max(RENAMED_WITHIN_S, 10 * self._settings.heartbeat_interval_ms / 1000)
        if instance and len(self._renamed) == RENAMES and time.monotonic() - self._renamed[0] < window:
            raise BrokerError(
                f"kafka.group_instance_id = {instance!r}: the group gave this member a new id {RENAMES} times within "
                f"{window:.0f} s, so another worker joins with the same instance id; give each worker one of its own",
                retriable=False,
            )

    async def _listen(self, listener: Listener, partitions: set[TopicPartition]) -> None:
        try:
            await listener(sorted((tp.topic, tp.partition) for tp in partitions))
        except Exception as error:
            self.failure = error
            raise

    @property
    def member(self) -> Member | None:
        """Us, in the generation in which our partitions were assigned; None when the group has moved on."""
        coordinator = self._consumer._coordinator
        if self._generation is None or coordinator.generation != self._generation or self._member_id is None:
            return None
        settings = self._settings
        return Member(settings.group_id, self._generation, self._member_id, settings.group_instance_id)

    @property
    def _may_not_read_the_group(self) -> str:
        return (
            f"consumer group {self._settings.group_id}: GroupAuthorizationFailedError: grant this client the right to "
            "read the group (as deploy/kafka/acls.sh does)"
        )

    @property
    def client(self) -> Any:
        """Aiokafka's low-level client."""
        return self._consumer._client

    async def committed(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, tuple[int, str]]:
        """Read committed offsets with metadata; partitions without are left out.

        Raises
        ------
        HeldError
            This client may not describe the topics of some; ask for the others without them.
        TimeoutError, KafkaError
            The coordinator does not answer, or refuses.
        """
        asked, coordinator = list(partitions), self._consumer._coordinator
        async with asyncio.timeout(timeout_s):
            while True:
                await coordinator.ensure_coordinator_known()
                try:
                    group = self._settings.group_id
                    return await ask_committed(self.asking, coordinator.coordinator_id, group, asked, timeout_s)
                except TopicAuthorizationFailedError as error:
                    raise _not_ours_to_read("reading the committed offset", error, asked) from error
                except KafkaError as error:
                    if not error.retriable:
                        raise
                    if not isinstance(error, (GroupLoadInProgressError, UnstableOffsetCommit)):
                        coordinator.coordinator_dead()
                await asyncio.sleep(RETRY_PAUSE_S)

    async def bounds(self, partitions: Iterable[Partition], *, end: bool, timeout_s: float) -> dict[Partition, int]:
        """Read the first offsets of partitions, or the ones after the last. Raises TimeoutError, KafkaError."""
        asked = [TopicPartition(*p) for p in partitions]
        call = self._consumer.end_offsets if end else self._consumer.beginning_offsets
        offsets = await asyncio.wait_for(call(asked), timeout_s)
        return {(tp.topic, tp.partition): int(offset) for tp, offset in offsets.items()}

    async def commit(
        self, offsets: dict[Partition, int], timeout_s: float, metadata: Mapping[Partition, str] = NO_METADATA
    ) -> bool:
        """Commit; False when a rebalance has taken a partition away. ``metadata`` is kept beside each offset.

        Commits only as the member and in the generation that the partitions were assigned to. After an eviction,
        aiokafka would commit without a member id, which a broker accepts from anyone while the group is empty; and its
        own retries may come after the next rebalance.

        Raises
        ------
        HeldError
            This client may not read the topics of some; the offsets of all others are committed.
        RightError
            It may not read the group.
        BrokerError
            Not acknowledged within ``timeout_s`` (aiokafka itself would try for ever), or refused.
        """
        coordinator = self._consumer._coordinator
        commits = {TopicPartition(*p): OffsetAndMetadata(offset, metadata.get(p, "")) for p, offset in offsets.items()}
        generation = self._generation
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await coordinator.ensure_coordinator_known()
                    if generation is None or coordinator.generation != generation:
                        return False
                    try:
                        await coordinator._do_commit_offsets(None, commits)
                    except NOT_OURS:
                        return False
                    except KafkaError as error:
                        if not error.retriable:
                            raise
                    else:
                        return True
                    await asyncio.sleep(RETRY_PAUSE_S)
        except TimeoutError as error:
            raise BrokerError(
                f"offset commit of group {self._settings.group_id}: no broker answered within {timeout_s:.0f} s",
                retriable=True,
            ) from error
        except TopicAuthorizationFailedError as error:
            raise _not_ours_to_read("offset commit", error, offsets) from error
        except GroupAuthorizationFailedError as error:
            raise RightError(self._may_not_read_the_group) from error
        except KafkaError as error:
            raise BrokerError(
                f"offset commit of group {self._settings.group_id}: the broker answered {type(error).__name__} {error}",
                retriable=not isinstance(error, REFUSED),
            ) from error

    async def leave(self, timeout_s: float) -> None:
        """Leave the group and close connections, within ``timeout_s`` whatever the broker does."""
        if self._consumer is None:
            return
        task = asyncio.ensure_future(self._consumer.stop())
        if self._generation is None:
            await asyncio.wait({asyncio.ensure_future(self._stop_joining())}, timeout=timeout_s / 2)
        _, late = await asyncio.wait({task}, timeout=timeout_s)
        if late:
            task.cancel()
            with contextlib.suppress(BaseException):
                await asyncio.wait({task}, timeout=1.0)
            log.warning("group_not_left", after_s=timeout_s, note="the session timeout will free the partitions")
        elif task.exception() is not None:
            log.warning("group_not_left", error=repr(task.exception()))

    async def _stop_joining(self) -> None:
        """Leave a group that has not let us in yet.

        aiokafka waits for the answer to its JoinGroup, which may take a rebalance timeout, and leaves only then.
        Without this the coordinator would wait for us too, and give our partitions to nobody meanwhile.
        """
        coordinator = self._consumer._coordinator
        node, member = getattr(coordinator, "coordinator_id", None), getattr(coordinator, "member_id", "")
        if node is None or not member or self._settings.group_instance_id is not None:
            return
        limit_s = self._settings.request_timeout_ms / 1000
        # On another connection: on its own, requests wait for the answer.
        with contextlib.suppress(KafkaError, OSError):
            await leave(self.asking, node, self._settings.group_id, member, limit_s)


def _not_ours_to_read(what: str, error: TopicAuthorizationFailedError, partitions: Iterable[Partition]) -> HeldError:
    (topics,) = error.args
    return HeldError({p: f"{what} of {p[0]}[{p[1]}]: {MAY_NOT_READ}" for p in partitions if p[0] in topics})

"""Sends ready-made record batches in order, acks=all, idempotently where the broker can, within a time limit.

aiokafka's own producer takes single records, waits without limit when the broker is gone, and stops working after
2**31 records of one partition. Here a partition has one batch in flight at a time; a retry has the same bytes and
sequence, so the broker drops what it already has; sequences wrap around like the broker's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka import errors as kafka_errors

from farthing.blocks import OutputBatch
from farthing.errors import BrokerError
from farthing.kafka.client import (
    ProducerId,
    ask_producer_id,
    connect,
    disconnect,
    leader_of,
    make_client,
    partition_count,
    refresh_metadata,
    watch_topic,
)
from farthing.kafka.connecting import connecting
from farthing.kafka.frames import Frames
from farthing.kafka.membership import Member
from farthing.kafka.offsets import Partition
from farthing.kafka.sending import HeldError, OnRefused, Sending
from farthing.kafka.settings import KafkaSettings
from farthing.kafka.transactions import Transactions
from farthing.kafka.verdicts import NO_LEADER, Meaning, verdict_of
from farthing.wire import stamp_producer

log = structlog.get_logger()

MAX_REQUEST_BYTES = 8 << 20
RETRY_PAUSE_S = 0.1
TRIES = 3  # of a batch that the network may have damaged on its way
SAY_AGAIN_S = 5.0  # the same kind of error is logged at most once in this time
SEQUENCE_MASK = 2**31 - 1  # DefaultRecordBatch.incrementSequence: after 2**31 - 1 comes 0

FAILING_S = 1.0  # how long a place is tried that the last send held


def next_sequence(sequence: int, count: int) -> int:
    """Return the sequence after ``count`` records from ``sequence`` on."""
    return (sequence + count) & SEQUENCE_MASK


def named_records(fields: Sequence[Any]) -> list[int]:
    """Return which records of its batch a partition's answer names as the cause (KIP-467, from Produce v8 on)."""
    errors = next((found for found in fields if isinstance(found, (list, tuple))), ())
    return [place for place, *_ in errors]


class BatchProducer:
    """Produces batches, in transactions if it has a ``transactional_id``; one call at a time."""

    def __init__(self, settings: KafkaSettings, transactional_id: str | None = None) -> None:
        self._settings = settings
        self._transactional_id = transactional_id
        self._transactions: Transactions | None = None
        self._begun = 0  # how often the transactional id was taken
        self._busy = asyncio.Lock()  # a transaction ends while nothing is being sent
        self._client: Any = None
        self._frames: Frames
        self._identity: ProducerId | None = None
        self._needs_identity = True
        self._sequences: dict[Partition, int] = {}
        self._in_a_row: dict[Partition, int] = defaultdict(int)  # records refused since one was written
        self._failing: set[Partition] = set()  # held by the last send that wrote to them
        self._logged: dict[str, float] = {}  # when each kind of error was last logged
        self.idempotent = False

    @property
    def is_transactional(self) -> bool:
        """Whether what is sent becomes visible with :meth:`commit` only."""
        return self._transactional_id is not None

    @property
    def has_open(self) -> bool:
        """Whether there is a transaction that can be committed."""
        return self._transactions is not None and self._transactions.is_open and not self._needs_identity

    @property
    def is_spoiled(self) -> bool:
        """Whether there is a transaction that can only be aborted."""
        return self._transactions is not None and self._transactions.is_open and self._needs_identity

    async def start(self) -> None:
        """Connect. Raises BrokerError."""
        self._client = make_client(self._settings)
        self._frames = Frames(self._client)
        if self._transactional_id is not None:
            self._transactions = Transactions(
                self._client, self._transactional_id,
                transaction_timeout_ms=self._settings.transaction_timeout_ms,
                timeout_s=self._settings.delivery_timeout_ms / 1000,
            )  # fmt: skip
        try:
            with connecting(self._settings):
                await asyncio.wait_for(connect(self._client), self._settings.request_timeout_ms / 1000)
                await asyncio.wait_for(self._identify(), self._settings.request_timeout_ms / 1000)
        except BrokerError:
            await self.close(1.0)
            raise

    async def send(self, batches: Sequence[OutputBatch], on_refused: OnRefused | None = None) -> None:
        """Send batches and return when all in-sync replicas have acknowledged all of them.

        Batches of a partition are written in the order given. After an error some may have been written. A batch that
        is refused because of a record in it is halved, unless the broker names the record, until the record is alone;
        then ``on_refused`` returns what to send in its place, to any partition, or None. A record whose timestamp is
        refused is written without one.

        Raises
        ------
        HeldError
            Some places take nothing (rights, a deleted topic, a full disk), or ``on_refused`` returned None.
        BrokerError
            Always ``retriable``: nothing was written for ``delivery_timeout_ms``, or the producer id is lost; the
            caller rebuilds the batches from uncommitted offsets.
        """
        async with self._busy:
            await self._send(batches, on_refused)

    async def commit(self, offsets: Mapping[Partition, int], metadata: Mapping[Partition, str], member: Member) -> bool:
        """End the transaction: what was sent since the last one becomes visible together with the group's offsets.

        Returns
        -------
        False if the group has moved on. Then, as after any error, nothing of it becomes visible: call :meth:`recover`.

        Raises
        ------
        BrokerError
            Whether it became visible is not known before :meth:`recover`.
        """
        assert self._transactions is not None
        begun = self._begun
        async with self._busy:
            if begun != self._begun:  # what belongs to these offsets was aborted while we waited
                raise BrokerError("commit: the transaction was aborted meanwhile", retriable=True)
            self._check_unbroken()
            try:
                ours = await self._transactions.commit(offsets, metadata, member)
            except BaseException:
                self._needs_identity = True
                raise
            self._needs_identity |= not ours
            return ours

    async def recover(self) -> None:
        """End an unfinished transaction: what was sent in it never becomes visible. Raises BrokerError."""
        async with self._busy:
            await self._identify()

    def spoil(self) -> None:
        """If a transaction is open, or something is being sent, make it one that :meth:`recover` can only abort."""
        if self._busy.locked() or (self._transactions is not None and self._transactions.is_open):
            self._needs_identity = True

    def _check_unbroken(self) -> None:
        if self._transactions is not None and self._needs_identity:
            raise BrokerError("produce: the transaction is broken; its events are scored again", retriable=True)

    async def _send(self, batches: Sequence[OutputBatch], on_refused: OnRefused | None) -> None:
        self._check_unbroken()
        sending = Sending({}, on_refused, time.monotonic(), in_a_row=self._in_a_row)
        sending.put(batches)
        try:
            if self._needs_identity:
                await asyncio.wait_for(self._identify(), self._settings.delivery_timeout_ms / 1000)
            while sending.queues:
                await self._round(sending)
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            self._needs_identity = True
            raise BrokerError(f"produce: no broker gives a proper answer ({error!r})", retriable=True) from error
        except BaseException:
            # Batches may or may not be in the log, so their sequences cannot be used again.
            self._needs_identity = True
            raise
        if sending.held:
            self._needs_identity = True
            raise HeldError(sending.held)

    async def partition_count(self, topic: str, *, needed: int) -> int | None:
        """Count a topic's partitions, None if unknown; asks the broker again if fewer than ``needed`` are known."""
        count = partition_count(self._client, topic)
        if count is not None and count >= needed:
            return count
        watch_topic(self._client, topic)
        try:
            await asyncio.wait_for(refresh_metadata(self._client), self._settings.request_timeout_ms / 1000)
        except (kafka_errors.KafkaError, TimeoutError):
            return None
        return partition_count(self._client, topic)

    async def close(self, timeout_s: float) -> None:
        """Close connections, within ``timeout_s``."""
        if self._client is not None:
            await disconnect(self._client, timeout_s)

    async def _identify(self) -> None:
        """Get a producer id (KIP-98), or go on without one if the broker has none. The caller limits the time."""
        self._sequences.clear()
        self._identity = None
        self._needs_identity = True
        if self._transactions is not None:
            self._identity = await self._transactions.begin()
            self.idempotent, self._needs_identity = True, False
            self._begun += 1
            return
        while True:
            given = await ask_producer_id(self._client)
            if given.error is None:
                self._identity = given
                self.idempotent, self._needs_identity = True, False
                return
            if not given.error.retriable:
                break
            await asyncio.sleep(RETRY_PAUSE_S)  # a broker that has just started may still be loading its coordinator
        log.warning("no_idempotence", error=given.error.__name__, note="a retry may write a score twice")
        self.idempotent = self._needs_identity = False

    def _stamp(self, batch: OutputBatch) -> None:
        """Give a batch the next sequence of its partition, the same each time until it is acknowledged."""
        if self._identity is not None:
            sequence = self._sequences.get((batch.topic, batch.partition), 0)
            stamp_producer(
                batch.data, self._identity.producer_id, self._identity.epoch, sequence,
                transactional=self._transactions is not None,
            )  # fmt: skip

    async def _round(self, sending: Sending) -> None:
        """Send the first batch of every partition's queue; remove those that are acknowledged."""
        queues = sending.queues
        limit_s = self._settings.delivery_timeout_ms / 1000
        self._failing |= sending.give_up({p: FAILING_S if p in self._failing else limit_s for p in sending.last})
        if not queues:
            return
        left = sending.progress + limit_s - time.monotonic()
        if left <= 0:
            topic, number = next(iter(queues))
            raise BrokerError(
                f"produce to {topic}[{number}]: no broker acknowledged it within kafka.delivery_timeout_ms = "
                f"{self._settings.delivery_timeout_ms}",
                retriable=True,
            )
        requests: dict[int, list[list[Partition]]] = defaultdict(lambda: [[]])
        sizes: dict[int, int] = defaultdict(int)
        unknown = False
        for partition, queue in queues.items():
            leader = leader_of(self._client, partition)
            if leader is None:
                unknown = True
                sending.last.setdefault(partition, NO_LEADER)
                watch_topic(self._client, partition[0])
                continue
            size = len(queue[0].data)
            if requests[leader][-1] and sizes[leader] + size > MAX_REQUEST_BYTES:
                requests[leader].append([])
                sizes[leader] = 0
            requests[leader][-1].append(partition)
            sizes[leader] += size
        if unknown:
            await asyncio.wait_for(refresh_metadata(self._client), left)
            if not requests:
                await asyncio.sleep(RETRY_PAUSE_S)
        sent = [(node, group) for node, groups in requests.items() for group in groups]
        retry = False
        if self._transactions is not None:
            refused = await self._transactions.add(partition for _, group in sent for partition in group)
            for partition, code in refused.items():
                retry |= await self._settle(sending, partition, code, [])
            sent = [(node, kept) for node, group in sent if (kept := [p for p in group if p not in refused])]
        calls = [self._request(node, group, queues, left) for node, group in sent]
        for answers in [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls):
            retry |= answers is None
            for partition, code, places in answers or ():
                retry |= await self._settle(sending, partition, code, places)
        sending.finish()
        if retry:
            refresh_metadata(self._client)
            await asyncio.sleep(RETRY_PAUSE_S)

    async def _request(
        self, node: int, group: list[Partition], queues: dict[Partition, deque[OutputBatch]], left: float
    ) -> list[tuple[Partition, int, list[int]]] | None:
        """Send one request; returns each partition's error code and the records that it names, None if unanswered."""
        batches = [queues[partition][0] for partition in group]
        for batch in batches:
            self._stamp(batch)
        timeout_ms = max(min(int(left * 1000), self._settings.request_timeout_ms), 1)
        try:
            async with asyncio.timeout(left):
                response = await self._frames.produce(node, batches, timeout_ms, self._transactional_id)
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            if isinstance(error, kafka_errors.KafkaError) and not error.retriable:
                raise
            self._say_retried(f"node {node}", type(error).__name__)
            return None
        return [
            ((topic, number), code, named_records(fields))
            for topic, rows in response.topics
            for number, code, *fields in rows
        ]

    async def _settle(self, sending: Sending, partition: Partition, code: int, places: list[int]) -> bool:
        """Act on the answer to the first batch of a partition's queue; True if it is to be sent again after a pause."""
        verdict = verdict_of(code)
        meaning = verdict.meaning
        if meaning is Meaning.WRITTEN:
            batch = sending.written(partition)
            self._sequences[partition] = next_sequence(self._sequences.get(partition, 0), batch.record_count)
            self._failing.discard(partition)
        elif meaning is Meaning.RENEW:
            topic, number = partition
            raise BrokerError(
                f"produce to {topic}[{number}]: {kafka_errors.for_code(code).__name__}; a new producer id is needed",
                retriable=True,
            )
        elif meaning is Meaning.AGAIN or (meaning is Meaning.RECORD_PERHAPS and sending.tries[partition] < TRIES - 1):
            sending.tries[partition] += 1
            sending.last[partition] = verdict
            self._say_retried(f"produce to {partition[0]}[{partition[1]}]", verdict.name)
            return True
        elif meaning is Meaning.HOLD:
            sending.hold(partition, verdict)
        else:  # it has used no sequence, so what comes in its place takes the one that it had
            await sending.take_apart(partition, code, places)
        return False

    def _say_retried(self, place: str, error: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(error, -math.inf) >= SAY_AGAIN_S:
            self._logged[error] = now
            log.warning("produce_retried", place=place, error=error, note=f"logged once in {SAY_AGAIN_S:.0f} s")

"""One transaction after another: batches and offsets that readers of committed data see together or not at all.

One transactional id belongs to a worker, and the group's offsets are committed with the member id and the generation
under which the partitions were assigned (KIP-447): the broker refuses a transaction of a worker that a rebalance has
passed by. A new worker waits until offsets that are pending in a transaction are settled (``require_stable``).

The requests are those of Kafka before KIP-890's second half: the epoch of a producer id stays the same from one
transaction to the next, and partitions are added before anything is written to them.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import structlog
from aiokafka import errors as kafka_errors

from farthing.errors import BrokerError, RightError
from farthing.kafka.asking import GROUP_COORDINATOR, TRANSACTION_COORDINATOR, ask_coordinator
from farthing.kafka.client import ProducerId, any_node, knows_node, refresh_metadata
from farthing.kafka.error_codes import error_of
from farthing.kafka.fetching import MAY_NOT_READ
from farthing.kafka.frames import Frames
from farthing.kafka.membership import Member
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    INIT_PRODUCER_ID,
    TXN_OFFSET_COMMIT,
    Api,
    Message,
)
from farthing.kafka.sending import HeldError

log = structlog.get_logger()

RETRY_PAUSE_S: Final = 0.02  # the last transaction's markers are usually written within this time
LONGEST_PAUSE_S: Final = 0.5
CONNECTIONS: Final = "farthing.transactions"  # key of our connections in the client

# The last versions before KIP-890's second half, which a client speaks with all of these or with none.
LAST_VERSIONS: Final = {ADD_PARTITIONS_TO_TXN: 3, ADD_OFFSETS_TO_TXN: 3, TXN_OFFSET_COMMIT: 3, END_TXN: 3}

_MOVED: Final = (14, 15, 16)  # the coordinator is loading, is not available, is another node
_AGAIN: Final = (3, 5, 6, 7, 51, 56)  # the topic is not known yet, has no leader; markers are still being written
_FENCED: Final = (47, 48, 49, 59, 90)  # another producer has this id, or the broker has ended the transaction
_NOT_OURS: Final = (22, 25, 27, 82)  # the group has moved on
_RIGHTS: Final = {
    30: "grant this client the right to read the group",
    31: "grant this client the right to write to the topics",
    53: "grant this client the right to write with the transactional id",
}
_REFUSALS: Final = tuple(error_of(code) for code in _RIGHTS)
_TOO_LONG: Final = 50
_OF_PARTITIONS: Final = (3, 17, 29)  # the topic is gone, has no good name, may not be used: others are not concerned
_NOT_ATTEMPTED: Final = 55  # nothing is wrong with this partition, but with another one of the request
_DENIED: Final = 29


class FencedError(BrokerError):
    """The broker has ended the transaction, or another producer has taken the transactional id: nothing is visible."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=True)


class Transactions:
    """The transactions of one producer. One call at a time; batches are sent between :meth:`add` and :meth:`commit`."""

    def __init__(self, client: Any, transactional_id: str, *, transaction_timeout_ms: int, timeout_s: float) -> None:
        """``timeout_s`` is the time limit of each request; the client may be used for other things too."""
        self._client = client
        self._frames = Frames(client, CONNECTIONS)
        self._id = transactional_id
        self._transaction_timeout_ms = transaction_timeout_ms
        self._timeout_s = timeout_s
        self._identity = ProducerId()
        self._added: set[Partition] = set()
        self._open = False
        self._coordinators: dict[tuple[int, str], int] = {}

    @property
    def is_open(self) -> bool:
        """Whether something has been added since the last transaction ended."""
        return self._open

    async def begin(self) -> ProducerId:
        """Take the transactional id: what an earlier producer left open is aborted, and its requests are refused.

        Call it before the group's offsets are read, and again after any error: then it also settles a transaction
        whose end is not known.

        Raises
        ------
        BrokerError
            The broker cannot be reached, or refuses.
        """
        body = {
            "transactional_id": self._id, "transaction_timeout_ms": self._transaction_timeout_ms,
            "producer_id": -1, "producer_epoch": -1,
        }  # fmt: skip
        response = await self._ask(INIT_PRODUCER_ID, body, _error_code)
        self._identity = ProducerId(response["producer_id"], response["producer_epoch"])
        self._added.clear()
        self._open = False
        return self._identity

    async def add(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Make partitions part of the transaction, before anything is written to them.

        Returns
        -------
        Kafka's error codes of those that cannot be part of it; all others are.

        Raises
        ------
        FencedError, BrokerError
            :meth:`begin` must be called again.
        """
        new, refused = set(partitions) - self._added, dict[Partition, int]()
        while new:
            topics = [{"name": topic, "partitions": numbers} for topic, numbers in _by_topic(new).items()]
            body = {
                "v3_and_below_transactional_id": self._id, "v3_and_below_producer_id": self._identity.producer_id,
                "v3_and_below_producer_epoch": self._identity.epoch, "v3_and_below_topics": topics,
            }  # fmt: skip
            self._open = True
            codes = _added_codes(await self._ask(ADD_PARTITIONS_TO_TXN, body, _added_code))
            self._added |= {partition for partition, code in codes.items() if not code}
            bad = {partition: code for partition, code in codes.items() if code in _OF_PARTITIONS}
            refused |= bad
            new = new - self._added - bad.keys() if bad else set()  # the broker adds all of a request, or none
        return refused

    async def commit(
        self, offsets: Mapping[Partition, int], metadata: Mapping[Partition, str], member: Member | None
    ) -> bool:
        """End the transaction, with offsets of the group: all becomes visible together.

        Returns
        -------
        False if the group has moved on, so the partitions are not ours: then nothing becomes visible.

        Raises
        ------
        HeldError
            Some of the offsets' topics may not be read: nothing becomes visible once :meth:`begin` is called.
        FencedError, BrokerError
            Whether it became visible is not known; :meth:`begin` settles it, and the committed offsets say which.
        """
        if offsets:
            if member is None:
                await self.abort()
                return False
            self._open = True
            body = {**self._said(), "group_id": member.group_id}
            await self._ask(ADD_OFFSETS_TO_TXN, body, _error_code)
            body = {
                **self._said(), "group_id": member.group_id, "generation_id": member.generation,
                "member_id": member.member_id, "group_instance_id": member.group_instance_id,
                "topics": _offsets_by_topic(offsets, metadata),
            }  # fmt: skip
            try:
                answer = await self._ask(
                    TXN_OFFSET_COMMIT, body, _offset_code, key=(GROUP_COORDINATOR, member.group_id)
                )
            except _NotOursError:
                await self.abort()
                return False
            denied = sorted(partition for partition, code in _offset_codes(answer).items() if code == _DENIED)
            if denied:
                raise HeldError({p: f"commit of {p[0]}[{p[1]}]: {MAY_NOT_READ}" for p in denied})
        if self._open:
            await self._end(committed=True)
        return True

    async def abort(self) -> None:
        """End the transaction so that nothing of it ever becomes visible. Raises as :meth:`commit`."""
        if self._open:
            await self._end(committed=False)

    async def _end(self, *, committed: bool) -> None:
        await self._ask(END_TXN, {**self._said(), "committed": committed}, _error_code)
        self._added.clear()
        self._open = False

    def _said(self) -> dict[str, Any]:
        return {
            "transactional_id": self._id, "producer_id": self._identity.producer_id,
            "producer_epoch": self._identity.epoch,
        }  # fmt: skip

    async def _ask(
        self,
        api: Api,
        body: Mapping[str, Any],
        code_of: Callable[[Message], int],
        *,
        key: tuple[int, str] | None = None,
    ) -> Message:
        """Ask the coordinator until it answers, within the time limit."""
        key = (TRANSACTION_COORDINATOR, self._id) if key is None else key
        deadline, pause, trouble = time.monotonic() + self._timeout_s, RETRY_PAUSE_S, "no coordinator is known"
        while (left := deadline - time.monotonic()) > 0:
            try:
                node = await asyncio.wait_for(self._coordinator(key), left)
                at_most = LAST_VERSIONS.get(api, 1 << 15)
                response = await self._frames.request(node, api, body, left, at_most=at_most)
            except kafka_errors.IncompatibleBrokerVersion as error:
                raise BrokerError(
                    f"kafka.delivery = 'exactly_once' needs Apache Kafka 2.5 or later: {error}", retriable=False
                ) from error
            except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
                self._coordinators.pop(key, None)
                if isinstance(error, _REFUSALS):  # of the search for the coordinator
                    self._check(api, error.errno)
                trouble = f"{type(error).__name__} {error}"
            else:
                code = code_of(response)
                if code == 0:
                    return response
                trouble = self._check(api, code)
                if code in _MOVED:
                    self._coordinators.pop(key, None)
            await asyncio.sleep(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(2 * pause, LONGEST_PAUSE_S)
        raise BrokerError(
            f"{api} of the transactional id {self._id}: no broker did it within {self._timeout_s:.0f} s ({trouble})",
            retriable=True,
        )

    def _check(self, api: Api, code: int) -> str:
        """Return the name of an error that may pass; raise any other."""
        name = str(error_of(code).__name__)
        place = f"{api} of the transactional id {self._id}"
        if code in _FENCED:
            raise FencedError(
                f"{place}: {name}; it took longer than kafka.transaction_timeout_ms = {self._transaction_timeout_ms}, "
                "or another worker uses the same id"
            )
        if code in _NOT_OURS:
            raise _NotOursError
        if code in _RIGHTS:
            raise RightError(f"{place}: {name}; {_RIGHTS[code]}")
        if code == _TOO_LONG:
            advice = "lower kafka.transaction_timeout_ms, or raise the brokers' transaction.max.timeout.ms"
            raise BrokerError(f"{place}: {name}; {advice}", retriable=False)
        if code not in _MOVED + _AGAIN:
            raise BrokerError(f"{place}: {name} (error code {code})", retriable=True)
        return name

    async def _coordinator(self, key: tuple[int, str]) -> int:
        """Find the node that coordinates a group or a transactional id."""
        known = self._coordinators.get(key)
        if known is not None:
            return known
        kind, name = key
        node = await ask_coordinator(self._frames, any_node(self._client), kind, name, self._timeout_s)
        if not knows_node(self._client, node):
            await refresh_metadata(self._client)
        self._coordinators[key] = node
        return node


class _NotOursError(Exception):
    """The group has given the partitions to another member."""


def _error_code(response: Message) -> int:
    return int(response["error_code"])


def _added_codes(response: Message) -> dict[Partition, int]:
    return {
        (topic["name"], row["partition_index"]): row["partition_error_code"]
        for topic in response["results_by_topic_v3_and_below"]
        for row in topic["results_by_partition"]
    }


def _added_code(response: Message) -> int:
    """Return the error of the whole request: those of single partitions are left out, if there is any."""
    codes = set(_added_codes(response).values())
    return _worst(codes - {*_OF_PARTITIONS, _NOT_ATTEMPTED} if codes.intersection(_OF_PARTITIONS) else codes)


def _offset_codes(response: Message) -> dict[Partition, int]:
    return {
        (topic["name"], row["partition_index"]): row["error_code"]
        for topic in response["topics"]
        for row in topic["partitions"]
    }


def _offset_code(response: Message) -> int:
    """Return the error of the whole request: offsets of a topic that may not be read concern no others."""
    return _worst(code for code in _offset_codes(response).values() if code != _DENIED)


def _worst(codes: Iterable[int]) -> int:
    """Choose the error to act on: one that trying again would not mend, if there is one."""
    errors = [code for code in codes if code]
    return min(errors, key=lambda code: code in _MOVED + _AGAIN, default=0)


def _by_topic(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    topics: dict[str, list[int]] = defaultdict(list)
    for topic, number in sorted(partitions):
        topics[topic].append(number)
    return topics


def _offsets_by_topic(offsets: Mapping[Partition, int], metadata: Mapping[Partition, str]) -> list[dict[str, Any]]:
    rows = {
        partition: {
            "partition_index": partition[1], "committed_offset": offset,
            "committed_metadata": metadata.get(partition, ""),
        }
        for partition, offset in offsets.items()
    }  # fmt: skip
    return [
        {"name": topic, "partitions": [rows[topic, number] for number in numbers]}
        for topic, numbers in _by_topic(offsets).items()
    ]

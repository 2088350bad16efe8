"""Sends requests of :mod:`farthing.kafka.protocol` without copying record batches between the socket and our arrays.

aiokafka gathers a response in a growing byte array, copies each record set out of it, and joins the pieces of a request
five times; at a million events a second that takes most of a relay's time. Here aiokafka still negotiates versions,
opens connections and authenticates; then we take over a connection that nobody else uses. Frames (a big-endian size of
four bytes, then that many bytes) are read into memory of their own, and written from where their pieces are.

This is one of the three modules that use names which aiokafka (>=0.14,<0.15) does not document; the others are
:mod:`farthing.kafka.membership` and :mod:`farthing.kafka.client`. Those used here, each checked by
``tests/kafka/test_contract.py``: of ``aiokafka.client.AIOKafkaClient`` ``_get_conn``; of the connection that it returns
``_writer``, ``_read_task``, ``_versions``, ``_client_id``, ``_closed_fut``, ``_last_action``, ``_next_correlation_id``,
``connected`` and ``close``.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaProtocolError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from farthing.blocks import OutputBatch
from farthing.kafka.protocol import PRODUCE, Api, Message, ProtocolError, best_version, decode, encode

GROUP: Final = "farthing.frames"
"""Key of our connections in aiokafka's client, beside its own groups (default, coordination)."""

ASKING: Final = "farthing.asking"
"""Key of the connections for short questions, which must not wait behind a Fetch that the broker holds.

One that finds its connection closed, because it was idle or its session was over, is asked once more on another."""

PRODUCE_BY_NAME: Final = 12
"""The last version of Produce that names topics; the next has their ids."""

PRODUCE_IN_TRANSACTION: Final = 11
"""The last version of Produce for :mod:`farthing.kafka.transactions`: the next adds partitions by itself."""

ACKS_ALL: Final = -1
MOST_BYTES: Final = 1 << 30
"""A frame that claims to be longer is not one: whatever sent it does not speak Kafka's protocol."""

GRACE_S: Final = 5.0  # for the network, on top of the broker's own time limit
_SIZE: Final = struct.Struct(">i")


class ProducedPartition(NamedTuple):
    """A partition's part of a Produce response, with Kafka's names but for the first."""

    partition: int
    error_code: int
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    record_errors: Sequence[tuple[int, str | None]]  # (place in the batch, message) of each record that was refused
    error_message: str | None


class Produced(NamedTuple):
    """A Produce response: each topic with its partitions."""

    topics: list[tuple[str, list[ProducedPartition]]]


class FrameProtocol(asyncio.BufferedProtocol):
    """Takes over a connected transport from aiokafka; responses come in the order of the requests."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._transport = connection._writer.transport
        self._waiting: deque[tuple[asyncio.Future[memoryview], int]] = deque()
        self._size = bytearray(_SIZE.size)
        self._frame: memoryview | None = None  # None while its size is being read
        self._filled = 0
        connection._read_task.cancel()
        self._transport.pause_reading()  # uvloop decides how to read when reading is resumed
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    def send(self, correlation_id: int, pieces: Sequence[Any]) -> asyncio.Future[memoryview]:
        """Write one request; the future gets the response's frame, without the size. Raises KafkaConnectionError."""
        if self._transport.is_closing() or not self._connection.connected():
            raise KafkaConnectionError("the connection is closed")
        response: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        self._waiting.append((response, correlation_id))
        self._connection._last_action = time.monotonic()
        self._transport.writelines([_SIZE.pack(sum(len(piece) for piece in pieces)), *pieces])
        return response

    async def answer(self, response: asyncio.Future[memoryview], timeout_s: float) -> memoryview:
        """Wait for a response. Raises as :meth:`Frames.request`; costs less than asyncio.wait_for."""
        timer = asyncio.get_running_loop().call_later(timeout_s, self._give_up, response)
        try:
            return await response
        finally:
            timer.cancel()

    def _give_up(self, response: asyncio.Future[memoryview]) -> None:
        if not response.done():
            response.set_exception(RequestTimedOutError())
            self.close()

    def get_buffer(self, _hint: int) -> memoryview:
        """Return where the loop puts the next bytes: room for one frame at most, so that each has its own memory."""
        target = memoryview(self._size) if self._frame is None else self._frame
        return target[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Switch from a size to its frame, and from a frame to the next size."""
        self._filled += nbytes
        if self._frame is None:
            if self._filled == _SIZE.size:
                (size,) = _SIZE.unpack(self._size)
                if not 4 <= size <= MOST_BYTES or not self._waiting:
                    self._break(KafkaProtocolError(f"a frame of {size} bytes came, which nobody asked for"))
                    return
                self._frame, self._filled = np.empty(size, np.uint8).data, 0
        elif self._filled == len(self._frame):
            frame, self._frame, self._filled = self._frame, None, 0
            response, correlation_id = self._waiting[0]
            self._connection._last_action = time.monotonic()
            (received_id,) = _SIZE.unpack(frame[:4])
            if received_id != correlation_id:
                self._break(KafkaProtocolError(f"response {received_id} came for request {correlation_id}"))
                return
            self._waiting.popleft()
            if not response.done():  # otherwise the caller has stopped waiting
                response.set_result(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail open requests and tell aiokafka, which connects again on the next request."""
        self._fail(KafkaConnectionError(f"connection lost: {error}" if error else "the broker closed the connection"))
        if not self._connection._closed_fut.done():
            self._connection._closed_fut.set_result(None)
        self._connection.close(reason=None, exc=error)

    def close(self) -> None:
        """Close the connection, so that a late response is not mistaken for that of another request."""
        self._break(KafkaConnectionError("the connection was closed"))

    def _break(self, error: Exception) -> None:
        self._fail(error)
        self._frame, self._filled = None, 0  # the loop may still read: there must be room, though nobody is waiting
        self._transport.abort()
        self._connection.close(reason=None, exc=error)

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            response, _ = self._waiting.popleft()
            if not response.done():
                response.set_exception(error)


Body = Mapping[str, Any] | Callable[[int], Mapping[str, Any]]
"""A request's body, or what makes it for the version that the connection speaks."""


class Frames:
    """Sends requests over connections of its own, which an aiokafka client opens."""

    def __init__(self, client: Any, group: str = GROUP) -> None:
        """``group`` is for this object alone: whoever takes over a connection must be the only one."""
        self._client = client
        self._group = group
        self._protocols: dict[int, FrameProtocol] = {}

    def connection_of(self, node: int) -> object | None:
        """Return what stands for the connection to a node, if there is one: another after each reconnect."""
        return self._protocols.get(node)

    async def request(self, node: int, api: Api, body: Body, timeout_s: float, *, at_most: int = 1 << 15) -> Message:
        """Send a request in the latest version that the broker knows; wait ``timeout_s`` for the response.

        Returns
        -------
        The response; record batches are memoryviews of its frame.

        Raises
        ------
        KafkaError, OSError
            There was no connection, it broke, or the response is not valid; the connection is then closed.
        IncompatibleBrokerVersion
            The broker knows no version of the API that we know, or that can say what ``body`` does.
        RequestTimedOutError
            There was no response in time; the connection is then closed.
        """
        try:
            return await self._request(node, api, body, timeout_s, at_most)
        except KafkaConnectionError:
            if self._group != ASKING:
                raise
            return await self._request(node, api, body, timeout_s, at_most)

    async def _request(self, node: int, api: Api, body: Body, timeout_s: float, at_most: int) -> Message:
        connection, protocol = await self._connect(node)
        correlation_id = connection._next_correlation_id()
        try:
            version = best_version(api, connection._versions, at_most=at_most)
            said = body(version) if callable(body) else body
            pieces = encode(api, version, said, correlation_id=correlation_id, client_id=connection._client_id)
        except ProtocolError as error:
            raise IncompatibleBrokerVersion(str(error)) from error
        frame = await protocol.answer(protocol.send(correlation_id, pieces), timeout_s)
        try:
            return decode(api, version, frame)
        except ProtocolError as error:
            protocol.close()
            raise KafkaProtocolError(f"a response of {len(frame)} bytes cannot be parsed: {error}"[:200]) from error

    async def produce(
        self, node: int, batches: Sequence[OutputBatch], timeout_ms: int, transactional_id: str | None = None
    ) -> Produced:
        """Send a Produce request, acks=all, with one batch for each partition. Raises as :meth:`request`.

        ``transactional_id`` is that of the transaction which the batches are part of.
        """
        ordered = sorted(batches, key=_topic)
        topics = [
            {"name": topic, "partition_data": [{"index": b.partition, "records": b.data.data} for b in group]}
            for topic, group in groupby(ordered, key=_topic)
        ]
        body = {
            "transactional_id": transactional_id, "acks": ACKS_ALL, "timeout_ms": timeout_ms, "topic_data": topics,
        }  # fmt: skip
        at_most = PRODUCE_BY_NAME if transactional_id is None else PRODUCE_IN_TRANSACTION
        response = await self.request(node, PRODUCE, body, timeout_ms / 1000 + GRACE_S, at_most=at_most)
        return Produced(
            [(topic["name"], list(map(_produced, topic["partition_responses"]))) for topic in response["responses"]]
        )

    async def _connect(self, node: int) -> tuple[Any, FrameProtocol]:
        connection = await self._client._get_conn(node, group=self._group)
        if connection is None:
            raise NodeNotReadyError(f"node {node} cannot be reached")
        protocol = self._protocols.get(node)
        if protocol is None or protocol._connection is not connection:
            protocol = self._protocols[node] = FrameProtocol(connection)
        return connection, protocol


def _produced(row: Message) -> ProducedPartition:
    errors = [(one["batch_index"], one["batch_index_error_message"]) for one in row["record_errors"]]
    return ProducedPartition(
        row["index"], row["error_code"], row["base_offset"], row["log_append_time_ms"], row["log_start_offset"], errors,
        row["error_message"],
    )  # fmt: skip


def _topic(batch: OutputBatch) -> str:
    return batch.topic

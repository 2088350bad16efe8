"""Sends Fetch and Produce requests without copying their record batches between the socket and our arrays.

aiokafka gathers a response in a growing byte array, copies each record set out of it, and joins the pieces of a request
five times; at a million events a second that takes most of a relay's time. Here aiokafka still negotiates versions,
opens connections and authenticates; then we take over a connection that nobody else uses. Frames (a big-endian size of
four bytes, then that many bytes) are read into memory of their own, and written from where their pieces are.

This is one of the three modules that use names which aiokafka (>=0.14,<0.15) does not document; the others are
:mod:`farthing.kafka.membership` and :mod:`farthing.kafka.asking`. Those used here, each checked by
``tests/kafka/test_contract.py``: of ``aiokafka.client.AIOKafkaClient`` ``_get_conn``; of the connection that it returns
``_writer``, ``_read_task``, ``_versions``, ``_client_id``, ``_closed_fut``, ``_last_action``, ``_next_correlation_id``,
``connected`` and ``close``; ``FetchRequest`` of ``aiokafka.protocol.fetch`` and ``ProduceRequest`` of
``aiokafka.protocol.produce``, and of both ``prepare``, ``encode``, ``build_request_header``, ``parse_response_header``,
``API_VERSION`` and ``RESPONSE_TYPE``.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from aiokafka.errors import KafkaConnectionError, KafkaProtocolError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest

from farthing.blocks import OutputBatch

GROUP: Final = "farthing.frames"
"""Key of our connections in aiokafka's client, beside its own groups (default, coordination)."""

ACKS_ALL: Final = -1
READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1
MOST_BYTES: Final = 1 << 30
"""A frame that claims to be longer is not one: whatever sent it does not speak Kafka's protocol."""

SHORT_BYTES: Final = 1024  # shorter parts of a frame are copied: numbers and names, not record sets
GRACE_S: Final = 5.0  # for the network, on top of the broker's own time limit
_SIZE: Final = struct.Struct(">i")


class FrameView:
    """A response for aiokafka's types to parse: long parts are returned as views of the frame."""

    def __init__(self, frame: memoryview) -> None:
        self._frame = frame
        self._at = 0

    def read(self, n: int) -> bytes | memoryview:
        """Return the next ``n`` bytes; fewer at the end, which the types refuse."""
        part = self._frame[self._at : self._at + n]
        self._at += len(part)
        return part if len(part) > SHORT_BYTES else part.tobytes()


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


class Frames:
    """Sends the two requests that carry records, over connections of its own that an aiokafka client opens."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._protocols: dict[int, FrameProtocol] = {}

    async def fetch(self, node: int, request: FetchRequest, timeout_s: float) -> Any:
        """Send a Fetch request; wait ``timeout_s`` for the response.

        Returns
        -------
        aiokafka's response structure; record sets are bytes, or memoryviews where they are long.

        Raises
        ------
        KafkaError, OSError
            There was no connection, it broke, or the response is not valid; the connection is then closed.
        RequestTimedOutError
            There was no response in time; the connection is then closed.
        """
        connection, protocol = await self._connect(node)
        struct_ = request.prepare(connection._versions)
        header = _header(connection, struct_)
        pieces = [header.encode() + struct_.encode()]
        return await self._exchange(protocol, header, struct_, pieces, timeout_s)

    async def produce(self, node: int, batches: Sequence[OutputBatch], timeout_ms: int) -> Any:
        """Send a Produce request, acks=all, with one batch for each partition. Returns and raises as :meth:`fetch`."""
        connection, protocol = await self._connect(node)
        struct_ = ProduceRequest(None, ACKS_ALL, timeout_ms, []).prepare(connection._versions)
        if not 3 <= struct_.API_VERSION <= 8:  # KIP-98 to the last before compact encodings; one layout
            raise KafkaProtocolError(f"Produce v{struct_.API_VERSION} is not supported")
        header = _header(connection, struct_)
        ordered = sorted(batches, key=_topic)
        topics = [(topic, list(group)) for topic, group in groupby(ordered, key=_topic)]
        pieces: list[Any] = [header.encode() + struct.pack(">hhii", -1, ACKS_ALL, timeout_ms, len(topics))]
        for topic, group in topics:
            name = topic.encode()
            pieces.append(struct.pack(f">h{len(name)}si", len(name), name, len(group)))
            for batch in group:
                pieces += (struct.pack(">ii", batch.partition, len(batch.data)), batch.data.data)
        return await self._exchange(protocol, header, struct_, pieces, timeout_ms / 1000 + GRACE_S)

    async def _connect(self, node: int) -> tuple[Any, FrameProtocol]:
        connection = await self._client._get_conn(node, group=GROUP)
        if connection is None:
            raise NodeNotReadyError(f"node {node} cannot be reached")
        protocol = self._protocols.get(node)
        if protocol is None or protocol._connection is not connection:
            protocol = self._protocols[node] = FrameProtocol(connection)
        return connection, protocol

    async def _exchange(
        self, protocol: FrameProtocol, header: Any, struct_: Any, pieces: Sequence[Any], timeout_s: float
    ) -> Any:
        try:
            frame = await asyncio.wait_for(protocol.send(header.correlation_id, pieces), timeout_s)
        except TimeoutError:
            protocol.close()
            raise RequestTimedOutError from None
        view = FrameView(frame)
        try:
            struct_.parse_response_header(view)
            return struct_.RESPONSE_TYPE.decode(view)
        except ValueError as error:  # lengths that run past the frame, names that are not UTF-8
            protocol.close()
            raise KafkaProtocolError(f"a response of {len(frame)} bytes cannot be parsed: {error}"[:200]) from error


def fetch_request(
    topics: Mapping[str, Sequence[tuple[int, int, int]]], *, max_wait_ms: int, max_bytes: int, committed_only: bool
) -> FetchRequest:
    """Build a Fetch request: for each topic (partition, offset, most bytes), and ``max_bytes`` in all."""
    isolation = READ_COMMITTED if committed_only else READ_UNCOMMITTED
    return FetchRequest(max_wait_ms, 1, max_bytes, isolation, list(topics.items()))


def aborted_transactions(row: Sequence[Any]) -> tuple[tuple[int, int], ...]:
    """Return (producer_id, first_offset) of each aborted transaction in one partition's row of a Fetch response."""
    transactions = next((field for field in row[3:-1] if isinstance(field, list)), None) or ()
    return tuple(map(tuple, transactions))


def _topic(batch: OutputBatch) -> str:
    return batch.topic


def _header(connection: Any, struct_: Any) -> Any:
    return struct_.build_request_header(
        correlation_id=connection._next_correlation_id(), client_id=connection._client_id
    )

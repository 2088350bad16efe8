"""A connection to one broker without an event loop, for what must be on time and cost little: generator and readers.

A thread that waits for a socket or a clock goes on almost at once. An event loop wakes by whole
milliseconds, which is as long as the latencies that are measured here. There is no encryption and no login.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from farthing.errors import BrokerError, StartError
from farthing.kafka.protocol import FETCH, METADATA, PRODUCE, Api, ProtocolError, decode, encode

VERSIONS: Final = {FETCH: 11, METADATA: 8, PRODUCE: 8}
"""The last versions without compact fields, which all brokers from Kafka 2.4 on speak."""

TIMEOUT_S: Final = 30.0
CLIENT: Final = "farthing-latency"
PIECE_BYTES: Final = 1 << 16
_SIZE: Final = struct.Struct(">i")

Address = tuple[str, int]


def frame_of(api: Api, body: Mapping[str, Any], number: int = 0) -> bytearray:
    """Lay out a request with its size in front; ``number`` comes back with the response."""
    pieces = encode(api, VERSIONS[api], body, correlation_id=number, client_id=CLIENT)
    frame = bytearray().join([bytes(_SIZE.size), *pieces])
    _SIZE.pack_into(frame, 0, len(frame) - _SIZE.size)
    return frame


class BlockingConnection:
    """A connection whose requests are answered in order. Methods raise BrokerError."""

    def __init__(self, address: Address) -> None:
        self._name = f"{address[0]}:{address[1]}"
        try:
            self._socket = socket.create_connection(address, TIMEOUT_S)
        except OSError as error:
            raise BrokerError(f"the broker at {self._name} cannot be reached: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._early = bytearray()  # came before it was asked for

    def send(self, frame: bytearray) -> None:
        """Hand a whole frame to the system; waits while its buffers are full."""
        try:
            self._socket.sendall(frame)
        except OSError as error:
            raise BrokerError(f"sending to the broker at {self._name}: {error}") from error

    def take_early(self) -> None:
        """Keep what has come, without waiting, so that the broker can go on sending."""
        while select.select([self._socket], [], [], 0)[0]:
            self._early += self._some(PIECE_BYTES)

    def receive(self) -> memoryview:
        """Wait for the next response, at most ``TIMEOUT_S`` for each piece of it; without its size."""
        (size,) = _SIZE.unpack(self._exactly(_SIZE.size))
        return self._exactly(size)

    def _exactly(self, n_bytes: int) -> memoryview:
        found = memoryview(bytearray(n_bytes))
        early = min(n_bytes, len(self._early))
        found[:early] = self._early[:early]
        del self._early[:early]
        at = early
        while at < n_bytes:
            try:
                came = self._socket.recv_into(found[at:])
            except OSError as error:
                raise BrokerError(f"waiting for the broker at {self._name}: {error}") from error
            at += self._checked(came)
        return found

    def _some(self, most_bytes: int) -> bytes:
        try:
            came = self._socket.recv(most_bytes)
        except OSError as error:
            raise BrokerError(f"waiting for the broker at {self._name}: {error}") from error
        self._checked(len(came))
        return came

    def _checked(self, n_bytes: int) -> int:
        if not n_bytes:
            raise BrokerError(f"the broker at {self._name} closed the connection")
        return n_bytes

    def response(self, api: Api) -> Mapping[str, Any]:
        """Wait for the next response, and read all of it."""
        try:
            return decode(api, VERSIONS[api], self.receive())
        except ProtocolError as error:
            raise BrokerError(f"the broker at {self._name} answers with what is no response to us: {error}") from error

    def fileno(self) -> int:
        """Give the descriptor, to be waited for with others."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def leaders_of(servers: Sequence[str], topics: Sequence[str], partitions: int) -> dict[str, dict[int, Address]]:
    """Ask who leads each partition of some topics, until all are led: topic -> partition -> address.

    Raises
    ------
    BrokerError, StartError
        The broker cannot be reached, or some partition is not led in time.
    """
    host, _, port = servers[0].rpartition(":")
    connection = BlockingConnection((host.strip("[]"), int(port)))
    body = {"topics": [{"name": topic} for topic in topics], "allow_auto_topic_creation": False}
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline:
            connection.send(frame_of(METADATA, body))
            answer = connection.response(METADATA)
            nodes = {row["node_id"]: (row["host"], row["port"]) for row in answer["brokers"]}
            found = {
                row["name"]: {
                    one["partition_index"]: nodes[one["leader_id"]]
                    for one in row["partitions"]
                    if one["leader_id"] in nodes
                }
                for row in answer["topics"]
            }
            if all(len(found.get(topic, ())) == partitions for topic in topics):
                return found
            time.sleep(0.1)
    finally:
        connection.close()
    raise StartError(f"no broker leads some of the partitions of {', '.join(topics)} after {TIMEOUT_S:.0f} s")

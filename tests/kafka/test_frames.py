"""Frames against a small server that answers well, badly, late, in pieces, or not at all; on asyncio and on uvloop."""

import asyncio
import contextlib
import struct

import numpy as np
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaProtocolError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.fetch import FetchResponse_v4
from aiokafka.protocol.metadata import MetadataResponse_v0
from aiokafka.protocol.produce import ProduceResponse_v3

from farthing.blocks import OutputBatch
from farthing.kafka import protocol
from farthing.kafka.frames import MOST_BYTES, Frames

NODE = 7
PRODUCE, FETCH, METADATA, API_VERSIONS = 0, 1, 3, 18
LIMIT_S = 20  # of a whole scenario: nothing here waits that long


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Run a scenario on one event loop or the other."""
    runner = asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run
    return lambda scenario: runner(asyncio.wait_for(scenario, LIMIT_S))


def framed(correlation_id, body):
    return struct.pack(">ii", len(body) + 4, correlation_id) + body


def fetch_answer(records, partition=0):
    return FetchResponse_v4(0, [("events", [(partition, 0, 10, 10, [], records)])]).encode()


class Server:
    """Knows its own address and the versions it speaks; what it does with a Fetch or Produce is the test's."""

    def __init__(self, behave):
        self._behave = behave
        self.connections = 0  # that have sent a Fetch or a Produce
        self.requests = []  # (api key, the whole frame)
        self.done = asyncio.Event()  # for behaviours that tell when they have done it

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks = set()
        self.client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{self.port}", request_timeout_ms=5_000)
        await self.client.bootstrap()
        self.frames = Frames(self.client)
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        number = None
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                frame = await reader.readexactly(size)
                key, _, correlation_id = struct.unpack(">hhi", frame[:8])
                if key == API_VERSIONS:
                    known = [(PRODUCE, 3, 3), (FETCH, 4, 4), (METADATA, 0, 0), (API_VERSIONS, 0, 0)]
                    writer.write(framed(correlation_id, ApiVersionResponse_v0(0, known).encode()))
                elif key == METADATA:
                    topics = [(0, "events", [(0, 0, NODE, [NODE], [NODE])])]
                    body = MetadataResponse_v0([(NODE, "127.0.0.1", self.port)], topics).encode()
                    writer.write(framed(correlation_id, body))
                else:
                    if number is None:
                        number = self.connections
                        self.connections += 1
                    self.requests.append((key, frame))
                    await self._behave(self, number, writer, correlation_id)

    async def fetch(self, timeout_s=5.0):
        """Fetch; gives the record set of the first partition."""
        partitions = [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}]
        body = {"max_wait_ms": 100, "min_bytes": 1, "topics": [{"topic": "events", "partitions": partitions}]}
        answer = await self.frames.request(NODE, protocol.FETCH, body, timeout_s)
        return answer["responses"][0]["partitions"][0]["records"]


async def well(_, number, writer, correlation_id):
    """Say which request of which connection this was."""
    writer.write(framed(correlation_id, fetch_answer(b"%d/%d" % (number, correlation_id))))


def once(behaviour):
    """Misbehave on the first connection only."""

    async def behave(server, number, writer, correlation_id):
        await (behaviour if number == 0 else well)(server, number, writer, correlation_id)

    return behave


def test_answers_come_to_those_who_asked(run):
    async def scenario():
        async with Server(well) as server:
            answers = [bytes(a) for a in await asyncio.gather(*(server.fetch() for _ in range(50)))]
            assert server.connections == 1
            assert len(set(answers)) == 50
            assert [a.split(b"/")[0] for a in answers] == [b"0"] * 50
            assert [int(a.split(b"/")[1]) for a in answers] == sorted(int(a.split(b"/")[1]) for a in answers)

    run(scenario())


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 3_000_000])
def test_record_sets_are_views_of_their_own_frame(run, size):
    records = np.random.default_rng(size).bytes(size)

    async def behave(_, __, writer, correlation_id):
        writer.write(framed(correlation_id, fetch_answer(records)))

    async def scenario():
        async with Server(behave) as server:
            first, second = await asyncio.gather(server.fetch(), server.fetch())
            assert isinstance(first, memoryview)
            assert bytes(first) == bytes(second) == records
            if size:  # each frame has memory of its own: what comes later does not change what is in use
                assert not np.shares_memory(np.frombuffer(first, np.uint8), np.frombuffer(second, np.uint8))

    run(scenario())


def test_answers_in_single_bytes_and_several_in_one_piece(run):
    waiting = []

    async def behave(_, __, writer, correlation_id):
        waiting.append(framed(correlation_id, fetch_answer(b"%d" % correlation_id)))
        if len(waiting) == 3:
            joined = b"".join(waiting)
            writer.write(joined[:1])
            for at in range(1, len(joined) - 90):  # the size and the head of the first one byte by byte
                await writer.drain()
                writer.write(joined[at : at + 1])
                await asyncio.sleep(0)
            writer.write(joined[max(1, len(joined) - 90) :])

    async def scenario():
        async with Server(behave) as server:
            answers = [bytes(a) for a in await asyncio.gather(*(server.fetch() for _ in range(3)))]
            assert answers == sorted(answers)
            assert len(set(answers)) == 3

    run(scenario())


@pytest.mark.parametrize("size", [-1, -(2**31), 0, 3, MOST_BYTES + 1, 2**31 - 1])
def test_a_size_that_is_none_closes_the_connection(run, size):
    async def behave(_, __, writer, ___):
        writer.write(struct.pack(">i", size) + b"x" * 100)

    async def scenario():
        async with Server(once(behave)) as server:
            with pytest.raises(KafkaProtocolError, match=f"a frame of {size} bytes"):
                await server.fetch()
            assert bytes(await server.fetch()).startswith(b"1/")  # a new connection

    run(scenario())


def test_a_frame_that_nobody_asked_for_closes_the_connection(run):
    async def behave(server, number, writer, correlation_id):
        await well(server, number, writer, correlation_id)
        writer.write(framed(correlation_id + 1, fetch_answer(b"unasked")))

    async def scenario():
        async with Server(once(behave)) as server:
            assert bytes(await server.fetch()).startswith(b"0/")
            connection = server.frames._protocols[NODE]._connection
            while connection.connected():  # noqa: ASYNC110 - bounded by the scenario's limit
                await asyncio.sleep(0.01)
            assert bytes(await server.fetch()).startswith(b"1/")

    run(scenario())


def test_another_requests_correlation_id_closes_the_connection(run):
    async def behave(_, __, writer, correlation_id):
        writer.write(framed(correlation_id + 1, fetch_answer(b"another's")))

    async def scenario():
        async with Server(once(behave)) as server:
            answers = await asyncio.gather(server.fetch(), server.fetch(), return_exceptions=True)
            assert [type(a) for a in answers] == [KafkaProtocolError, KafkaProtocolError]
            assert bytes(await server.fetch()).startswith(b"1/")

    run(scenario())


@pytest.mark.parametrize("sent", [0, 2, 4, 7, 200_000])
def test_a_connection_lost_on_the_way_fails_all_who_wait(run, sent):
    async def behave(_, __, writer, correlation_id):
        writer.write(framed(correlation_id, fetch_answer(b"x" * 400_000))[:sent])
        await writer.drain()
        writer.transport.abort() if sent % 2 else writer.close()

    async def scenario():
        async with Server(once(behave)) as server:
            answers = await asyncio.gather(server.fetch(), server.fetch(), return_exceptions=True)
            assert [type(a) for a in answers] == [KafkaConnectionError, KafkaConnectionError]
            assert bytes(await server.fetch()).startswith(b"1/")

    run(scenario())


def test_a_late_answer_is_never_anothers(run):
    """The first request times out and its connection is closed, so that what it still brings has nowhere to go."""
    late = asyncio.Event

    async def behave(server, _, writer, correlation_id):
        await server.release.wait()
        with contextlib.suppress(ConnectionError):
            writer.write(framed(correlation_id, fetch_answer(b"late")))
            await writer.drain()
        server.done.set()

    async def scenario():
        async with Server(once(behave)) as server:
            server.release = late()
            with pytest.raises(RequestTimedOutError):
                await server.fetch(timeout_s=0.2)
            second = asyncio.create_task(server.fetch())
            server.release.set()
            await server.done.wait()
            assert bytes(await second).startswith(b"1/")
            assert bytes(await server.fetch()).startswith(b"1/")

    run(scenario())


def test_whoever_gave_up_is_skipped_and_the_next_gets_its_own(run):
    """A request that was cancelled, not timed out, leaves the connection in use: its answer comes and is dropped."""

    async def behave(server, number, writer, correlation_id):
        await server.release.wait()
        await well(server, number, writer, correlation_id)

    async def scenario():
        async with Server(behave) as server:
            server.release = asyncio.Event()
            first = asyncio.create_task(server.fetch())
            while not server.requests:  # noqa: ASYNC110 - bounded by the scenario's limit
                await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.wait({first})
            second = asyncio.create_task(server.fetch())
            server.release.set()
            (_, asked_first), (_, asked_second) = (await second, server.requests)[1]
            ids = [struct.unpack(">i", frame[4:8])[0] for frame in (asked_first, asked_second)]
            assert second.result() == b"0/%d" % ids[1] != b"0/%d" % ids[0]
            assert server.connections == 1

    run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        b"",  # nothing
        fetch_answer(b"x" * 50)[:-1],  # one byte short
        struct.pack(">ii", 0, 2**31 - 1),  # two thousand million topics
        struct.pack(">iih", 0, 1, 2) + b"\xff\xff" + struct.pack(">i", 0),  # a name that is not UTF-8
        struct.pack(">iih", 0, 1, 32767) + b"name",  # a name longer than the frame
    ],
)
def test_an_answer_that_is_none_is_an_error_of_the_protocol(run, body):
    async def behave(_, __, writer, correlation_id):
        writer.write(framed(correlation_id, body))

    async def scenario():
        async with Server(once(behave)) as server:
            with pytest.raises(KafkaProtocolError, match="cannot be parsed"):
                await server.fetch()
            assert bytes(await server.fetch()).startswith(b"1/")

    run(scenario())


def test_nobody_listens(run):
    async def scenario():
        async with Server(well) as server:
            server._server.close()
            with pytest.raises(NodeNotReadyError):
                await server.fetch()

    run(scenario())


def test_produce_writes_the_batches_as_they_lie(run):
    """What is written is what aiokafka would have written, topic by topic, from the arrays themselves."""
    batches = [
        OutputBatch(topic, partition, np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8), 1, 0)
        for topic, partition, size in [("b", 1, 70), ("a", 0, 300_000), ("b", 0, 61), ("ä", 3, 1000)]
    ]

    async def behave(_, __, writer, correlation_id):
        writer.write(framed(correlation_id, ProduceResponse_v3([("b", [(1, 0, 5, -1)])], 0).encode()))

    async def scenario():
        async with Server(behave) as server:
            answer = await server.frames.produce(NODE, batches, 1000)
            assert answer.topics == [("b", [(1, 0, 5, -1, -1, [], None)])]
            ((key, frame),) = server.requests
            assert key == PRODUCE
            return frame

    frame = run(scenario())
    ordered = sorted(batches, key=lambda batch: batch.topic)
    assert [b.data.tobytes() in frame for b in ordered] == [True] * 4
    expected = struct.pack(">hhii", -1, -1, 1000, 3)
    for topic in sorted({b.topic for b in batches}):
        name = topic.encode()
        group = [b for b in batches if b.topic == topic]
        expected += struct.pack(">h", len(name)) + name + struct.pack(">i", len(group))
        for batch in group:
            expected += struct.pack(">ii", batch.partition, len(batch.data)) + batch.data.tobytes()
    assert frame.endswith(expected)

"""What one client may take of a port: time for its request, connections, bytes. Others are answered meanwhile."""

import asyncio
import contextlib
import time

import pytest
from aiohttp import ClientSession

from farthing.process import connections
from farthing.process.probes import listen

HEAD = b"GET /ready HTTP/1.1\r\nHost: localhost\r\n"
AT_ONCE_S = 1.0


@contextlib.asynccontextmanager
async def listening(answer_after_s=0.0):
    async def ready():
        await asyncio.sleep(answer_after_s)
        return True, "running: scoring"

    async def metrics():
        return b"farthing_up 1\n" * 1_000

    endpoint = await listen("127.0.0.1", 0, ready=ready, metrics=metrics)
    try:
        yield endpoint
    finally:
        await endpoint.close()


async def opened(endpoint, said=b""):
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(said)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    return reader, writer


async def everything(reader):
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


async def ready_in(endpoint):
    """Seconds that a probe on a new connection takes."""
    began = time.monotonic()
    async with ClientSession() as client, client.get(f"http://{endpoint.host}:{endpoint.port}/ready") as response:
        assert response.status == 200
    return time.monotonic() - began


@pytest.mark.parametrize("said", [b"", b"G", HEAD, HEAD + b"X: y"], ids=["silent", "letter", "headers", "half"])
async def test_half_a_request_is_closed_in_time(said, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    async with listening() as endpoint:
        reader, writer = await opened(endpoint, said)
        began = time.monotonic()
        left = await asyncio.wait_for(everything(reader), 10)
        assert time.monotonic() - began < 5
        assert left == b"" or left.startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_header_byte_now_and_then_does_not_buy_time(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    async with listening() as endpoint:
        reader, writer = await opened(endpoint, HEAD)

        async def drip():
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        await asyncio.wait_for(everything(reader), 10)
        dripping.cancel()
        writer.close()


async def test_half_a_second_request_is_closed_in_time_too(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    async with listening() as endpoint:
        reader, writer = await opened(endpoint, HEAD + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.write(HEAD)
        left = await asyncio.wait_for(everything(reader), 10)
        assert left.count(b"HTTP/1.1 200") == 0
        writer.close()


async def test_an_idle_connection_is_closed(monkeypatch):
    monkeypatch.setattr(connections, "IDLE_TIMEOUT_S", 0.5)
    async with listening() as endpoint:
        reader, writer = await opened(endpoint, HEAD + b"\r\n")
        assert b"scoring" in await asyncio.wait_for(everything(reader), 10)
        writer.close()


@pytest.mark.parametrize("said", [b"", HEAD, HEAD + b"\r\n"], ids=["silent", "half", "idle"])
async def test_hundreds_of_open_requests_starve_nobody(said):
    async with listening() as endpoint:
        flood = [await opened(endpoint, said) for _ in range(300)]
        for _ in range(3):
            assert await ready_in(endpoint) < AT_ONCE_S
        for reader, _ in flood[: 300 - connections.MOST_CONNECTIONS]:
            await asyncio.wait_for(everything(reader), 10)  # closed
        for _, writer in flood:
            writer.close()


async def test_a_request_that_is_answered_is_not_put_out(monkeypatch):
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 4)
    async with listening(answer_after_s=1.0) as endpoint:
        slow = [await opened(endpoint, HEAD + b"Connection: close\r\n\r\n") for _ in range(3)]
        await asyncio.sleep(0.1)
        flood = [await opened(endpoint, b"G") for _ in range(20)]
        for reader, _ in slow:
            assert b"scoring" in await asyncio.wait_for(everything(reader), 10)
        for _, writer in [*slow, *flood]:
            writer.close()


async def test_headers_without_end_are_refused():
    async with listening() as endpoint:
        reader, writer = await opened(endpoint, HEAD)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20 and not reader.at_eof():
                line = b"X-%08d: " % sent + b"y" * 4_000 + b"\r\n"
                writer.write(line)
                await asyncio.wait_for(writer.drain(), 10)
                sent += len(line)
        left = await asyncio.wait_for(everything(reader), 10)
        assert sent < 8 << 20
        assert left == b"" or left.split()[1] in (b"400", b"431")
        writer.close()


async def test_a_body_is_not_waited_for():
    async with listening() as endpoint:
        for method, status in ((b"POST", b"405"), (b"GET", b"200")):
            head = method + b" /ready HTTP/1.1\r\n"
            reader, writer = await opened(endpoint, head + b"Host: localhost\r\nContent-Length: 1000000000\r\n\r\n")
            first = await asyncio.wait_for(reader.readline(), 5)
            assert first.split()[1] == status
            await asyncio.wait_for(everything(reader), 5)
            writer.close()


async def test_thousands_of_requests_in_one_go_are_not_answered():
    async with listening() as endpoint:
        reader, writer = await opened(endpoint, (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") * 20_000)
        assert await ready_in(endpoint) < AT_ONCE_S
        answered = (await asyncio.wait_for(everything(reader), 20)).count(b"HTTP/1.1 200")
        assert answered < 100
        writer.close()


async def test_an_answer_that_nobody_takes_is_dropped(monkeypatch):
    monkeypatch.setattr(connections, "IDLE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.5)

    async def ready():
        return True, "x" * (64 << 20)

    async def metrics():
        return b""

    endpoint = await listen("127.0.0.1", 0, ready=ready, metrics=metrics)
    try:
        reader, writer = await opened(endpoint, HEAD + b"\r\n")
        await asyncio.sleep(3)  # not reading
        assert len(await asyncio.wait_for(everything(reader), 10)) < 64 << 20
        writer.close()
    finally:
        await endpoint.close()

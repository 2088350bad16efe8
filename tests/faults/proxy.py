"""A TCP proxy between workers and the broker: it delays what passes, and cuts every connection on demand."""

import asyncio
import contextlib

from farthing.local.broker import ApacheKafka
from farthing.local.process import free_port

CHUNK = 1 << 16


class ProxiedKafka(ApacheKafka):
    """A node with a second listener, which tells clients to come to another port: that of the proxy."""

    def __init__(self, **options):
        super().__init__(listeners={"PROXY": "PLAINTEXT"}, **options)
        self.proxy_port = free_port()
        inner = self.addresses["PROXY"]
        advertised = self._properties["advertised.listeners"]
        self._properties["advertised.listeners"] = advertised.replace(inner, f"127.0.0.1:{self.proxy_port}")
        self._write_files()

    def proxy(self):
        return Proxy(self.proxy_port, int(self.addresses["PROXY"].rpartition(":")[2]))


class Proxy:
    """Passes bytes on between ``port`` and ``target``, on loopback."""

    def __init__(self, port, target):
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.delay_s = 0.0  # each way
        self.cuts = 0
        self._port, self._target = port, target
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Cut every connection, whatever is on its way."""
        for task in self._tasks:
            task.cancel()
        self.cuts += len(self._tasks)

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(self._pass(reader, back))
                        group.create_task(self._pass(there, writer))
                finally:
                    back.transport.abort()
        except (asyncio.CancelledError, ExceptionGroup):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader, writer):
        """Pass bytes on; the delay is that of a long way, not of a narrow one: many chunks may be on it."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue()

        async def deliver():
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            while data := await reader.read(CHUNK):
                queue.put_nowait((loop.time() + self.delay_s, data))
            raise ConnectionResetError  # so that the other way ends too
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

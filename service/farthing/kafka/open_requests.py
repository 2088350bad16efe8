"""The Fetch requests that brokers are holding: one of each at most, and whichever is answered first is handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError


class OpenRequests:
    """Requests by the node that was asked."""

    def __init__(self) -> None:
        self.tasks: dict[int, asyncio.Task[list[FetchedPartition]]] = {}

    def begin(self, node: int, request: Coroutine[None, None, list[FetchedPartition]]) -> None:
        """Ask a broker that has no request of ours."""
        self.tasks[node] = asyncio.create_task(request)

    async def answers(self) -> tuple[list[FetchedPartition], bool, BrokerError | None]:
        """Wait for the next answers: what they bring, whether any was a proper one, and what was wrong with another."""
        done, _ = await asyncio.wait(self.tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        parts: list[FetchedPartition] = []
        answered, trouble = False, None
        for node in [node for node, task in self.tasks.items() if task in done]:
            task = self.tasks.pop(node)
            error = task.exception()
            if error is None:
                answered = True
                parts += task.result()
            elif isinstance(error, BrokerError):
                trouble = error
            else:
                raise error
        return parts, answered, trouble

    async def close(self) -> None:
        """Stop waiting."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        self.tasks.clear()

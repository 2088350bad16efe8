"""Keeps a worker in its group: one that is put out for want of a right joins anew, until it is let in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import structlog

from farthing.errors import BrokerError, PutOutError
from farthing.process.probes import Health
from farthing.serving.pipeline import Pipeline

log = structlog.get_logger()

AGAIN_S: Final = 5.0


async def keep_running(
    make: Callable[[], Pipeline], stop: asyncio.Event, health: Health, *, drain_timeout_s: float
) -> None:
    """Run a pipeline until ``stop``, and another one whenever the group has put it out.

    Raises
    ------
    FarthingError
        What the pipeline raises. A start fails where a right is missing; only a worker that had it waits.
    """
    put_out: PutOutError | None = None
    while True:
        pipeline = make()
        try:
            await pipeline.run(stop, drain_timeout_s=drain_timeout_s)
            return
        except PutOutError as error:
            put_out = error
        except BrokerError:
            if put_out is None or pipeline.joined:
                raise
        health.set("stalled", str(put_out))
        log.error("put_out_of_group", error=str(put_out), again_in_s=AGAIN_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), AGAIN_S)
        if stop.is_set():
            return

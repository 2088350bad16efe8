"""Waits until the broker has a coordinator for a group.

A broker that has never had a group creates its topic of offsets when it is first asked for a coordinator, and replies
that there is none until it is done. aiokafka logs each such reply as an error, ten per second, although nothing is
wrong. So we ask first, and raise an error that explains it if the reply stays the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, GroupLoadInProgressError

from farthing.errors import BrokerError
from farthing.kafka.connecting import connecting, reach
from farthing.kafka.settings import KafkaSettings

ASK_AGAIN_S: Final = 0.1


async def wait_for_coordinator(settings: KafkaSettings, group: str) -> None:
    """Wait until the broker names a group's coordinator.

    Raises
    ------
    BrokerError
        No broker can be reached, the broker refuses, or there is no coordinator within ``request_timeout_ms``.
    """
    limit_s = settings.request_timeout_ms / 1000
    await reach(settings)
    admin = AIOKafkaAdminClient(**settings.client_options())
    try:
        with connecting(settings):
            await asyncio.wait_for(admin.start(), limit_s)
            deadline = time.monotonic() + limit_s
            while True:
                try:
                    await asyncio.wait_for(admin.find_coordinator(group), limit_s)
                    return
                except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError) as error:
                    if time.monotonic() > deadline:
                        raise BrokerError(
                            f"the broker has had no coordinator for the group {group} for {limit_s:.0f} s "
                            f"({type(error).__name__}): it cannot create the topic __consumer_offsets; look at its "
                            "log, and check that there are as many brokers as offsets.topic.replication.factor needs",
                            retriable=True,
                        ) from error
                await asyncio.sleep(ASK_AGAIN_S)
    finally:
        await asyncio.wait_for(admin.close(), limit_s)

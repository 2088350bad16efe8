"""Leaves a group for a member that cannot do so itself.

While a member waits to join, the broker answers nothing else on its connection; and a member that just ends keeps the
group waiting until its session has timed out.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.group import LeaveGroupRequest

from farthing.kafka.client import connect, disconnect, make_client
from farthing.kafka.connecting import connecting
from farthing.kafka.settings import KafkaSettings

CLOSE_TIMEOUT_S: Final = 0.5


async def leave_group(settings: KafkaSettings, group: str, member_id: str, timeout_s: float) -> None:
    """Take a member out of a group, on a connection of our own.

    Raises
    ------
    BrokerError
        Not done within ``timeout_s``, or the broker refuses.
    """
    admin = AIOKafkaAdminClient(**settings.client_options())
    client = make_client(settings)
    try:
        with connecting(settings):
            async with asyncio.timeout(timeout_s):
                await admin.start()
                node = await admin.find_coordinator(group)
                await connect(client)
                response = await client.send(node, LeaveGroupRequest(group, member_id))
            if response.error_code:
                raise for_code(response.error_code)
    finally:
        await asyncio.wait(
            [asyncio.ensure_future(admin.close()), asyncio.ensure_future(disconnect(client, 0.5))], timeout=0.5
        )

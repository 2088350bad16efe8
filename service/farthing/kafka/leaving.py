"""Leaves a group for a member that cannot do so itself.

While a member waits to join, the broker answers nothing else on its connection; and a member that just ends keeps the
group waiting until its session has timed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from farthing.kafka.asking import Asking
from farthing.kafka.connecting import connecting
from farthing.kafka.error_codes import error_of
from farthing.kafka.frames import Frames
from farthing.kafka.protocol import LEAVE_GROUP
from farthing.kafka.settings import KafkaSettings

CLOSE_TIMEOUT_S: Final = 0.5
_MEMBERS_SINCE: Final = 3


async def leave_group(settings: KafkaSettings, group: str, member_id: str, timeout_s: float) -> None:
    """Take a member out of a group, on a connection of our own.

    Raises
    ------
    BrokerError
        Not done within ``timeout_s``, or the broker refuses.
    """
    asking = Asking(settings, timeout_s)
    try:
        with connecting(settings):
            async with asyncio.timeout(timeout_s):
                await asking.connect()
                await leave(asking.frames, await asking.coordinator(group), group, member_id, timeout_s)
    finally:
        await asking.close(CLOSE_TIMEOUT_S)


async def leave(frames: Frames, coordinator: int, group: str, member_id: str, timeout_s: float) -> None:
    """Tell a group's coordinator that a member leaves. Raises KafkaError, OSError."""

    def body(version: int) -> Mapping[str, Any]:
        who = {"members": [{"member_id": member_id}]} if version >= _MEMBERS_SINCE else {"member_id": member_id}
        return {"group_id": group} | who

    answer = await frames.request(coordinator, LEAVE_GROUP, body, timeout_s)
    for part in (answer, *answer["members"]):
        if part["error_code"]:
            raise error_of(part["error_code"])(group)

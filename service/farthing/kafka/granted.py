"""Asks the broker which rights this user lacks on topics (KIP-430)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from aiokafka.errors import KafkaError

from farthing.kafka.asking import Asking
from farthing.kafka.connecting import connecting
from farthing.kafka.rights import TopicState
from farthing.kafka.settings import KafkaSettings

CLOSE_TIMEOUT_S: Final = 2.0


async def missing_rights(settings: KafkaSettings, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the operation that is wanted on each topic and not allowed; none from a broker that cannot say.

    Raises
    ------
    BrokerError
        The broker cannot be reached.
    """
    limit_s = settings.request_timeout_ms / 1000
    asking = Asking(settings, limit_s)
    try:
        with connecting(settings):
            await asyncio.wait_for(asking.connect(), limit_s)
            try:
                response = await asyncio.wait_for(asking.rights(wanted), limit_s)
            except KafkaError:  # an older broker, or one that is not Apache Kafka
                return {}
    finally:
        await asking.close(CLOSE_TIMEOUT_S)
    states = [TopicState.read(row) for row in response["topics"]]
    return {
        state.name: wanted[state.name]
        for state in states
        if not state.error and state.rights is not None and wanted[state.name] not in state.rights
    }

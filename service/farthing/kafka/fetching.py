"""Sends one Fetch request to a broker, and takes the response apart by partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.frames import GRACE_S, Frames, aborted_transactions, fetch_request
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings

RETRY_PAUSE_S: Final = 0.2
"""Pause in seconds before a broker that did not answer properly is asked again."""


@dataclass(frozen=True, slots=True)
class PartitionResponse:
    """One partition's part of a Fetch response."""

    part: FetchedPartition
    readable_end: int
    """The offset after the last event that may be read: of committed transactions where only those are read."""
    error: type[Any] | None
    """Kafka's error in place of bytes."""


class Fetching:
    """Fetches bytes from brokers with the settings of one client."""

    def __init__(self, frames: Frames, settings: KafkaSettings) -> None:
        self._frames = frames
        self._settings = settings
        self._committed_only = settings.isolation_level == "read_committed"

    async def ask(self, node: int, positions: Mapping[Partition, int]) -> list[PartitionResponse]:
        """Ask one broker for the bytes from these positions on.

        Raises
        ------
        BrokerError
            It cannot be reached or does not answer in time; ``retriable``.
        """
        settings = self._settings
        topics: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for (topic, number), position in positions.items():
            topics[topic].append((number, position, settings.max_partition_fetch_bytes))
        request = fetch_request(
            topics,
            max_wait_ms=settings.fetch_max_wait_ms,
            max_bytes=settings.fetch_max_bytes,
            committed_only=self._committed_only,
        )
        try:
            response = await self._frames.fetch(node, request, settings.request_timeout_ms / 1000 + GRACE_S)
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            raise BrokerError(f"fetch from broker {node}: {type(error).__name__} {error}", retriable=True) from error
        return [self._read(topic, row, positions[topic, row[0]]) for topic, rows in response.topics for row in rows]

    def _read(self, topic: str, row: Any, position: int) -> PartitionResponse:
        number, code, high_watermark, *_ = row
        last_stable = row[3] if self._committed_only and len(row) > 4 else -1
        part = FetchedPartition(topic, number, position, high_watermark, row[-1] or b"", aborted_transactions(row))
        return PartitionResponse(
            part,
            last_stable if last_stable >= 0 else high_watermark,
            kafka_errors.for_code(code) if code else None,
        )

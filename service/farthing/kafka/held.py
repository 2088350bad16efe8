"""Keeps the partitions of ours that are not fetched for now, each with the reason, while the others go on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from farthing.blocks import FetchedPartition
from farthing.kafka.offsets import Partition

log = structlog.get_logger()

CUT_TIMES = 3
EARLY_TIMES = 3


@dataclass(frozen=True, slots=True)
class _Hold:
    reason: str
    until: float  # monotonic seconds
    until_written: bool  # to be fetched is not enough: what is fetched must be acknowledged too


class HeldPartitions:
    """The held partitions, why, and until when.

    A hold counts even after its time, until the partition is fetched, or until what is fetched is written.
    """

    def __init__(self) -> None:
        self._holds: dict[Partition, _Hold] = {}
        self._cuts: dict[Partition, int] = {}
        self._early: dict[Partition, int] = {}

    @property
    def reasons(self) -> Mapping[Partition, str]:
        """Each held partition's reason."""
        return {partition: hold.reason for partition, hold in self._holds.items()}

    def hold(
        self, partition: Partition, reason: str, again_in_s: float = math.inf, *, until_written: bool = False
    ) -> None:
        """Hold a partition for ``again_in_s``, by default until the next assignment."""
        if partition not in self._holds:
            log.error("partition_held", topic=partition[0], partition=partition[1], reason=reason)
        self._holds[partition] = _Hold(reason, time.monotonic() + again_in_s, until_written)

    def blocks(self, partition: Partition) -> bool:
        """Whether the partition must not be fetched now."""
        hold = self._holds.get(partition)
        return hold is not None and time.monotonic() < hold.until

    def fetched(self, partition: Partition, *, empty: bool = False) -> None:
        """Note that the partition was fetched without an error; ``empty`` says that there was nothing."""
        hold = self._holds.get(partition)
        if hold is not None and not self.blocks(partition) and (empty or not hold.until_written):
            del self._holds[partition]

    def written(self, partition: Partition) -> None:
        """Note that the output for what was fetched is acknowledged."""
        hold = self._holds.get(partition)
        if hold is not None and hold.until_written:
            del self._holds[partition]

    def clear(self) -> None:
        """Forget everything: the partitions are being assigned anew."""
        self._holds.clear()
        self._cuts.clear()
        self._early.clear()

    def comes_early(self, part: FetchedPartition, following: int) -> bool:
        """Whether the batches are beyond the high watermark, perhaps by chance: fetch them again, and do not hold yet.

        A broker notes the high watermark before it reads, so it may send what was appended in between. A batch whose
        base offset or length is wrong is beyond it every time.
        """
        partition = (part.topic, part.partition)
        if following <= part.high_watermark or following == part.fetch_offset:
            self._early.pop(partition, None)
            return False
        self._early[partition] = self._early.get(partition, 0) + 1
        return self._early[partition] < EARLY_TIMES

    def what_is_wrong(self, part: FetchedPartition, following: int) -> str | None:
        """Say why fetched bytes cannot be the log's, if so; ``following`` is the offset after their last batch.

        A checksum does not cover a batch's base offset and length. But a broker sends at least one whole batch, however
        long it is (KIP-74), and nothing beyond the high watermark.
        """
        partition = (part.topic, part.partition)
        if part.fetch_offset < following > part.high_watermark:  # no batches: the log may end before our position
            return (
                f"batches from offset {part.fetch_offset} on claim offsets up to {following - 1}, beyond the log's end"
            )
        if following > part.fetch_offset or not part.data:
            self._cuts.pop(partition, None)
            return None
        # Other brokers may sometimes cut a batch. If it is cut again and again, its length is wrong.
        self._cuts[partition] = self._cuts.get(partition, 0) + 1
        if self._cuts[partition] < CUT_TIMES:
            return None
        return (
            f"no whole batch is in the {len(part.data)} bytes that the broker sends from offset {part.fetch_offset} on"
        )

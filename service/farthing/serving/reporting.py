"""The interface through which the loop reports its work, and a reporter that does nothing, for use without a meter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from farthing.blocks import Int64s
from farthing.kafka import Incarnation, Partition
from farthing.meter.tenants import TenantNames


class Reports(Protocol):
    """Is told about every partition and block, and supplies the metadata of every commit."""

    async def start(self) -> None:
        """Start."""

    def assign(self, partition: Partition, offset: int, metadata: str) -> None:
        """Take over a partition from ``offset`` on; ``metadata`` was committed with it."""

    def move(self, partition: Partition, offset: int, log: int, lost: int) -> None:
        """Go on counting at ``offset`` of the log with this number; ``lost`` events before it were never scored."""

    def name_logs(self, topic_id: Callable[[Partition], str]) -> None:
        """Take the function that gives a partition's topic id, empty if that is not known."""

    async def known_logs(self, partitions: list[Partition]) -> Mapping[Partition, Incarnation]:
        """Look up which logs the books know; partitions that they do not have are left out."""

    def add(
        self,
        partition: Partition,
        next_offset: int,
        counts: Int64s | None = None,
        tenants: tuple[TenantNames, Int64s] | None = None,
    ) -> None:
        """Add what was acknowledged up to ``next_offset``; see :meth:`farthing.serving.accounting.Accounting.add`."""

    def metadata(self, partitions: Iterable[Partition], *, refused: bool = False) -> Mapping[Partition, str]:
        """Return the metadata to commit with these partitions' offsets; shorter if the broker ``refused`` the last."""

    async def publish(self, partitions: Iterable[Partition], *, everything: bool = False) -> None:
        """Have the totals that are due published, without waiting; with ``everything``, wait a moment for the last."""

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Give up partitions."""

    async def close(self, timeout_s: float) -> None:
        """Stop, within ``timeout_s``."""


class NoReports:
    """Does nothing: no usage, no heartbeats, no metadata with the committed offsets."""

    async def start(self) -> None:
        """Do nothing."""

    def assign(self, partition: Partition, offset: int, metadata: str) -> None:
        """Do nothing."""

    def move(self, partition: Partition, offset: int, log: int, lost: int) -> None:
        """Do nothing."""

    def name_logs(self, topic_id: Callable[[Partition], str]) -> None:
        """Do nothing."""

    async def known_logs(self, partitions: list[Partition]) -> Mapping[Partition, Incarnation]:
        """Return nothing."""
        return {}

    def add(
        self,
        partition: Partition,
        next_offset: int,
        counts: Int64s | None = None,
        tenants: tuple[TenantNames, Int64s] | None = None,
    ) -> None:
        """Do nothing."""

    def metadata(self, partitions: Iterable[Partition], *, refused: bool = False) -> Mapping[Partition, str]:
        """Return nothing."""
        return {}

    async def publish(self, partitions: Iterable[Partition], *, everything: bool = False) -> None:
        """Do nothing."""

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Do nothing."""

    async def close(self, timeout_s: float) -> None:
        """Do nothing."""

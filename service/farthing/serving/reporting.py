"""The interface through which the loop reports its work, and a reporter that does nothing, for use without a meter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from farthing.blocks import Int64s
from farthing.kafka import Partition
from farthing.meter.tenants import TenantNames


class Reports(Protocol):
    """Is told about every partition and block, and supplies the metadata of every commit."""

    async def start(self) -> None:
        """Start."""

    def assign(self, partition: Partition, offset: int, metadata: str) -> None:
        """Take over a partition from ``offset`` on; ``metadata`` was committed with it."""

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

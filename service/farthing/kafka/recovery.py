"""Decides where to go on when a position is not in the log, or the log is another one.

Where events were lost that way (retention deleted them before they were scored), it says how many.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import structlog
from aiokafka.errors import KafkaError

from farthing.errors import BrokerError
from farthing.kafka.incarnation import Incarnation
from farthing.kafka.log_watch import Bounds, LogWatch, NewLog
from farthing.kafka.offsets import Partition
from farthing.kafka.settings import KafkaSettings

log = structlog.get_logger()

TRUNCATED_AFTER_S: Final = 3.0

Reason = Literal["retention", "new_log", "known_log"]


@dataclass(frozen=True, slots=True)
class Moved:
    """A partition goes on at another offset. ``lost`` events before it were never scored, and no longer can be."""

    offset: int
    log: int
    """The number of the log that the offset belongs to: it rises when a log is replaced."""
    reason: Reason
    lost: int = 0
    left: int = 0
    """Where the partition was; after ``retention`` everything before it is still to be answered."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a partition begins after an assignment, and what is known of its log."""

    offset: int
    metadata: str  # committed with the offset; empty if there is none
    log: Incarnation | None
    committed: bool = True
    """Whether it is what the group has committed; otherwise ``auto_offset_reset`` chose it."""


class Committed(Protocol):
    """Reads committed offsets and their metadata. Raises TimeoutError, KafkaError."""

    async def __call__(self, partitions: Iterable[Partition], timeout_s: float) -> dict[Partition, tuple[int, str]]:
        """Ask."""


KnownLogs = Callable[[list[Partition]], Awaitable[Mapping[Partition, Incarnation]]]
"""Looks up which logs partitions without a committed offset had before."""


async def no_logs(_: list[Partition]) -> Mapping[Partition, Incarnation]:
    """Know nothing."""
    return {}


class Recovery:
    """Finds the offset at which a partition goes on."""

    def __init__(
        self,
        settings: KafkaSettings,
        watch: LogWatch,
        bounds: Bounds,
        committed: Committed,
        known_logs: KnownLogs,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` returns seconds."""
        self._settings = settings
        self._watch = watch
        self._bounds = bounds
        self._committed = committed
        self._known_logs = known_logs
        self._clock = clock
        self._beyond_since: dict[Partition, float] = {}
        # What was chosen and may not be committed yet. Who asks for a log's end again gets a later one, and what came
        # in between would be left out.
        self._begun: dict[Partition, int] = {}
        self._begun_anew: dict[tuple[Partition, int], int] = {}

    def clear(self) -> None:
        """Forget everything: partitions are given up."""
        self._beyond_since.clear()
        self._begun.clear()
        self._begun_anew.clear()

    async def begin(self, partitions: list[Partition]) -> dict[Partition, Beginning]:
        """Find where to begin: at the group's committed offset, else where ``auto_offset_reset`` says.

        Raises
        ------
        HeldError
            This client may not read the offsets of some: ask for the others without them.
        BrokerError
            A broker cannot be asked; or there is no offset and none may be chosen.
        """
        try:
            committed = await self._committed(partitions, self._settings.request_timeout_ms / 1000)
        except (KafkaError, TimeoutError) as error:
            raise BrokerError(f"reading committed offsets: {type(error).__name__} {error}", retriable=True) from error
        begins = {p: Beginning(offset, text, Incarnation.read(text)) for p, (offset, text) in committed.items()}
        for partition in committed:
            self._begun.pop(partition, None)
        missing = [partition for partition in partitions if partition not in committed]
        if not missing:
            return begins
        if self._settings.auto_offset_reset == "none":
            raise no_offset(missing[0])
        if new := [partition for partition in missing if partition not in self._begun]:
            self._begun |= await self._bounds(new, end=self._settings.auto_offset_reset == "latest")
        # A broker deletes a group's offsets with their topic, so the topic may be a new one.
        known = {partition: self._watch.remembered(partition) for partition in missing}
        if unknown := [partition for partition, log in known.items() if log is None]:
            known |= await self._known_logs(unknown)
        chosen = {p: self._begun[p] for p in missing if p in self._begun}
        return begins | {p: Beginning(offset, "", known[p], committed=False) for p, offset in chosen.items()}

    async def is_beyond(self, partition: Partition, position: int, high_watermark: int) -> bool:
        """Return whether the log has been shorter than our position for a while.

        Apache Kafka answers OFFSET_OUT_OF_RANGE then. Not every broker does, and a worker would wait for ever and look
        healthy. A new leader's high watermark may be behind for a moment (KIP-207), so the broker is asked for the end
        of the log before we believe it.
        """
        now = self._clock()
        if high_watermark >= position:
            self._beyond_since.pop(partition, None)
            return False
        if now - self._beyond_since.setdefault(partition, now) < TRUNCATED_AFTER_S:
            return False
        del self._beyond_since[partition]
        return (await self._bounds([partition], end=True))[partition] < position

    async def out_of_range(self, partition: Partition, position: int) -> Moved | str:
        """Go on after retention has passed the position, or the log has become shorter or another.

        Returns
        -------
        Where to go on; or why not, if the partition is to be held.

        Raises
        ------
        BrokerError
            A broker cannot be asked; or there may be no other position (``kafka.auto_offset_reset = 'none'``).
        """
        new = (await self._watch.check({partition: position})).get(partition)
        if new is not None:
            return await self.new_log(partition, position, new)
        begin, end = await self._both_bounds(partition)
        if position > end:
            return await self.new_log(partition, position, NewLog(f"it ends at offset {end}, before our position"))
        if begin <= position:
            raise BrokerError(
                f"{partition[0]}[{partition[1]}]: the broker refuses offset {position}, and says that the log has "
                f"{begin} to {end}",
                retriable=True,
            )
        if self._settings.auto_offset_reset == "none":
            raise no_offset(partition)
        offset = end if self._settings.auto_offset_reset == "latest" else begin
        lost = offset - position
        note = "retention deleted them before they were scored"
        if offset > begin:
            note += f", or kafka.auto_offset_reset = 'latest' leaves them out (from {begin} on)"
        log.error(
            "events_lost", topic=partition[0], partition=partition[1], offset=position, lost=lost, continues_at=offset,
            note=note,
        )  # fmt: skip
        return Moved(offset, self._watch.number(partition), "retention", lost, position)

    async def new_log(self, partition: Partition, position: int, new: NewLog) -> Moved | str:
        """Go on in a log that has taken another's place, as ``kafka.on_new_log`` says. Returns and raises as above."""
        policy = self._settings.on_new_log
        if policy == "halt":
            return (
                f"the log is not the one that offset {position} belongs to: {new.why}; set kafka.on_new_log = "
                "'earliest' to score it from its beginning, or 'latest' to leave out what is there"
            )
        begin, end = await self._both_bounds(partition)
        offset = begin if new.begins_at is None else max(begin, new.begins_at)
        number = self._watch.number(partition) + 1
        if policy == "latest":
            before = self._begun_anew.get((partition, number), end)
            offset = self._begun_anew[partition, number] = before if begin <= before <= end else end
        log.error(
            "new_log", topic=partition[0], partition=partition[1], offset=position, reason=new.why, continues_at=offset,
        )  # fmt: skip
        return Moved(offset, number, "new_log")

    async def _both_bounds(self, partition: Partition) -> tuple[int, int]:
        begins, ends = await self._bounds([partition], end=False), await self._bounds([partition], end=True)
        return begins[partition], ends[partition]


def no_offset(partition: Partition) -> BrokerError:
    """Say that there is no valid position and that none may be chosen."""
    topic, number = partition
    return BrokerError(
        f"{topic}[{number}] has no committed offset within the log and kafka.auto_offset_reset = 'none'; "
        "commit one for the group, or set 'earliest'",
        retriable=False,
    )

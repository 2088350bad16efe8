"""Sends one Fetch request to a broker, and takes the response apart by partition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors as kafka_errors

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.kafka.error_codes import NEW_TOPIC, error_of
from farthing.kafka.frames import GRACE_S, Frames
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import FETCH, NO_TOPIC_ID, Message
from farthing.kafka.settings import KafkaSettings

RETRY_PAUSE_S: Final = 0.2
"""Pause in seconds before a broker that did not answer properly is asked again."""

FETCH_BY_NAME: Final = 12
"""The last version of Fetch that names topics; the next has their ids (KIP-516)."""

MAY_NOT_READ: Final = "TOPIC_AUTHORIZATION_FAILED: grant this client the right to read the topic"

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1


@dataclass(frozen=True, slots=True)
class LogName:
    """How a Fetch request names a partition: which log it means, so that a broker can refuse one that is another."""

    topic_id: bytes = NO_TOPIC_ID
    leader_epoch: int = -1
    number: int = 0  # see FetchedPartition.log


_BY_NAME: Final = LogName()


@dataclass(frozen=True, slots=True)
class PartitionResponse:
    """One partition's part of a Fetch response."""

    part: FetchedPartition
    readable_end: int
    """The offset after the last event that may be read: of committed transactions where only those are read."""
    log_start: int
    """The first offset that the broker still has; -1 where it does not say."""
    error: type[Any] | None
    """Kafka's error in place of bytes."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch returned. It is void once the consumer has another ``epoch``, because of a rebalance.

    ``answered`` says that some broker answered, perhaps with nothing new, or that there was no partition to ask for.
    """

    epoch: int
    partitions: tuple[FetchedPartition, ...]
    answered: bool = True


class Fetching:
    """Fetches bytes from brokers with the settings of one client."""

    def __init__(
        self, frames: Frames, settings: KafkaSettings, named: Callable[[Partition], LogName] = lambda _: _BY_NAME
    ) -> None:
        """``named`` says which log is meant; without it, topics go by their names."""
        self._frames = frames
        self._settings = settings
        self._named = named
        self._committed_only = settings.isolation_level == "read_committed"

    async def ask(
        self, node: int, positions: Mapping[Partition, int], *, most_bytes: int | None = None
    ) -> list[PartitionResponse]:
        """Ask one broker for the bytes from these positions on.

        With ``most_bytes`` the answer comes at once, with at most that many bytes or one batch of each partition.

        Raises
        ------
        BrokerError
            It cannot be reached or does not answer in time; ``retriable``.
        """
        settings = self._settings
        names = {partition: self._named(partition) for partition in positions}
        by_id = all(name.topic_id != NO_TOPIC_ID for name in names.values())
        topics: dict[str, list[dict[str, int]]] = defaultdict(list)
        for (topic, number), position in positions.items():
            row = {
                "partition": number,
                "current_leader_epoch": names[topic, number].leader_epoch,
                "fetch_offset": position,
                "partition_max_bytes": settings.max_partition_fetch_bytes if most_bytes is None else most_bytes,
            }
            topics[topic].append(row)
        ids = {topic: name.topic_id for (topic, _), name in names.items()}
        body = {
            "max_wait_ms": settings.fetch_max_wait_ms if most_bytes is None else 0,
            "min_bytes": 1 if most_bytes is None else 0,
            "max_bytes": settings.fetch_max_bytes,
            "isolation_level": READ_COMMITTED if self._committed_only else READ_UNCOMMITTED,
            "topics": [{"topic": t, "topic_id": ids[t], "partitions": rows} for t, rows in topics.items()],
        }
        limit_s = settings.request_timeout_ms / 1000 + GRACE_S
        at_most = {} if by_id else {"at_most": FETCH_BY_NAME}
        try:
            response = await self._frames.request(node, FETCH, body, limit_s, **at_most)
            if response["error_code"]:
                raise error_of(response["error_code"])
        except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
            raise BrokerError(f"fetch from broker {node}: {type(error).__name__} {error}", retriable=True) from error
        by_topic_id = {topic_id: topic for topic, topic_id in ids.items()}
        found = []
        for row in response["responses"]:
            name = row["topic"] if row["topic_id"] == NO_TOPIC_ID else by_topic_id.get(row["topic_id"], "")
            found += [
                self._read((name, one["partition_index"]), one, positions, names)
                for one in row["partitions"]
                if (name, one["partition_index"]) in positions
            ]
        return found

    def _read(
        self,
        partition: Partition,
        row: Message,
        positions: Mapping[Partition, int],
        names: Mapping[Partition, LogName],
    ) -> PartitionResponse:
        high_watermark, code = row["high_watermark"], row["error_code"]
        last_stable = row["last_stable_offset"] if self._committed_only else -1
        aborted = tuple((one["producer_id"], one["first_offset"]) for one in row["aborted_transactions"] or ())
        part = FetchedPartition(
            *partition, positions[partition], high_watermark, row["records"] or b"", aborted, names[partition].number
        )
        return PartitionResponse(
            part,
            last_stable if last_stable >= 0 else high_watermark,
            row["log_start_offset"],
            error_of(code) if code else None,
        )


def refused(partition: Partition, position: int, error: type[Any]) -> BrokerError:
    """Return the error that says why a partition is not fetched for the moment."""
    # A topic that was deleted may have been created again: that is checked before the next fetch.
    advice = "; check that the topic exists and that this client may read it" if error in NEW_TOPIC else ""
    return BrokerError(
        f"fetch of {partition[0]}[{partition[1]}] at {position}: {error.__name__}{advice}", retriable=True
    )


def why_held(position: int, error: type[Any]) -> str:
    """Say why a partition is held, and what to do. A broker may answer so for one; others go on."""
    if error is kafka_errors.TopicAuthorizationFailedError:
        return f"fetch at offset {position}: {MAY_NOT_READ}"
    return f"the broker answers {error.__name__} to a fetch at offset {position}: look at its log"

"""Reads the offsets that a group has committed; from OffsetFetch v7 on it waits for open transactions (KIP-447)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka.errors import TopicAuthorizationFailedError

from farthing.kafka.error_codes import error_of
from farthing.kafka.frames import Frames
from farthing.kafka.offsets import Partition
from farthing.kafka.protocol import OFFSET_FETCH

_STABLE_SINCE: Final = 7
_GROUPS_SINCE: Final = 8


async def ask_committed(
    frames: Frames, coordinator: int, group: str, partitions: Iterable[Partition], timeout_s: float
) -> dict[Partition, tuple[int, str]]:
    """Ask a group's coordinator for offsets and their metadata; partitions without one are left out.

    Raises
    ------
    TopicAuthorizationFailedError
        This client may not describe topics, which the error has; ask for the others again.
    KafkaError
        The coordinator refuses, or cannot be reached. ``UnstableOffsetCommit``, retriable: a transaction that commits
        one of the offsets is still open.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    for topic, number in partitions:
        numbers[topic].append(number)
    errors, found = await fetch_committed(frames, coordinator, group, numbers, timeout_s, stable=True)
    types = {where: error_of(code) for where, code in errors.items()}
    for where, error in types.items():
        if error is not TopicAuthorizationFailedError or where is None:
            raise error(group)
    if types:
        raise TopicAuthorizationFailedError({where[0] for where in types if where is not None})
    return found


async def fetch_committed(
    frames: Frames,
    coordinator: int,
    group: str,
    partitions: Mapping[str, Sequence[int]],
    timeout_s: float,
    *,
    stable: bool,
) -> tuple[dict[Partition | None, int], dict[Partition, tuple[int, str]]]:
    """Ask once: the code of each error, by partition (None: of the group); offsets and metadata, where there are any.

    With ``stable``, offsets of a transaction that is still open are an error, where the broker can tell. Raises
    KafkaError, OSError.
    """
    asked = {
        "group_id": group,
        "topics": [{"name": topic, "partition_indexes": list(indexes)} for topic, indexes in partitions.items()],
    }

    def body(version: int) -> Mapping[str, Any]:
        wanted = {"require_stable": True} if stable and version >= _STABLE_SINCE else {}
        return ({"groups": [asked]} if version >= _GROUPS_SINCE else asked) | wanted

    answer = await frames.request(coordinator, OFFSET_FETCH, body, timeout_s)
    codes: dict[Partition | None, int] = {}
    found = {}
    for part in (answer, *answer["groups"]):
        if part["error_code"]:
            codes[None] = part["error_code"]
        for topic in part["topics"]:
            for row in topic["partitions"]:
                partition = topic["name"], row["partition_index"]
                if row["error_code"]:
                    codes[partition] = row["error_code"]
                elif row["committed_offset"] >= 0:
                    found[partition] = (row["committed_offset"], row["metadata"] or "")
    return codes, found

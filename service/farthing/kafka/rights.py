"""What a broker says that this client may do (KIP-430), and what topics are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from farthing.kafka.protocol import Message
from farthing.kafka.protocol.cluster import LEAST_INT32

OPERATIONS: Final = {3: "READ", 4: "WRITE", 5: "CREATE", 8: "DESCRIBE", 10: "DESCRIBE_CONFIGS", 12: "IDEMPOTENT_WRITE"}
"""Bits of Kafka's AclOperation, by name."""

NOT_TOLD: Final = LEAST_INT32


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as a broker describes it."""

    name: str
    error: int  # Kafka's code: 0, 3 (there is none), 29 (this client may not describe it)
    partitions: int = 0
    least_replicas: int = 0
    """Copies of the partition that has the fewest."""
    leaderless: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    """Partitions with replicas that are not in sync."""
    rights: frozenset[str] | None = None
    """None where the broker does not say."""

    @classmethod
    def read(cls, row: Message) -> TopicState:
        """Read one topic of a Metadata response."""
        partitions = row["partitions"]
        behind = [one for one in partitions if len(one["isr_nodes"]) < len(one["replica_nodes"])]
        return cls(
            row["name"],
            row["error_code"],
            len(partitions),
            min((len(one["replica_nodes"]) for one in partitions), default=0),
            tuple(sorted(one["partition_index"] for one in partitions if one["leader_id"] < 0)),
            tuple(sorted(one["partition_index"] for one in behind)),
            rights_of(row["topic_authorized_operations"]),
        )


def rights_of(operations: int) -> frozenset[str] | None:
    """Return the names of the operations in a bit field; None where the broker does not say."""
    if operations == NOT_TOLD:
        return None
    return frozenset(name for bit, name in OPERATIONS.items() if operations >> bit & 1)

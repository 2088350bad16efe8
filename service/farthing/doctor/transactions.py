"""Looks at what exactly-once delivery needs of brokers beside its requests: a right, and enough time."""

from __future__ import annotations

from typing import Final

from farthing.doctor.checks import Row, failed, ok, skipped
from farthing.kafka import KafkaSettings
from farthing.kafka.looking import BrokerLook

FORBIDDEN: Final = 53
"""Kafka's code of a transactional id that this client may not see."""


async def transactional_id(kafka: KafkaSettings, look: BrokerLook) -> list[Row]:
    """Check that we may see a transactional id such as a worker's; the right to write with it contains that."""
    check = "transactional id"
    name, code = await look.transactional_id()
    if code is None:
        return [skipped(check, "this broker does not say (Apache Kafka 3.0 and later do)")]
    if code == FORBIDDEN:
        mend = (
            "grant WRITE: kafka-acls.sh --add --allow-principal User:... --operation Write "
            f"--transactional-id {kafka.group_id}. --resource-pattern-type prefixed"
        )
        return [failed(check, f"this client may not use {name}", mend)]
    return [ok(check, f"this client may see {name}")]


async def longest(kafka: KafkaSettings, look: BrokerLook) -> list[Row]:
    """Check that the broker lets a transaction be open for as long as we ask for."""
    check, ours = "transaction timeout", kafka.transaction_timeout_ms
    most, why = await look.longest_transaction_ms()
    if most is None:
        mend = "grant DESCRIBE_CONFIGS on the cluster to see it here"
        return [skipped(check, f"cannot tell: the broker does not show its setting ({why})", mend)]
    found = f"kafka.transaction_timeout_ms = {ours:,}, transaction.max.timeout.ms = {most:,} at the broker"
    if ours > most:
        return [failed(check, found, "lower ours, or raise the broker's: it refuses the worker's transactions")]
    return [ok(check, found)]

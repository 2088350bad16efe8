"""Farthing's broker settings in librdkafka's terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farthing.kafka.settings import KafkaSettings


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """Give what every client of confluent-kafka takes: address and security. Raises ConfigError for a secret's file."""
    config = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": f"{settings.client_id}-loadtest",
        "security.protocol": settings.security_protocol,
        "ssl.ca.location": _text(settings.ssl_cafile),
        "ssl.certificate.location": _text(settings.ssl_certfile),
        "ssl.key.location": _text(settings.ssl_keyfile),
        "ssl.key.password": settings.ssl_password,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_plain_username,
        "sasl.password": settings.sasl_plain_password,
    }
    return {name: value for name, value in config.items() if value is not None}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def producer_config(settings: KafkaSettings, *, compression: str, linger_ms: int) -> dict[str, Any]:
    """Give what a user's producer takes: acks=all, nothing written twice, keys to partitions as Java's clients do."""
    return {
        **client_config(settings),
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": compression,
        "linger.ms": linger_ms,
        "batch.size": 500_000,
        "partitioner": "murmur2_random",
        "delivery.timeout.ms": settings.delivery_timeout_ms,
        "queue.buffering.max.messages": 200_000,
        "queue.buffering.max.kbytes": 256 << 10,
    }

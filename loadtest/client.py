"""Farthing's broker settings in librdkafka's terms."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from farthing.kafka.oauth import checked
from farthing.kafka.settings import KafkaSettings
from farthing.process.secrets import read_secret

UNKNOWN_LIFE_S: Final = 60.0
"""Until a token that does not say when it expires is asked for again."""


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """Give what every client of confluent-kafka takes: address and security. Raises ConfigError for a secret's file."""
    key_password = settings.ssl_password_file
    config: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": f"{settings.client_id}-loadtest",
        "security.protocol": settings.security_protocol,
        "ssl.ca.location": _text(settings.ssl_cafile),
        "ssl.certificate.location": _text(settings.ssl_certfile),
        "ssl.key.location": _text(settings.ssl_keyfile),
        "ssl.key.password": None if key_password is None else read_secret(key_password, "kafka.ssl_password_file"),
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_plain_username,
        "sasl.password": settings.sasl_plain_password,
    }
    if settings.sasl_mechanism == "OAUTHBEARER":
        config["oauth_cb"] = _token_callback(settings)
    return {name: value for name, value in config.items() if value is not None}


def _token_callback(settings: KafkaSettings) -> Callable[[str], tuple[str, float]]:
    """Give the function that librdkafka asks for a token and the time it expires, in seconds since 1970."""
    provider = settings.client_options()["sasl_oauth_token_provider"]

    def ask(_: str) -> tuple[str, float]:
        token = checked(provider.current(), "the token")
        return token.text, time.time() + UNKNOWN_LIFE_S if token.expires_at is None else token.expires_at

    return ask


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

"""Reads what the output topics take (sizes, keys, timestamps) at the start and every minute, so that it can be minded.

A broker that does not say so has Kafka's defaults; what it refuses all the same is found when it is produced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from farthing.errors import BrokerError, ConfigError
from farthing.kafka.asking import Asking
from farthing.kafka.settings import KafkaSettings
from farthing.wire import DEFAULT_LIMITS, TopicLimits

log = structlog.get_logger()

AGAIN_S: Final = 60.0
AT_ONCE_S: Final = 0.2  # after a refusal; several records may be refused for one change
LIMIT_S: Final = 10.0  # the broker has other things to do than this
NAMES: Final = (
    "max.message.bytes", "segment.bytes", "cleanup.policy", "message.timestamp.type",
    "message.timestamp.before.max.ms", "message.timestamp.after.max.ms", "message.timestamp.difference.max.ms",
)  # fmt: skip


def limits_of(configs: Mapping[str, str]) -> TopicLimits:
    """Return the limits that a topic's settings state; Kafka's default where one is missing or is no number."""

    def number(name: str, default: int) -> int:
        value = configs.get(name) or ""
        return int(value) if value.isascii() and value.isdigit() else default

    # Until Kafka 3.6 there was one bound for both directions; since then it is deprecated, and unlimited by default.
    either = number("message.timestamp.difference.max.ms", DEFAULT_LIMITS.before_max_ms)
    older = "message.timestamp.after.max.ms" not in configs and "message.timestamp.difference.max.ms" in configs
    return TopicLimits(
        max_message_bytes=min(number("max.message.bytes", DEFAULT_LIMITS.max_message_bytes),
                              number("segment.bytes", 1 << 62)),
        compacted="compact" in configs.get("cleanup.policy", "").split(","),
        log_append_time=configs.get("message.timestamp.type") == "LogAppendTime",
        before_max_ms=either if older else number("message.timestamp.before.max.ms", DEFAULT_LIMITS.before_max_ms),
        after_max_ms=either if older else number("message.timestamp.after.max.ms", DEFAULT_LIMITS.after_max_ms),
    )  # fmt: skip


async def describe(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the settings of topics that decide what they take; topics that the broker does not describe are left out.

    Raises
    ------
    BrokerError
        The broker cannot be asked, or describes no topic.
    ConfigError
        A certificate, key or secret cannot be read.
    """
    asking = Asking(settings, LIMIT_S)
    try:
        async with asyncio.timeout(LIMIT_S):
            await asking.connect()
            found, errors = await asking.configs(topics, NAMES)
    except (KafkaError, OSError, ValueError, TimeoutError) as error:
        raise BrokerError(f"describing topics: {type(error).__name__} {error}", retriable=True) from error
    finally:
        await asking.close(1.0)
    if not found:
        said = "; ".join(f"{topic}: {error.__name__}" for topic, error in errors.items())
        raise BrokerError(f"describing topics: {said}", retriable=True)
    return found


class SinkLimits:
    """The limits of the output topics, as last read. :meth:`of` may be called from any thread."""

    def __init__(self, settings: KafkaSettings, topics: Iterable[str]) -> None:
        self._settings = settings
        self._topics = tuple(dict.fromkeys(topics))
        self._limits: Mapping[str, TopicLimits] = MappingProxyType({})
        self._next = 0.0
        self._last = -AT_ONCE_S
        self._reading: asyncio.Task[None] | None = None
        self._said = False

    def of(self, topic: str) -> TopicLimits:
        """Return a topic's limits; Kafka's defaults while they are not known."""
        return self._limits.get(topic, DEFAULT_LIMITS)

    async def read(self) -> None:
        """Read the limits. Where the broker does not state them, those last read stay."""
        self._last = time.monotonic()
        self._next = self._last + AGAIN_S
        try:
            found = await describe(self._settings, self._topics)
        except (BrokerError, ConfigError) as error:  # perhaps a certificate is just being renewed
            self._say_unknown(self._topics, str(error))
            return
        self._say_unknown([topic for topic in self._topics if topic not in found], "the broker does not describe them")
        limits = {topic: limits_of(configs) for topic, configs in found.items()}
        for topic, now in limits.items():
            if now != self.of(topic):
                log.info("topic_limits", topic=topic, max_message_bytes=now.max_message_bytes, compacted=now.compacted,
                         log_append_time=now.log_append_time, before_max_ms=now.before_max_ms,
                         after_max_ms=now.after_max_ms)  # fmt: skip
        self._limits = MappingProxyType({**self._limits, **limits})

    def _say_unknown(self, topics: Sequence[str], error: str) -> None:
        if topics and not self._said:
            self._said = True
            log.warning("topic_limits_unknown", topics=list(topics), error=error, note="Kafka's defaults are assumed; "
                        "grant this client DESCRIBE_CONFIGS on these topics, as deploy/kafka/acls.sh does")  # fmt: skip

    async def read_after_refusal(self) -> None:
        """Read them now, because a broker has just refused what they allow; at most five times a second."""
        if time.monotonic() - self._last >= AT_ONCE_S:
            await self.read()

    def read_when_due(self) -> None:
        """Begin to read them again in the background if they are a minute old."""
        if time.monotonic() >= self._next and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self.read())

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

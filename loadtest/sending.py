"""One user's connection: a confluent-kafka producer that never blocks gevent's loop.

librdkafka sends on its own threads. Python hands events over and calls ``poll(0)`` every few milliseconds to learn what
became of each. Waiting is always ``gevent.sleep``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from confluent_kafka import KafkaException, Producer
from loadtest.events import Batch
from loadtest.histogram import counts_of
from loadtest.totals import SentTotals

POLL_S: Final = 0.005
FULL_POLL_S: Final = 0.002
DRAIN_S: Final = 60.0


class Sending:
    """A batch on its way; librdkafka calls it once for each event."""

    __slots__ = ("batch", "error", "failed", "intended_s", "left", "on_done", "sent")

    def __init__(self, batch: Batch, intended_s: float, on_done: Callable[[Sending], None]) -> None:
        self.batch = batch
        self.intended_s = intended_s  # seconds since the epoch
        self.on_done = on_done
        self.sent = self.left = len(batch)
        self.failed = 0
        self.error: Exception | None = None

    def __call__(self, error: Any, _message: Any) -> None:
        """Note what became of one event."""
        if error is not None:
            self.failed += 1
            self.error = self.error or KafkaException(error)
        self.left -= 1
        if not self.left:
            self.on_done(self)

    def cut(self, sent: int) -> None:
        """Note that only the first ``sent`` events were handed over."""
        self.left -= self.sent - sent
        self.sent = sent
        if not self.left:
            self.on_done(self)


class Connection:
    """A producer for one topic.

    ``on_delivered`` is called for each batch whose events are all acked or failed: the batch, milliseconds since its
    intended time, and the first error or None.
    """

    def __init__(
        self,
        config: dict[str, Any],
        topic: str,
        totals: SentTotals,
        on_delivered: Callable[[Batch, float, Exception | None], None],
    ) -> None:
        self._producer = Producer(config)
        self._topic = topic
        self._totals = totals
        self._on_delivered = on_delivered
        self._under_way = 0

    def send(self, batch: Batch, intended_s: float) -> None:
        """Hand a batch over. Its events bear ``intended_s`` (seconds since the epoch) as their timestamps.

        While librdkafka's queue is full it waits, which makes this batch and the next ones late.
        """
        sending = Sending(batch, intended_s, self._done)
        self._under_way += 1
        timestamp_ms = round(intended_s * 1000)
        topic, produce = self._topic, self._producer.produce
        given = 0
        try:
            for value, key in batch.messages:
                while True:
                    try:
                        produce(topic, value, key, -1, sending, None, timestamp_ms)
                        break
                    except BufferError:
                        self._producer.poll(0)
                        gevent.sleep(FULL_POLL_S)
                    except KafkaException as error:  # refused at once, as a value over message.max.bytes is
                        sending(error.args[0], None)
                        break
                given += 1
        finally:
            if given < len(batch):  # the user was stopped while it waited
                sending.cut(given)
            self._note(batch, given, intended_s)

    def _note(self, batch: Batch, given: int, intended_s: float) -> None:
        now_s = time.time()
        totals = self._totals
        totals.batches += 1
        totals.sent += given
        totals.value_bytes += batch.value_bytes if given == len(batch) else 0
        for ms, n in counts_of([round((now_s - intended_s) * 1000)]).items():
            totals.late_ms[ms] = totals.late_ms.get(ms, 0) + n
        totals.first_s = intended_s if totals.first_s is None else min(totals.first_s, intended_s)
        totals.last_s = now_s

    def _done(self, sending: Sending) -> None:
        self._under_way -= 1
        self._totals.acked += sending.sent - sending.failed
        self._totals.failed += sending.failed
        if sending.error is not None and not self._totals.error:
            self._totals.error = str(sending.error)
        self._on_delivered(sending.batch, (time.time() - sending.intended_s) * 1000, sending.error)

    def poll(self) -> None:
        """Take librdkafka's reports of what was delivered."""
        self._producer.poll(0)

    def drain(self, timeout_s: float = DRAIN_S) -> bool:
        """Wait until every batch is acked or failed; False when it took too long."""
        deadline = time.monotonic() + timeout_s
        while self._under_way:
            if time.monotonic() > deadline:
                return False
            self._producer.poll(0)
            gevent.sleep(POLL_S)
        return True

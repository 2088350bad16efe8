"""Produces a cell's events with librdkafka, which shares no code with Farthing, in a thread of its own."""

import random
import threading
import time

from confluent_kafka import KafkaException, Producer

from .events import Plan

FLUSH_S = 120.0


class Load:
    """Writes ``count`` events at ``rate`` a second. ``headers`` name each event, so bad ones have a name too.

    ``aborting`` adds a second, transactional producer to the same partitions: about every other transaction is aborted.
    """

    def __init__(self, servers, topic, *, seed, count, rate, partitions, bad=0.0, aborting=False):
        self.acknowledged = set()
        self.count = count
        self.sent = 0
        self.failed = []
        self._topic, self._rate, self._seed = topic, rate, seed
        self._plan = Plan(seed, partitions=partitions, bad=bad)
        self._producer = Producer(
            {"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 300_000,
             "compression.type": "lz4", "log_level": 0, "socket.timeout.ms": 10_000, "reconnect.backoff.max.ms": 500}
        )  # fmt: skip
        self._others = Plan(seed, partitions=partitions, prefix="t") if aborting else None
        self._servers = servers
        self._burst = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def burst(self, count):
        """Send some of the events at once, so that there is a backlog."""
        self._burst += count

    def join(self):
        self._thread.join(FLUSH_S * 3)
        assert not self._thread.is_alive(), "the load did not end"
        assert not self.failed, self.failed[:3]

    def _run(self):
        try:
            self._produce()
            assert self._producer.flush(FLUSH_S) == 0, "not all was acknowledged"
        except Exception as error:
            self.failed.append(repr(error))

    def _produce(self):
        began, due, transaction = time.monotonic(), 0.0, 0
        while self.sent < self.count:
            due = (time.monotonic() - began) * self._rate
            extra, self._burst = self._burst, 0
            began -= extra / self._rate
            for _ in range(min(int(due - self.sent) + extra, self.count - self.sent)):
                self._send(self._producer, self._plan.next())
                self.sent += 1
            self._producer.poll(0)
            if self._others is not None and self.sent > transaction * 1_000:
                transaction += 1
                self._transaction(transaction)
            time.sleep(0.005)

    def _send(self, producer, event):
        while True:
            try:
                producer.produce(
                    self._topic, event.value, event.key, event.partition, headers=[("name", event.name)],
                    on_delivery=lambda error, _, name=event.name: self._delivered(error, name),
                )  # fmt: skip
            except BufferError:
                producer.poll(0.1)
            else:
                return

    def _delivered(self, error, name):
        if error is None:
            self.acknowledged.add(name)
        else:
            self.failed.append(f"{name}: {error}")

    def _transaction(self, number):
        """Write fifty events of a transaction, then commit or abort it."""
        name = f"t-{self._topic}-{number}"
        producer = Producer({"bootstrap.servers": self._servers, "transactional.id": name, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        events = [self._others.next() for _ in range(50)]
        for event in events:
            producer.produce(self._topic, event.value, event.key, event.partition, headers=[("name", event.name)])
        producer.flush(30)
        try:
            if random.Random(f"{self._seed}-{number}").random() < 0.5:
                producer.commit_transaction(30)
                self.acknowledged.update(event.name for event in events)
            else:
                producer.abort_transaction(30)
        except KafkaException as error:
            self.failed.append(repr(error))

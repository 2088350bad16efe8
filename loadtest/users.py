"""A user: one producing connection that sends its batches at their intended times."""

from __future__ import annotations

import time

import gevent
from loadtest.pacing import Pacer, phase_s
from locust import User, task


class EventUser(User):
    """Sends events of one task; the subclasses say which, and at what rate unless an option does."""

    abstract = True
    event_task: str
    events_per_second: float
    batch_events: int
    pool_events: int

    @classmethod
    def plan(cls, options):
        """Give the task, the events in a batch and those in the pool."""
        return cls.event_task, options.batch_events or cls.batch_events, cls.pool_events

    def on_start(self):
        """Connect, and wait for this user's turn within the first interval."""
        options = self.environment.parsed_options
        self._generator = self.environment.loadtest.generator
        self._connection = self._generator.connect(self.event_task)
        self._batches = self._generator.batches(self.event_task)
        number = self._generator.number()
        self._at = number * len(self._batches) // 7  # users do not send the same events at the same time
        interval_s = len(self._batches[0]) / (options.events_per_second or self.events_per_second)
        gevent.sleep(phase_s(number, interval_s))
        self._pacer = Pacer(time.monotonic(), interval_s)

    def wait_time(self):
        """Seconds to the next batch; Locust sleeps as long."""
        return self._pacer.wait_s(time.monotonic())

    @task
    def send(self):
        """Hand the next batch over. It bears the time at which it was due, late or not."""
        intended_s = self._pacer.take() + self._generator.wall_s
        self._at += 1
        self._connection.send(self._batches[self._at % len(self._batches)], intended_s)

    def on_stop(self):
        """Wait until everything that was handed over is acknowledged or refused."""
        if not self._generator.disconnect(self._connection):
            self.environment.events.user_error.fire(
                user_instance=self, exception=TimeoutError("batches were not acknowledged in time"), tb=None
            )

"""Puts load on a running Farthing with Locust: ``locust -f loadtest/locustfile.py --farthing-config farthing.toml``.

    locust -f loadtest/locustfile.py --headless -u 10 -t 60s --csv out/run --html out/run.html ModerationUser

One user is one producing connection; ten of them send 100,000 events a second. ``--shape`` says how users come and go,
``--help`` lists the rest under "Farthing". The exit code is 1 when the generator fell behind its schedule, events were
lost or ``--target-p99-ms`` was missed. Distribute it with ``--processes 2``, or ``--master`` and ``--worker``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from locust import LoadTestShape, events

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Locust runs from anywhere

from loadtest.options import add_options
from loadtest.run import install
from loadtest.shapes import DEFAULT_RUN_S, users_at
from loadtest.users import EventUser

events.init_command_line_parser.add_listener(add_options)
events.init.add_listener(install)

SPAWN_RATE = 100  # users a second: a step is a step


class ModerationUser(EventUser):
    """Comments, about 140 bytes each."""

    event_task = "moderation"
    events_per_second = 10_000
    batch_events = 500
    pool_events = 20_000


class BiddingUser(EventUser):
    """OpenRTB bid requests, about 900 bytes each."""

    event_task = "bidding"
    events_per_second = 5_000
    batch_events = 250
    pool_events = 10_000


class RerankUser(EventUser):
    """Queries, most with about 20 candidates, some with 200."""

    event_task = "rerank"
    events_per_second = 200
    batch_events = 10
    pool_events = 1_000


class Shape(LoadTestShape):
    """The shape that ``--shape`` names, up to ``--users`` within ``--run-time``."""

    use_common_options = True

    def tick(self):
        """Give the users of now, or None after the end."""
        environment = self.runner.environment
        options = environment.parsed_options
        run_s = options.run_time or DEFAULT_RUN_S[options.shape]
        users = users_at(options.shape, environment.loadtest.elapsed_s(), run_s, options.num_users or 1)
        return None if users is None else (users, SPAWN_RATE)

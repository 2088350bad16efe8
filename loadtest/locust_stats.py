"""Adds many latencies at once to Locust's statistics, whose own events are for one request each: 100,000 come a second.

They have a separate entry and are not part of "Aggregated", which is about what was sent. Locust keeps two digits of a
response time, so percentiles in its page, CSV and HTML are within 5 %; the run's summary and the tab "Farthing" have
those of :mod:`loadtest.histogram`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from locust.stats import RequestStats, StatsEntry, bucket_response_time


def add_latencies(stats: RequestStats, method: str, name: str, counts: Mapping[int, int], n_bytes: int) -> None:
    """Add requests (ms -> number) that took so long, with ``n_bytes`` of content together, to an entry."""
    now_s = time.time()
    entry = StatsEntry(stats, name, method)
    n = sum(counts.values())
    entry.num_requests = n
    entry.total_response_time = sum(ms * count for ms, count in counts.items())
    entry.min_response_time = min(counts)
    entry.max_response_time = max(counts)
    entry.total_content_length = n_bytes
    entry.last_request_timestamp = now_s
    entry.num_reqs_per_sec[int(now_s)] = n
    for ms, count in counts.items():
        entry.response_times[bucket_response_time(ms)] += count
    stats.get(name, method).extend(entry)

"""What a model costs: ns an event for featurize, embedding bag and net, measured on one core of this machine."""

from __future__ import annotations

import statistics
import time

from farthing.comments import comment_events
from farthing.scorer import Scorer

EVENTS, ROUNDS = 4_096, 9


def ns_per_event(scorer: Scorer) -> float:
    """Time scoring on made-up comments of about 100 bytes; the median of rounds after one to warm up.

    Reading the events and writing the answers, which do not depend on the model, are left out.
    """
    records = scorer.records_of(comment_events(EVENTS))
    columns = scorer.parse(records)
    times = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        scorer.score(scorer.featurize(columns, records))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:]) / EVENTS * 1e9

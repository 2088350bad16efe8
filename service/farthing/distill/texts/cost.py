"""Measures what a model costs on one core of this machine: ns per event for featurize, embedding bag and net."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence

from farthing.blocks import RecordBlock
from farthing.local.comments import comment_events
from farthing.model.stages import Stages

EVENTS, ROUNDS = 4_096, 9


def ns_per_event(stages: Stages, events: Sequence[bytes] = ()) -> float:
    """Return the CPU time for scoring an event in ns: the median of rounds after one to warm up.

    It is CPU time, so that other work on the machine matters less. Events are those given, repeated, or made-up
    comments of about 100 bytes. Parsing events and writing records, which do not depend on the model, are left out.
    """
    taken = list(itertools.islice(itertools.cycle(events), EVENTS)) if events else comment_events(EVENTS)
    records = RecordBlock.of_values(taken)
    columns = stages.parse(records)
    times = []
    for _ in range(ROUNDS + 1):
        began = time.process_time()
        stages.score(stages.prepare(columns, records))
        times.append(time.process_time() - began)
    return statistics.median(times[1:]) / EVENTS * 1e9

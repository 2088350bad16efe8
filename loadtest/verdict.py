"""Whether a run is valid, and whether the service met its limits: pure arithmetic on counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtest.histogram import added, percentile_ms
from loadtest.totals import SentTotals

LATE_SHARE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run must not exceed. ``target_p99_ms`` None: no target."""

    late_ms: int
    drain_s: float
    target_p99_ms: int | None = None


def reasons(
    limits: Limits,
    sent: Mapping[str, SentTotals],
    answers: Mapping[str, Mapping[str, Any]] | None,
    latency_ms: Mapping[int, int],
    *,
    silent: Sequence[str] = (),
    reader_ended: bool = False,
) -> list[str]:
    """Give the reasons for which a run has failed; none when it has passed.

        Parameters
        ----------
        sent, answers:
            By source topic. ``answers`` None: the score topics were not read.
        latency_ms:
            Answers by milliseconds since their intended send time.
        silent:
    Generator processes that did not report what they sent.
    """
    failures = [f"generator process {name} did not report what it sent" for name in silent]
    if not any(one.sent for one in sent.values()):
        return [*failures, "no event was sent"]
    late = percentile_ms(added(*(one.late_ms for one in sent.values())), LATE_SHARE)
    if late is not None and late > limits.late_ms:
        failures.append(
            f"the generator saturated: one batch in a hundred was handed over {late} ms or more after its intended "
            f"time (limit {limits.late_ms} ms); use more generator processes, or fewer events per second"
        )
    for topic, one in sent.items():
        if one.failed:
            failures.append(f"{one.failed} events of {topic} were not delivered: {one.error}")
        if one.sent > one.acked + one.failed:
            left = one.sent - one.acked - one.failed
            failures.append(f"{left} events of {topic} were neither acknowledged nor refused")
    if reader_ended:
        failures.append("the reader of the score topics has ended: see standard error")
    if answers is None:
        return failures
    for topic, one in sent.items():
        results = answers.get(topic, {"scored": 0, "dead": 0, "repeated": 0})
        answered = results["scored"] + results["dead"] - results["repeated"]
        if answered < one.acked:
            failures.append(
                f"{one.acked - answered} of {one.acked} acknowledged events of {topic} had neither a score nor a dead "
                f"letter after {limits.drain_s:.0f} s without any more: they are lost, or the service is behind or down"
            )
        elif answered > one.acked + one.failed:
            failures.append(
                f"{topic} has more answers ({answered}) than events sent ({one.sent}): who else writes there?"
            )
    p99 = percentile_ms(latency_ms, 0.99)
    if limits.target_p99_ms is not None and (p99 is None or p99 > limits.target_p99_ms):
        measured = "was not measured" if p99 is None else f"was {p99} ms"
        failures.append(f"the end-to-end p99 {measured}; the target is {limits.target_p99_ms} ms")
    return failures

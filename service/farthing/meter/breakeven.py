"""Computes the volume from which a tuned model is cheaper, when its training is paid back, and what to do now.

An API has a price per event. A deployment has a price per day and a small one per event, and its cost jumps whenever
another whole core is needed. The threshold is the volume from which the tuned model is cheaper *for good*: no later
jump makes the API cheaper again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final, Literal

from farthing.meter.money import SCENARIOS, Interval, Scenario
from farthing.meter.own_cost import OwnPlan

Verdict = Literal["api", "tuned", "undecided"]

MOST_EVENTS_PER_DAY: Final = 10**15
"""A threshold above this counts as none: 11.6 billion events a second."""

MOST_STEPS: Final = 2_000
"""Whole cores that are looked at one by one: a page asks for hundreds of thresholds and cannot wait for more."""

MOST_DAYS: Final = 3_650
"""A payback after more than ten years counts as none."""

_TURNED: Final[dict[Scenario, Scenario]] = {"low": "high", "mid": "mid", "high": "low"}
_CONTEXT: Final = Context(prec=40)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Events a day from which the tuned model is cheaper; None means never.

    ``low`` assumes the cheapest own cost and the most expensive API, ``high`` the reverse.
    """

    low: int | None
    mid: int | None
    high: int | None

    def raised_to(self, floor: Interval | None) -> Threshold:
        """Raise the threshold above a volume for which the API is free."""
        if floor is None:
            return self

        def lift(value: int | None, least: Fraction) -> int | None:
            return None if value is None else max(value, math.floor(least) + 1)

        return Threshold(lift(self.low, floor.low), lift(self.mid, floor.mid), lift(self.high, floor.high))

    def as_dict(self) -> dict[str, int | None]:
        """Return it as JSON types."""
        return {"low": self.low, "mid": self.mid, "high": self.high}


@dataclass(frozen=True, slots=True)
class Point:
    """The costs at one volume."""

    events_per_day: int
    own_usd: Interval  # a day
    api_usd: Interval  # a day; zero where a free endpoint accepts the volume


def threshold(own: OwnPlan, api_usd_per_event: Interval, free_up_to: Interval | None = None) -> Threshold:
    """Find the break-even volume.

    Parameters
    ----------
    own:
        The deployment.
    api_usd_per_event:
        The alternative, in dollars an event.
    free_up_to:
        Events a day that a free endpoint accepts.
    """
    volumes = {s: _cheaper_for_good(own, api_usd_per_event.at(_TURNED[s]), s) for s in SCENARIOS}
    return Threshold(volumes["low"], volumes["mid"], volumes["high"]).raised_to(free_up_to)


def _cheaper_for_good(own: OwnPlan, api_usd: Fraction, scenario: Scenario) -> int | None:
    """Return the least volume from which own cost stays below the API's. Exact, except for one case that is rounded up.

    Own cost jumps with each core and hardly grows between jumps, so only the first volume of every step has to be
    checked. Own costs lie between two straight lines, which limit where the last step with a loss can be.
    """
    margin = api_usd - own.per_event_usd(scenario)
    capacity = own.events_per_worker_core(scenario)
    slope = margin - own.core_day_usd * (1 + own.broker_cores_per_worker_core) / capacity
    if slope <= 0:
        return None
    fixed = own.fixed_usd(scenario) + own.core_day_usd * own.ledger_cores
    least_cores = own.cores_with(own.min_worker_cores) * own.core_day_usd + own.fixed_usd(scenario)
    # Above this volume it wins whatever rounding up to whole cores adds: at most a worker, its broker share, one more.
    rounding = own.core_day_usd * (2 + own.broker_cores_per_worker_core)
    sure = max(math.floor((fixed + rounding) / slope), math.floor(least_cores / margin)) + 1
    if sure > MOST_EVENTS_PER_DAY:
        return None

    constant_usd = own.fixed_usd(scenario)

    def wins(events: int) -> bool:
        return own.core_day_usd * own.cores(events, scenario) + constant_usd < margin * events

    first_step = own.worker_cores(max(1, math.floor(fixed / margin)), scenario)
    last_step = own.worker_cores(sure, scenario)
    if last_step - first_step > MOST_STEPS:  # the API's price is hardly above a core's: steps are tiny beside the sum
        return sure
    for cores in range(last_step, first_step - 1, -1):
        start = math.floor((cores - 1) * capacity) + 1 if cores > own.min_worker_cores else 1
        stop = math.floor(cores * capacity)
        if not wins(start):
            cost = own.core_day_usd * own.cores_with(cores) + constant_usd
            return min(math.floor(cost / margin) + 1, stop + 1)
    return max(1, math.floor((first_step - 1) * capacity) + 1) if first_step > own.min_worker_cores else 1


def curve(
    own: OwnPlan, api_usd_per_event: Interval, volumes: Sequence[int], free_up_to: Interval | None = None
) -> tuple[Point, ...]:
    """Return both costs at some volumes. Where a free endpoint's middle estimate accepts a volume, the API is free."""
    points = []
    for events in volumes:
        free = free_up_to is not None and events <= free_up_to.mid
        api = Interval.of(0) if free else api_usd_per_event.times(events)
        points.append(Point(events, own.day(events), api))
    return tuple(points)


def verdict(events_per_day: int, at: Threshold) -> Verdict:
    """Say what is cheaper at a volume; undecided between the low and the high threshold."""
    if at.high is not None and events_per_day >= at.high:
        return "tuned"
    if at.low is None or events_per_day < at.low:
        return "api"
    return "undecided"


@dataclass(frozen=True, slots=True)
class Payback:
    """Days until the one-off costs are paid back; None means not within ten years. Low is the soonest."""

    low: int | None
    mid: int | None
    high: int | None

    def as_dict(self) -> dict[str, int | None]:
        """Return it as JSON types."""
        return {"low": self.low, "mid": self.mid, "high": self.high}


def payback(own: OwnPlan, point: Point, yearly_price_fall: Decimal) -> Payback:
    """Return the days until the one-off costs are paid back at a volume.

    Each day saves the API's price on that day less the running cost, in which one-off costs are not included. The API's
    price falls by ``yearly_price_fall`` (0.3: by 30 %) a year, a little every day.
    """

    def days(scenario: Scenario) -> int | None:
        once = own.one_off_usd.at(scenario)
        running = point.own_usd.at(scenario) - once / own.horizon_days
        return _days_until(once, point.api_usd.at(_TURNED[scenario]), running, yearly_price_fall)

    return Payback(days("low"), days("mid"), days("high"))


def _days_until(once: Fraction, api: Fraction, running: Fraction, yearly_fall: Decimal) -> int | None:
    if once == 0:
        return 0
    if api <= running:
        return None
    if yearly_fall == 0:
        days = math.ceil(once / (api - running))
        return days if days <= MOST_DAYS else None
    daily = Fraction(_CONTEXT.power(1 - yearly_fall, _CONTEXT.divide(Decimal(1), Decimal(365)))).limit_denominator(
        10**15
    )
    earned, price = Fraction(0), api
    for day in range(1, MOST_DAYS + 1):
        if price <= running:
            return None
        earned += price - running
        if earned >= once:
            return day
        price = (price * daily).limit_denominator(10**15)
    return None


def after_years(api_usd_per_event: Interval, years: int, yearly_price_fall: Decimal) -> Interval:
    """Return the price of an event after prices have fallen for some years."""
    return api_usd_per_event.times((1 - Fraction(yearly_price_fall)) ** years)


def error_usd_allowed(point: Point, gap: Fraction) -> Interval | None:
    """Return the most that one error may cost for the tuned model to stay cheaper when ``gap`` more events are wrong.

    None when the tuned model is not cheaper even without errors.
    """
    extra = [(point.api_usd.at(s) - point.own_usd.at(_TURNED[s])) / (point.events_per_day * gap) for s in SCENARIOS]
    return None if extra[1] <= 0 else Interval(max(Fraction(0), extra[0]), extra[1], extra[2])

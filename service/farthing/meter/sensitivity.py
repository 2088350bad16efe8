"""Sensitivity analysis: computes the threshold again with one assumption changed at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from farthing.meter.breakeven import Threshold, Verdict, after_years, threshold, verdict
from farthing.meter.money import Interval
from farthing.meter.own_cost import OwnPlan

YEARS: Final = (1, 2, 3)
UTILIZATIONS: Final = (Fraction(1, 10), Fraction(3, 10), Fraction(6, 10))
LABELLING_FACTORS: Final = (0, 10)
GAPS: Final = (Fraction(1, 100), Fraction(2, 100), Fraction(5, 100))


@dataclass(frozen=True, slots=True)
class Case:
    """One assumption changed."""

    what: str
    threshold: Threshold  # compared with everything, free endpoints included
    paid: Threshold  # compared with paid modes only
    verdict: Verdict


def cases(
    own: OwnPlan,
    labelling_usd: Interval,
    api_usd_per_event: Interval,
    free_up_to: Interval | None,
    events_per_day: int,
    yearly_price_fall: Decimal,
) -> tuple[Case, ...]:
    """Change price fall, utilization, labelling cost and people's time, one at a time.

    Parameters
    ----------
    own, api_usd_per_event, free_up_to, events_per_day:
        The case that is varied.
    labelling_usd:
        The part of ``own.one_off_usd`` that is for labels.
    yearly_price_fall:
        0.3: the API's price falls by 30 % a year.
    """

    def case(what: str, plan: OwnPlan, api: Interval) -> Case:
        paid = threshold(plan, api)
        at = paid.raised_to(free_up_to)
        return Case(what, at, paid, verdict(events_per_day, at))

    other = Interval(
        own.one_off_usd.low - labelling_usd.low,
        own.one_off_usd.mid - labelling_usd.mid,
        own.one_off_usd.high - labelling_usd.high,
    )

    def relabelled(times: int) -> OwnPlan:
        return replace(own, one_off_usd=other + labelling_usd.times(times))

    falls = [] if yearly_price_fall == 0 else YEARS
    return (
        *(
            case(
                f"API {yearly_price_fall:.0%} cheaper a year, in {years} year{'s' if years > 1 else ''}",
                own,
                after_years(api_usd_per_event, years, yearly_price_fall),
            )
            for years in falls
        ),
        *(case(f"cores {share.numerator * 100 // share.denominator}% busy", replace(own, utilization=share),
               api_usd_per_event) for share in UTILIZATIONS if share != own.utilization),
        *(case("no labelling cost" if not n else f"labelling at {n} times the cost", relabelled(n), api_usd_per_event)
          for n in LABELLING_FACTORS),
        case("people's time not counted", replace(own, people_usd_per_month=Decimal(0)), api_usd_per_event),
    )  # fmt: skip

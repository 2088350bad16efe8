"""Puts the study into words, which a person reads first. Numbers are rounded here, for display, and nowhere else."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final

from rich.text import Text

from farthing.meter.breakeven import Payback, Threshold
from farthing.meter.calibration import Calibration
from farthing.meter.facts import Fact
from farthing.meter.money import Interval, usd
from farthing.meter.own_cost import SECONDS_A_DAY
from farthing.meter.study import Study

_STEPS: Final = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
VERDICTS: Final = {"api": "stay on the API", "tuned": "run a tuned model", "undecided": "too close to call"}


def count_text(value: Fraction | int | None) -> str:
    """Format with at most three digits: 8.64 M; ``never`` for None."""
    if value is None:
        return "never"
    for step, name in _STEPS:
        if value >= step:
            return f"{plain(Fraction(value) / step)} {name}"
    return plain(Fraction(value))


def dollars(value: Fraction) -> str:
    """Format with three digits, or in whole dollars from a thousand on: $0.0123, $4.57, $1,234, $62.7 k, $1.30 M."""
    if value < 0:
        return "-" + dollars(-value)
    for step, name in _STEPS[:-1]:
        if value >= step:
            return f"${three(value / step)} {name}"
    if value >= 10_000:
        return f"${three(value / 1_000)} k"
    return f"${three(value)}" if value else "$0"


def dollar_range(of: Interval) -> str:
    """Format a range from low to high, for a table."""
    return dollars(of.low) if of.is_exact else f"{dollars(of.low)} – {dollars(of.high)}"


def three(value: Fraction) -> str:
    """Format with three digits, or as a whole number with commas."""
    if value >= 1_000:
        return f"{round(value):,}"
    number = usd(value)
    digits = max(0, 2 - number.adjusted()) if number else 0
    return f"{round(number, digits):,.{digits}f}"


def plain(value: Fraction) -> str:
    """Format with three digits and no trailing zeros: 30, 0.05."""
    text = three(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(share: Fraction) -> str:
    """Format a share as a percentage."""
    return f"{plain(share * 100)} %"


def times_text(value: Fraction) -> str:
    """Format how many times as much: 2.4x, 130x."""
    if value > 10_000:
        return ">10,000x"
    return f"{round(value):,}x" if value >= 10 else f"{Decimal(round(value * 10)) / 10}x"


def range_text(at: Threshold) -> str:
    """Format a range from low to high; the middle is shown beside it."""
    return f"{count_text(at.low)} to {count_text(at.high)}"


def summary(made: Study) -> Text:
    """Say what to do and why, in a few sentences."""
    text = Text()
    rate = count_text(Fraction(made.events_per_day, SECONDS_A_DAY))
    text.append(
        f"At {count_text(made.events_per_day)} events a day ({rate}/s): {VERDICTS[made.verdict]}.\n", style="bold"
    )
    if made.free is not None and made.verdict != "tuned":
        text.append(_free_words(made) + "\n")
    text.append(_paid_words(made))
    if made.verdict == "undecided":
        apart = made.now.api_usd.mid - made.now.own_usd.mid
        if made.free_takes_it:
            apart = -made.now.own_usd.mid
        side = "the tuned model" if apart > 0 else "the API"
        text.append(f" The middle of the estimates favours {side} by {dollars(abs(apart))} a day.")
    text.append("\n" + _threshold_words(made))
    paid = _payback_words(made)
    if paid:
        text.append("\n" + paid)
    warning = _limit_words(made)
    if warning:
        text.append("\n" + warning)
    return text


def _free_words(made: Study) -> str:
    assert made.free is not None
    takes = made.free.events_per_day
    span = f"{count_text(takes.mid)} a day ({count_text(takes.low)} to {count_text(takes.high)})"
    endpoint = made.free.endpoint
    if made.events_per_day <= takes.high:
        takes_it = "accepts this volume" if made.events_per_day <= takes.low else "may accept this volume"
        return (
            f"{endpoint.name} costs nothing and {takes_it}: {span} at {made.free.tier.tier}. It has {endpoint.caveat}."
        )
    return f"{endpoint.name} costs nothing, but accepts only about {span}."


def _paid_words(made: Study) -> str:
    own, api = made.now.own_usd.mid, made.now.api_usd.mid
    best = made.chosen.best
    offer = f"{made.chosen.model} ({best.mode.label})"
    naive = made.chosen.offers["naive"]
    beside = ""
    if naive is not None and naive is not best:
        beside = f"; one call an event would be {dollars(naive.usd_per_event.mid * made.events_per_day)}"
    lead = "Without the free endpoint, " if made.free is not None and made.verdict != "tuned" else ""
    if own <= api:
        less = times_text(api / own) if own else "any number of times"
        return (
            f"{lead}{offer} costs {dollars(api)} a day{beside}. A tuned model costs {dollars(own)} a day: {less} less."
        )
    more = times_text(own / api) if api else "any number of times"
    return (
        f"{lead}{offer} costs {dollars(api)} a day{beside}. A tuned model costs {dollars(own)} a day: {more} as much."
    )


def _threshold_words(made: Study) -> str:
    at, paid = made.threshold, made.threshold_paid
    if at.low is None:
        return "It would not win at any volume: moving an event costs more than the API charges for it."
    if at.mid is None:
        return f"It wins from {count_text(at.low)} events a day at the earliest, and perhaps never."
    words = f"A tuned model wins above {count_text(at.mid)} events a day (estimates: {range_text(at)})"
    if made.free is not None and paid.mid is not None and paid.mid < at.mid:
        words += f"; without the free endpoint, above {count_text(paid.mid)}"
    return words + "."


def _payback_words(made: Study) -> str:
    once = made.own.one_off_usd.mid
    if not once:
        return ""
    what = f"The {dollars(once)} spent once (setting up, training, labels)"
    back = made.payback
    if back.mid is None:
        return f"{what} would not be paid back at this volume."
    return f"{what} {'is' if made.verdict == 'tuned' else 'would be'} paid back in {days_text(back)}."


def days_text(back: Payback) -> str:
    """Format the days until a cost is paid back, with the range."""
    late = "never" if back.high is None else f"{back.high:,}"
    low = "never" if back.low is None else f"{back.low:,}"
    middle = "never" if back.mid is None else f"{back.mid:,} day{'' if back.mid == 1 else 's'}"
    return middle if back.low == back.high else f"{middle} ({low} to {late})"


def _limit_words(made: Study) -> str:
    tiers = made.chosen.limits.get(made.chosen.best.mode.name, ())
    if not tiers:
        return ""
    last = tiers[-1]
    demand = last.tightest
    if demand is None or demand.times <= 1:
        return ""
    return (
        f"The API would not accept this volume as it is: {count_text(demand.needed)} {demand.what}, "
        f"{times_text(demand.times)} the limit of {count_text(demand.allowed)} for {last.tier.tier}{unsure(last.tier)}."
    )


def unsure(fact: Fact) -> str:
    """Mark a fact that is not confirmed by the provider itself."""
    return "" if fact.certain else " (not confirmed)"


def error_words(made: Study) -> str:
    """Say how much mistakes may cost; empty when the tuned model costs more even without any."""
    costs = [(gap, allowed) for gap, allowed in made.errors_allowed.items() if allowed is not None]
    if not costs:
        return ""
    first, *others = costs
    rest = ", ".join(f"{percent(gap)}: {dollars(allowed.mid)}" for gap, allowed in others)
    return (
        f"If the tuned model is wrong on {percent(first[0])} more of the events, it still pays if such an error "
        f"costs less than {dollars(first[1].mid)}" + (f" ({rest})." if rest else ".")
    )


def calibration_words(calibration: Calibration, *, applied: bool) -> Text:
    """Say how the bill compares with the list price."""
    ratio = calibration.list_to_bill
    text = Text()
    text.append(f"Bill calibration, {calibration.source}: ", style="bold")
    if ratio is None:
        text.append("no row has a list price above zero; the ratio is undefined.")
        return text
    text.append(
        f"list price {dollars(calibration.list_usd)}, billed {dollars(calibration.billed_usd)}: "
        f"the bill is {three(ratio)} of the list price. "
        + ("All API costs above are multiplied by it." if applied else "Not applied (--apply-calibration applies it).")
    )
    for bill in calibration.models:
        own = bill.list_to_bill
        ratio_text = "undefined" if own is None else three(own)
        text.append(f"\n  {bill.model}: {dollars(bill.list_usd)} -> {dollars(bill.billed_usd)}, {ratio_text}")
    if calibration.unpriced_rows:
        text.append(
            f"\n  {calibration.unpriced_rows} rows over {dollars(calibration.unpriced_usd)} have no list price here "
            f"({', '.join(calibration.unpriced_models)}) and are left out of the ratio."
        )
    if not calibration.tiers_by_mean_call:
        text.append("\n  It has no count of requests, so prices by context length could not be applied.")
    return text

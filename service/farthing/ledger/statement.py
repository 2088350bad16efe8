"""Turns the books into dollars: own cost, every pricing mode of every alternative, savings, and what is cheaper now.

Pure. Counts are the ledger's, and exact. Own cost comes from clocks (cores reserved, idle or not) and, for what no
clock measures (broker, storage, network, people, training), from the plan in the ``[meter]`` settings. Dollars are
computed here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from farthing.errors import ConfigError
from farthing.ledger.books import WINDOWS_MS
from farthing.ledger.ledger import Ledger, Subject
from farthing.meter.calibration import Calibration
from farthing.meter.facts import Facts
from farthing.meter.money import SCENARIOS, Interval, Scenario
from farthing.meter.opponents import ModeName, Offer, Traffic
from farthing.meter.own_cost import DAYS_A_MONTH, SECONDS_A_DAY, OwnPlan
from farthing.meter.prices import PriceList
from farthing.meter.prompts import TaskPrompt
from farthing.meter.settings import MeterSettings
from farthing.meter.study import EventsTooLarge, ModelStudy, Study, TokenBasis, own_plan, study
from farthing.meter.tokens import TextSample
from farthing.meter.usage import UsageTotals

DAY_MS: Final = 1_000 * SECONDS_A_DAY
EARLIEST_MS: Final = 1_577_836_800_000
"""2020: a process that says it started before has a clock that was never set, and would cost people's time since."""
RATE_OVER_MS: Final = 60_000
LEAST_RATE_MS: Final = 10_000

WindowName = Literal["minute", "hour", "day", "all"]
RateBasis = Literal["last minute", "all time"]
_TURNED: Final[dict[Scenario, Scenario]] = {"low": "high", "mid": "mid", "high": "low"}


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Everything that dollars are computed from besides the counts. Read once at start."""

    meter: MeterSettings
    prices: PriceList
    facts: Facts
    prompts: Mapping[str, TaskPrompt]
    system_text: str | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One route and model in a window: counts, and the comparison at the current rate.

    ``study`` is None where none of the events fits into the context window of a model that is compared with. Then there
    is own cost, and nothing to compare it with.
    """

    subject: Subject
    used: UsageTotals
    events_per_day: int
    own: OwnPlan
    study: Study | None

    def offer(self, model: str, mode: ModeName) -> Offer | None:
        """Return an alternative in one pricing mode; None where it is not offered."""
        of = self._of(model)
        return None if of is None else of.offers.get(mode)

    def avoided(self, model: str, mode: ModeName | None) -> Interval | None:
        """Return what the window's events would have cost; None where the mode is not offered.

        ``mode`` None takes the cheapest one: the strongest alternative.
        """
        of = self._of(model)
        offer = None if of is None else of.best if mode is None else of.offers.get(mode)
        return None if offer is None else offer.usd_per_event.times(self.used.scored)

    def _of(self, model: str) -> ModelStudy | None:
        return None if self.study is None else next(one for one in self.study.models if one.model == model)


@dataclass(frozen=True, slots=True)
class OwnCost:
    """What scoring cost in a window, by what was paid for."""

    core_ms: int  # reserved by workers, idle or not
    with_cores: Mapping[str, Interval]  # lines that grow with the reserved cores
    with_events: Mapping[str, Interval]  # lines that grow with the scored events
    with_time: Mapping[str, Interval]  # lines that grow with time

    @property
    def lines(self) -> dict[str, Interval]:
        """All lines, by what was paid for."""
        return {**self.with_cores, **self.with_events, **self.with_time}

    @property
    def usd(self) -> Interval:
        """The sum of all lines."""
        return _added(self.lines.values())

    def so_far(self, cores: Fraction, events: Fraction, time: Fraction) -> Interval:
        """Return the cost up to where these shares (0 to 1) of the window's cores, events and time are reached."""
        return (
            _added(self.with_cores.values()).times(cores)
            + _added(self.with_events.values()).times(events)
            + _added(self.with_time.values()).times(time)
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """The books of one window, in dollars."""

    window: WindowName
    from_ms: int
    now_ms: int
    lines: tuple[Line, ...]
    own: OwnCost
    rate_basis: RateBasis  # what the events a day are extrapolated from
    scored_before: int  # events scored before the window
    core_ms_before: int  # core-milliseconds reserved before the window

    @property
    def busiest(self) -> Line | None:
        """The line with the most events a day, which the verdict is about. None when there is nothing to compare."""
        compared = (line for line in self.lines if line.study is not None)
        return max(compared, key=lambda line: (line.events_per_day, line.used.scored), default=None)

    @property
    def scored(self) -> int:
        """Events scored in the window."""
        return sum(line.used.scored for line in self.lines)

    def avoided(self, model: str, mode: ModeName | None) -> Interval | None:
        """Return what all routes' events would have cost on a model; ``mode`` None takes each route's cheapest.

        None when nothing was scored, or some route's events cannot be priced in that mode.
        """
        total: Interval | None = None
        for line in self.lines:
            if not line.used.scored:
                continue
            usd = line.avoided(model, mode)
            if usd is None:
                return None
            total = usd if total is None else total + usd
        return total

    def saved(self, model: str, mode: ModeName | None) -> dict[Scenario, Fraction] | None:
        """Return avoided less own cost, which may be negative. Low takes the low API cost and the high own cost."""
        avoided = self.avoided(model, mode)
        if avoided is None:
            return None
        return {s: avoided.at(s) - self.own.usd.at(_TURNED[s]) for s in SCENARIOS}


def make_statement(ledger: Ledger, book: PriceBook, window: WindowName, now_ms: int) -> Statement:
    """Make the statement of a window up to ``now_ms`` (milliseconds since the epoch).

    Raises
    ------
    ConfigError
        A model of ``meter.compare_with`` is unknown, or a task has no prompt model.
    """
    starts = (ledger.ran_ms(beat)[0] for beat in ledger.beats.values())
    first = min((start for start in starts if EARLIEST_MS <= start <= now_ms), default=now_ms)
    from_ms = first if window == "all" else max(first, now_ms // WINDOWS_MS[window] * WINDOWS_MS[window])
    name = None if window == "all" else window
    used = ledger.totals(name, now_ms)
    ever = ledger.totals(None, now_ms)
    rates, basis = _events_per_day(ledger, ever, first, now_ms)
    lines = []
    for subject in ledger.subjects():
        if ever[subject].scored:
            here = used.get(subject, UsageTotals())
            sizes = here if here.scored else ever[subject]
            lines.append(_line(book, ledger, subject, here, Traffic.of(sizes), rates[subject]))
    own = _own(ledger, book, lines, from_ms, now_ms)
    before = sum(total.scored for total in ever.values()) - sum(line.used.scored for line in lines)
    core_ms_before = max(0, ledger.reserved_core_ms() - own.core_ms)
    return Statement(window, from_ms, now_ms, tuple(lines), own, basis, before, core_ms_before)


def _added(intervals: Iterable[Interval]) -> Interval:
    return sum(intervals, start=Interval.of(0))


def sampled_texts(ledger: Ledger, model: str) -> TextSample:
    """Add up the workers' samples of a model's texts."""
    sampled = TextSample()
    for beat in ledger.beats.values():
        row = beat.sample.get(model)
        if row:
            sampled += TextSample.of_ints(row)
    return sampled


def _line(
    book: PriceBook, ledger: Ledger, subject: Subject, used: UsageTotals, traffic: Traffic, events_per_day: int
) -> Line:
    meter = book.meter
    try:
        of = _study(book, ledger, subject, traffic, events_per_day)
    except EventsTooLarge:  # no model could label them either
        labelling_usd = Interval.of((meter.label_usd or 0) * meter.labels)
        return Line(subject, used, events_per_day, own_plan(meter, traffic, labelling_usd), None)
    return Line(subject, used, events_per_day, of.own, of)


def _study(book: PriceBook, ledger: Ledger, subject: Subject, traffic: Traffic, events_per_day: int) -> Study:
    """Compare at the current rate, with the sizes of the events that were scored."""
    prompt = book.prompts.get(subject.task)
    if prompt is None:
        raise ConfigError(f"task {subject.task!r} of {subject.topic} is not known to this Farthing: update the ledger")
    sampled = sampled_texts(ledger, subject.model)
    counted = sampled if sampled.counted_texts > 1 and sampled.counted_bytes else None
    tokens = TokenBasis(sampled.bytes_by_script, counted) if sampled.bytes_by_script else None
    try:
        return study(
            book.meter,
            subject.task,
            prompt,
            events_per_day,
            book.prices,
            book.facts,
            traffic=traffic,
            tokens=tokens,
            system_text=book.system_text,
            calibration=book.calibration,
        )
    except EventsTooLarge:
        raise
    except ConfigError as error:
        raise ConfigError(f"{subject.topic}: {error}") from error


def _events_per_day(
    ledger: Ledger, ever: Mapping[Subject, UsageTotals], first_ms: int, now_ms: int
) -> tuple[dict[Subject, int], RateBasis]:
    """Extrapolate each subject's volume from the last minute's rate, else from all the time that workers ran."""
    rates = ledger.events_per_second(RATE_OVER_MS) or {}
    if any(rates.values()):
        return {s: max(1, round(rates.get(s, Fraction(0)) * SECONDS_A_DAY)) for s in ever}, "last minute"
    took_ms = max(now_ms - first_ms, LEAST_RATE_MS)
    return {s: max(1, round(Fraction(total.scored * DAY_MS, took_ms))) for s, total in ever.items()}, "all time"


def _own(ledger: Ledger, book: PriceBook, lines: Sequence[Line], from_ms: int, now_ms: int) -> OwnCost:
    meter = book.meter
    ran = ((beat.cores, *ledger.ran_ms(beat)) for beat in ledger.beats.values())
    core_ms = sum(cores * max(0, min(end, now_ms) - max(start, from_ms)) for cores, start, end in ran)
    hour = Fraction(meter.core_hour_usd)
    worker = Interval.of(hour * Fraction(core_ms, 3_600_000))
    days = Fraction(max(now_ms - from_ms, 0), DAY_MS)
    variable = []
    once: dict[str, tuple[int, Interval]] = {}  # by route: a model that replaced another is not paid for twice
    for line in lines:
        plan, scored, topic = line.own, line.used.scored, line.subject.topic
        each = Interval(*sorted(plan.per_event_usd(scenario) for scenario in SCENARIOS))
        variable.append(each.times(scored))
        if topic not in once or scored > once[topic][0]:
            once[topic] = scored, plan.one_off_usd.times(days / plan.horizon_days)
    return OwnCost(
        core_ms,
        with_cores={"worker cores": worker, "broker cores": worker.times(meter.broker_cores_per_worker_core)},
        with_events={"storage and network": _added(variable)},
        with_time={
            "ledger cores": Interval.of(hour * 24 * days * meter.ledger_cores),
            "people": Interval.of(Fraction(meter.people_usd_per_month) / DAYS_A_MONTH * days),
            "training, labels, setting up": _added(usd for _, usd in once.values()),
        },
    )

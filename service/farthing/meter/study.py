"""Makes the whole comparison: the traffic, every model in every mode, own cost, threshold and verdict.

Both the output of ``farthing breakeven`` and the live page are made from it, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from farthing.errors import ConfigError
from farthing.meter.breakeven import (
    Payback,
    Point,
    Threshold,
    Verdict,
    curve,
    error_usd_allowed,
    payback,
    threshold,
    verdict,
)
from farthing.meter.calibration import Calibration
from farthing.meter.facts import Facts
from farthing.meter.limits import Feasibility, FreeOffer, feasibility, free_offer
from farthing.meter.money import Interval, exact
from farthing.meter.opponents import MODES, ModeName, Offer, Opponent, Packing, Traffic, cheapest
from farthing.meter.own_cost import MEASURED_EVENT_BYTES, OwnPlan
from farthing.meter.prices import ModelPrices, PriceList
from farthing.meter.prompts import PromptModel, TaskPrompt, prompt_model
from farthing.meter.sensitivity import GAPS, Case, cases
from farthing.meter.settings import MeterSettings
from farthing.meter.tokens import Script, TextSample, TokenEstimate, by_ratio, by_sample

SCORE_BYTES: Final = 150
"""Size of a score record with an id, three heads and headers."""

FRAME_BYTES: Final = 50
"""Bytes of an event's value besides the fields that the model reads."""


class EventsTooLarge(ConfigError):
    """None of the events can be sent to one of the models: about such events there is no comparison."""


@dataclass(frozen=True, slots=True)
class TokenBasis:
    """How payload bytes become tokens: by shares of scripts, or by texts that a tokenizer file has counted."""

    bytes_by_script: Mapping[Script, int]
    counted: TextSample | None = None
    tokenizer_name: str = ""
    tokenizer_of: str | None = None  # provider:model whose own tokenizer it is; None if of no particular model
    system_tokens: int | None = None  # length of the instructions, counted with the same file

    def estimate(self, model: str, facts: Facts) -> TokenEstimate:
        """Return the tokens per byte for a model."""
        family = facts.tokenizer(model)
        if self.counted is None:
            return by_ratio(facts.bytes_per_token, self.bytes_by_script, family)
        return by_sample(self.counted, self.tokenizer_name, None if self.is_own(model, facts) else family)

    def is_own(self, model: str, facts: Facts) -> bool:
        """Whether the file is the tokenizer of this model's family."""
        if self.tokenizer_of is None:
            return False
        family, own = facts.tokenizer(model), facts.tokenizer(self.tokenizer_of)
        return family is not None and own is not None and family.name == own.name


@dataclass(frozen=True, slots=True)
class ModelStudy:
    """One model's prices and modes for the traffic."""

    prices: ModelPrices
    prompt: PromptModel
    tokens: TokenEstimate
    offers: Mapping[ModeName, Offer | None]
    best: Offer
    limits: Mapping[ModeName, tuple[Feasibility, ...]]
    list_to_bill: Fraction

    @property
    def model(self) -> str:
        """``provider:model``."""
        return self.prices.model


@dataclass(frozen=True, slots=True)
class Study:
    """The whole comparison. The verdict is about ``models[0]``."""

    task: str
    events_per_day: int
    traffic: Traffic
    measured: bool  # sizes are those of real events, not the task's usual ones
    settings: MeterSettings
    models: tuple[ModelStudy, ...]
    free: FreeOffer | None
    own: OwnPlan
    labelling_usd: Interval
    label_source: str
    now: Point  # compared with the cheapest paid mode
    threshold: Threshold  # compared with everything, free endpoints included
    threshold_paid: Threshold
    thresholds: Mapping[ModeName, Threshold]  # compared with each mode of the chosen model
    verdict: Verdict
    payback: Payback
    sensitivity: tuple[Case, ...]
    errors_allowed: Mapping[Fraction, Interval | None]
    calibration: Calibration | None

    @property
    def chosen(self) -> ModelStudy:
        """The model that the verdict is about."""
        return self.models[0]

    @property
    def free_takes_it(self) -> bool:
        """Whether a free endpoint accepts the volume, by the middle estimate."""
        return self.free is not None and self.events_per_day <= self.free.events_per_day.mid

    def points(self, volumes: tuple[int, ...]) -> tuple[Point, ...]:
        """Return both costs at some volumes, with the cheapest paid mode as the API's."""
        return curve(self.own, self.chosen.best.usd_per_event, volumes)


def study(
    settings: MeterSettings, task: str, entry: TaskPrompt, events_per_day: int, prices: PriceList, facts: Facts, *,
    traffic: Traffic | None = None, tokens: TokenBasis | None = None, system_text: str | None = None,
    calibration: Calibration | None = None,
) -> Study:  # fmt: skip
    """Compare a tuned model with the alternatives.

    Parameters
    ----------
    settings:
        Every assumption.
    task, entry:
        The task and its prompt, whose usual sizes are used where none are given.
    events_per_day:
        The volume to compare at, 1 or more.
    prices, facts:
        The prices of a day, and the providers' terms.
    traffic, tokens:
        Measured sizes and measured token counts, if there are any.
    system_text:
        The user's own instructions.
    calibration:
        A bill; applied if the settings say so.

    Raises
    ------
    ConfigError
        A model is unknown, or its context window is too small for any of the events.
    """
    measured = traffic is not None
    if traffic is None:
        traffic = Traffic.made_up(entry.payload_bytes, entry.rows)
    if tokens is None:
        tokens = TokenBasis(entry.scripts)

    def alternative(model: str) -> tuple[Opponent, TokenEstimate]:
        ratio = _ratio(settings, calibration, prices.prices(model).model)
        return _opponent(settings, task, entry, prices.prices(model), facts, tokens, system_text, ratio)

    models = tuple(_model(*alternative(model), settings, traffic, events_per_day) for model in settings.compare_with)
    labelling_usd, label_source = _labelling(settings, traffic, alternative)
    own = own_plan(settings, traffic, labelling_usd)
    free = _free(settings, task, traffic, tokens, facts)
    free_up_to = None if free is None else free.events_per_day
    best = models[0].best.usd_per_event
    now = curve(own, best, (events_per_day,))[0]
    at = threshold(own, best, free_up_to)
    return Study(
        task=task, events_per_day=events_per_day, traffic=traffic, measured=measured, settings=settings, models=models,
        free=free, own=own, labelling_usd=labelling_usd, label_source=label_source, now=now, threshold=at,
        threshold_paid=threshold(own, best),
        thresholds={
            name: threshold(own, offer.usd_per_event) for name, offer in models[0].offers.items() if offer is not None
        },
        verdict=verdict(events_per_day, at),
        payback=payback(own, now, settings.price_fall_per_year),
        sensitivity=cases(own, labelling_usd, best, free_up_to, events_per_day, settings.price_fall_per_year),
        errors_allowed={gap: error_usd_allowed(now, gap) for gap in GAPS},
        calibration=calibration,
    )  # fmt: skip


def _opponent(
    settings: MeterSettings,
    task: str,
    entry: TaskPrompt,
    prices: ModelPrices,
    facts: Facts,
    tokens: TokenBasis,
    system_text: str | None,
    list_to_bill: Fraction,
) -> tuple[Opponent, TokenEstimate]:
    """Make the alternative for a model, with what would be sent to it in its own tokens."""
    counted = settings.system_prompt_tokens
    if counted is None and tokens.is_own(prices.model, facts):
        counted = tokens.system_tokens
    prompt = prompt_model(
        task,
        entry,
        facts.bytes_per_token,
        facts.tokenizer(prices.model),
        system_text=system_text,
        system_tokens=counted,
    )
    estimate = tokens.estimate(prices.model, facts)
    packing = Packing(settings.pack_events, settings.pack_input_tokens)
    return Opponent(prices, prompt, facts, estimate.per_byte, packing, list_to_bill), estimate


def own_plan(settings: MeterSettings, traffic: Traffic, labelling_usd: Interval) -> OwnPlan:
    """Make the deployment that the settings describe, for traffic of this kind."""
    size = Fraction(traffic.prompt_bytes, traffic.events)
    value = size + FRAME_BYTES
    # Measured on short events of one row: longer ones take time in proportion, by bytes or by rows.
    effort = max(Fraction(1), size / MEASURED_EVENT_BYTES, traffic.rows_per_event)
    copies = settings.replicas
    once = Interval.of(settings.setup_usd + settings.training_usd) + labelling_usd
    return OwnPlan(
        core_hour_usd=settings.core_hour_usd,
        events_per_s_per_core=Interval.of(*settings.events_per_s_per_core).times(1 / effort),
        utilization=exact(settings.utilization),
        min_worker_cores=settings.min_worker_cores,
        broker_cores_per_worker_core=exact(settings.broker_cores_per_worker_core),
        ledger_cores=settings.ledger_cores,
        # Low: the events are on a topic anyway. Middle and high: they are there only for the model.
        stored_bytes_per_event=Interval.of(
            SCORE_BYTES * copies, (value + SCORE_BYTES) * copies, (value + SCORE_BYTES) * copies
        ),
        storage_usd_per_gb_month=settings.storage_usd_per_gb_month,
        retention_days=exact(settings.retention_days),
        # Low: all in one zone. Middle: read once, scores written to all copies. High: the events are written too.
        network_bytes_per_event=Interval.of(0, value + SCORE_BYTES * copies, (value + SCORE_BYTES) * copies + value),
        network_usd_per_gb=settings.network_usd_per_gb,
        people_usd_per_month=settings.people_usd_per_month,
        one_off_usd=once,
        horizon_days=settings.horizon_days,
        accuracy_gap=exact(settings.accuracy_gap),
        error_usd=settings.error_usd,
    )


def _ratio(settings: MeterSettings, calibration: Calibration | None, model: str) -> Fraction:
    if not settings.apply_calibration:
        return Fraction(1)
    ratio = None if calibration is None else calibration.ratio_for(model)
    if ratio is None:
        raise ConfigError(
            f"meter.apply_calibration: {settings.usage_export} has no row with a list price above zero, so there is "
            "no ratio to apply; leave it off or give another export"
        )
    return ratio


def _model(
    opponent: Opponent, tokens: TokenEstimate, settings: MeterSettings, traffic: Traffic, events_per_day: int
) -> ModelStudy:
    offers = opponent.offers(traffic, without_batch=not settings.answers_can_wait)
    best = cheapest(list(offers.values()))
    if best is None:
        raise EventsTooLarge(
            f"{opponent.model}: none of these events fits into its context window of "
            f"{opponent.prices.context_window} tokens; compare with another model"
        )
    tiers = opponent.facts.limits(opponent.model)
    peak = exact(settings.peak_to_mean)
    return ModelStudy(
        prices=opponent.prices,
        prompt=opponent.prompt,
        tokens=tokens,
        offers=offers,
        best=best,
        limits={
            name: feasibility(offer, tiers, events_per_day, peak) for name, offer in offers.items() if offer is not None
        },
        list_to_bill=opponent.list_to_bill,
    )


def _free(settings: MeterSettings, task: str, traffic: Traffic, tokens: TokenBasis, facts: Facts) -> FreeOffer | None:
    if not settings.free_endpoint:
        return None
    offers = [
        free_offer(endpoint, traffic, tokens.estimate(endpoint.endpoint, facts).per_byte)
        for endpoint in facts.free_endpoints(task)
    ]
    return max(offers, key=lambda offer: offer.events_per_day.mid, default=None)


def _labelling(
    settings: MeterSettings, traffic: Traffic, alternative: Callable[[str], tuple[Opponent, TokenEstimate]]
) -> tuple[Interval, str]:
    if settings.label_usd is not None:
        return Interval.of(settings.label_usd * settings.labels), f"{settings.labels:,} labels at ${settings.label_usd}"
    if not settings.labels:
        return Interval.of(0), "no labels bought"
    teacher, _ = alternative(settings.teacher)
    offer = teacher.offer(MODES[0], traffic)
    if offer is None:
        raise EventsTooLarge(f"meter.teacher = {settings.teacher!r}: no call to it is possible for these events")
    return offer.usd_per_event.times(
        settings.labels
    ), f"{settings.labels:,} labels by {settings.teacher}, one call each"


def usd_per_million(per_day: Interval, events_per_day: int) -> Interval:
    """Return dollars per million events from a day's dollars."""
    return per_day.times(Fraction(1_000_000, events_per_day))

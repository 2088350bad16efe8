"""Turns statements into JSON for the page and for others, as documented by ``openapi.json`` beside this file.

Dollars are exact decimals, intervals are ``{"low", "mid", "high"}``, and what is undefined is null and never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from farthing.errors import ConfigError
from farthing.ledger.books import Account
from farthing.ledger.ledger import Ledger, Subject
from farthing.ledger.statement import Line, RateBasis, Statement, sampled_texts
from farthing.meter.breakeven import Point
from farthing.meter.money import SCENARIOS, Interval, usd
from farthing.meter.opponents import MODES, ModeName
from farthing.meter.records import OTHER, Heartbeat
from farthing.meter.study import Study

MILLION: Final = 1_000_000
CURVE_POINTS: Final = 49
LEAST_PER_DAY, MOST_PER_DAY = 3, 12  # powers of ten
TENANTS: Final = 20
CHEAPEST: Final = "cheapest"
"""The mode that takes each route's cheapest: the strongest alternative."""

_LABELS: Final[dict[str, str]] = {CHEAPEST: "cheapest mode"} | {str(mode.name): mode.label for mode in MODES}


def choice(model: str | None, mode: str, models: tuple[str, ...]) -> tuple[str, ModeName | None]:
    """Return the alternative that a request asks for: its model, and its mode or None for the cheapest.

    Parameters
    ----------
    model, mode:
        From the request; ``model`` None means the first of ``models``.
    models:
        Those that the settings compare with.

    Raises
    ------
    ConfigError
        There is no such model or mode.
    """
    chosen = models[0] if model is None else model
    if chosen not in models:
        raise ConfigError(f"model {chosen!r} is not compared with; one of {', '.join(models)}")
    if mode not in _LABELS:
        raise ConfigError(f"mode {mode!r} is not known; one of {', '.join(_LABELS)}")
    return chosen, None if mode == CHEAPEST else mode  # type: ignore[return-value]


def statement_body(
    ledger: Ledger, statement: Statement, model: str | None, mode: str, models: tuple[str, ...]
) -> dict[str, Any]:
    """Return one window's statement against one model and pricing mode.

    ``model``, ``mode`` and ``models`` as :func:`choice` takes them, which raises ConfigError.
    """
    chosen, mode_name = choice(model, mode, models)
    avoided = statement.avoided(chosen, mode_name)
    saved = statement.saved(chosen, mode_name)
    busiest = statement.busiest
    scored = statement.scored
    p99 = _latest_p99(ledger, statement)
    alive = ledger.workers(statement.now_ms)
    return {
        "at_ms": statement.now_ms,
        "window": statement.window,
        "from_ms": statement.from_ms,
        "model": chosen,
        "mode": mode,
        "models": list(models),
        "modes": [{"mode": name, "label": label} for name, label in _LABELS.items()],
        "events": {
            "scored": scored,
            "dead": sum(line.used.dead for line in statement.lines),
            "rows": sum(line.used.rows for line in statement.lines),
            "lost_ever": sum(account.record.lost for account in ledger.accounts.values()),
        },
        "events_per_second": _rate(ledger.events_per_second(60_000)),
        "latency_p99_ms": None if p99 is None or math.isinf(p99) else int(p99),
        "latency_p99_over_ms": ledger.last_edge_ms() if p99 is not None and math.isinf(p99) else None,
        "lag": sum(ledger.lag(statement.now_ms).values()) if ledger.lag_is_known(statement.now_ms) else None,
        "lag_unreadable": ledger.unreadable(statement.now_ms) if ledger.lag_is_known(statement.now_ms) else None,
        "own": _own(ledger, statement),
        "avoided_usd": avoided,
        "avoided_usd_per_million": _per_million(avoided, scored),
        "saved_usd": None if saved is None else {s: usd(saved[s]) for s in SCENARIOS},
        "comparison": None
        if busiest is None or busiest.study is None
        else _comparison(busiest.subject.topic, busiest.study, statement.rate_basis),
        "opponents": [one for line in statement.lines for one in _opponents(line)],
        "routes": [_route(ledger, line) for line in statement.lines],
        "tenants": _tenants(ledger, statement, avoided),
        "workers": [_worker(beat, True, ledger.age_ms(beat, statement.now_ms)) for beat in alive]
        + [_worker(beat, False, ledger.age_ms(beat, statement.now_ms)) for beat in ledger.missed(statement.now_ms)],
    }


def _rate(rates: Mapping[Subject, Fraction] | None) -> Decimal | None:
    return None if rates is None else Decimal(f"{float(sum(rates.values())):.1f}")


def _latest_p99(ledger: Ledger, statement: Statement) -> float | None:
    latencies_ms = [ledger.latency_ms(line.subject.topic, 0.99, 60_000) for line in statement.lines]
    return max((ms for ms in latencies_ms if ms is not None), default=None)


def _per_million(of: Interval | None, events: int) -> Interval | None:
    return None if of is None or not events else of.times(Fraction(MILLION, events))


def _own(ledger: Ledger, statement: Statement) -> dict[str, Any]:
    own = statement.own
    return {
        "usd": own.usd,
        "usd_per_million": _per_million(own.usd, statement.scored),
        "by": dict(own.lines),
        "reserved_core_hours": usd(Fraction(own.core_ms, 3_600_000)),
        "cpu_core_hours_ever": usd(Fraction(ledger.cpu_ns(), 3_600 * 10**9)),
    }


def _comparison(topic: str, of: Study, basis: RateBasis) -> dict[str, Any]:
    """Say what is cheaper at the current rate, and from which rate on the other is."""
    step = Fraction(MOST_PER_DAY - LEAST_PER_DAY, CURVE_POINTS - 1)
    powers = [Fraction(10 ** float(LEAST_PER_DAY + step * k)) for k in range(CURVE_POINTS)]
    free = of.free
    return {
        "topic": topic,
        "task": of.task,
        "model": of.chosen.model,
        "mode": of.chosen.best.mode.name,
        "events_per_day": of.events_per_day,
        "events_per_day_from": basis,
        "verdict": of.verdict,
        "threshold_events_per_day": of.threshold.as_dict(),
        "threshold_events_per_day_paid": of.threshold_paid.as_dict(),
        "payback_days": of.payback.as_dict(),
        "one_off_usd": of.own.one_off_usd,
        "now": _point(of.now),
        "curve": [_point(point) for point in of.points(tuple(round(p) for p in powers))],
        "free_endpoint": None if free is None else {
            "endpoint": free.endpoint.endpoint,
            "takes_events_per_day": {s: int(free.events_per_day.at(s)) for s in SCENARIOS},
            "takes_this_volume": of.free_takes_it,
            "limit": free.binding,
        },
    }  # fmt: skip


def _point(point: Point) -> dict[str, Any]:
    return {"events_per_day": point.events_per_day, "own_usd": point.own_usd, "api_usd": point.api_usd}


def _opponents(line: Line) -> Iterable[dict[str, Any]]:
    for one in () if line.study is None else line.study.models:
        for mode, offer in one.offers.items():
            yield {
                "topic": line.subject.topic,
                "scored_by": line.subject.model,
                "model": one.model,
                "mode": mode,
                "label": _LABELS[mode],
                "usd": line.avoided(one.model, mode) if line.used.scored else None,
                "usd_per_million": None if offer is None else offer.usd_per_event.times(MILLION),
                "notes": [] if offer is None else list(offer.notes),
                "limits": [
                    {
                        "tier": feasibility.tier.tier,
                        "fits": feasibility.fits,
                        "demands": [
                            {"what": d.what, "needed": usd(d.needed), "allowed": d.allowed} for d in feasibility.demands
                        ],
                    }
                    for feasibility in one.limits.get(mode, ())
                ],
            }


def _route(ledger: Ledger, line: Line) -> dict[str, Any]:
    return {
        "topic": line.subject.topic,
        "scored_by": line.subject.model,
        "task": line.subject.task,
        "scored": line.used.scored,
        "dead": line.used.dead,
        "payload_bytes": line.used.payload_bytes,
        "prompt_bytes": line.used.prompt_bytes,
        "rows": line.used.rows,
        "sizes": [count._asdict() for _, count in sorted(line.used.calls.items())],
        "sampled_bytes_by_script": dict(sampled_texts(ledger, line.subject.model).bytes_by_script),
        "events_per_day": line.events_per_day,
        "prices": [
            {
                "model": one.model,
                "cheapest_mode": one.best.mode.name,
                "source": one.prices.basis.source,
                "source_date": one.prices.basis.source_date,
                "as_of": one.prices.basis.as_of,
                "tokens": one.tokens.method,
                "tokens_per_byte": {s: usd(one.tokens.per_byte.at(s)) for s in SCENARIOS},
            }
            for one in (() if line.study is None else line.study.models)
        ],
    }


def _tenants(ledger: Ledger, statement: Statement, avoided: Interval | None) -> list[dict[str, Any]]:
    """Return tenants of all time, whatever the window; a tenant's dollars are its share, by bytes, of the window's."""
    counts = ledger.tenants(TENANTS)
    total = sum(count.prompt_bytes for count in counts.values())
    rows = []
    for name, count in counts.items():
        share = Fraction(count.prompt_bytes, total) if total else None
        rows.append(
            {
                "tenant": "other" if name == OTHER else name,
                "scored": count.scored,
                "dead": count.dead,
                "share": None if share is None else usd(share),
                "avoided_usd": None if share is None or avoided is None else avoided.times(share),
            }
        )
    return rows


def _worker(beat: Heartbeat, alive: bool, age_ms: int) -> dict[str, Any]:
    return {
        "worker": beat.worker,
        "alive": alive,
        "state": beat.state,
        "cores": beat.cores,
        "up_s": max(beat.at_ms - beat.started_at_ms, 0) // 1000,
        "cpu_share": _share(beat.cpu_ns, beat.reserved_core_ms),
        "lag": None if beat.lag_unknown else sum(beat.lag.values()),
        "seen_ms_ago": max(age_ms, 0),
    }


def _share(cpu_ns: int, core_ms: int) -> Decimal | None:
    return None if not core_ms else usd(Fraction(cpu_ns, core_ms * MILLION)).quantize(Decimal("0.001"))


def accounts(by_key: Mapping[bytes, Account]) -> list[dict[str, Any]]:
    """Return every count as it is now, for an audit to compare the topics with."""
    return [
        {
            "topic": account.record.topic,
            "partition": account.record.partition,
            "model": account.record.model,
            "base_offset": account.record.base_offset,
            "log": account.record.incarnation,
            "lost": account.record.lost,
            "next_offset": account.record.next_offset,
            "scored": account.record.totals.scored,
            "dead": account.record.totals.dead,
            "rows": account.record.totals.rows,
            "payload_bytes": account.record.totals.payload_bytes,
            "prompt_bytes": account.record.totals.prompt_bytes,
        }
        for _, account in sorted(by_key.items())
    ]

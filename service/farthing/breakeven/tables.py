"""Shows the study as tables: pricing modes of the model, other models, own cost, sensitivity, assumptions."""

from __future__ import annotations

from fractions import Fraction

from rich.table import Table

from farthing.breakeven.words import (
    VERDICTS,
    count_text,
    dollar_range,
    dollars,
    percent,
    three,
    times_text,
    unsure,
)
from farthing.meter.limits import Feasibility
from farthing.meter.money import Interval
from farthing.meter.opponents import Offer
from farthing.meter.own_cost import CAPACITY_REPORT, MEASURED_CORES, MEASURED_EVENTS_PER_S, SECONDS_A_DAY
from farthing.meter.study import Study, usd_per_million


def tables(made: Study) -> list[Table]:
    """Return the tables: pricing modes of the chosen model, other models, own cost, sensitivity."""
    shown = [_modes(made)]
    if len(made.models) > 1:
        shown.append(_models(made))
    return [*shown, _own(made), _sensitivity(made)]


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
        expand=False,
    )


def _per_million(offer: Offer) -> Interval:
    return offer.usd_per_event.times(1_000_000)


def _modes(made: Study) -> Table:
    table = _table(f"{made.chosen.model}: what it charges, and where a tuned model wins")
    table.add_column("pricing mode", no_wrap=True)
    for name in ("$ per M", "low – high", "$ a day", "wins above"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("limits", no_wrap=True)
    if made.free is not None:
        takes = f"> {count_text(made.free.events_per_day.mid)}"
        fits = made.free.tier.tier if made.free_takes_it else "too much"
        table.add_row("free endpoint", "$0", "", "$0" if made.free_takes_it else "-", takes, fits)
    for name, offer in made.chosen.offers.items():
        if offer is None:
            table.add_row("prompt caching" if name == "cached" else name, "-", "not offered", "-", "-", "", style="dim")
            continue
        each = _per_million(offer)
        table.add_row(
            offer.mode.label,
            dollars(each.mid),
            dollar_range(each),
            dollars(offer.usd_per_event.mid * made.events_per_day),
            count_text(made.thresholds[name].mid),
            _fits(made.chosen.limits.get(name, ())),
            style="bold" if offer is made.chosen.best else "",
        )
    own = usd_per_million(made.now.own_usd, made.events_per_day)
    table.add_row(
        "tuned, own cost", dollars(own.mid), dollar_range(own), dollars(made.now.own_usd.mid), "", "", style="green"
    )  # fmt: skip
    return table


def _fits(tiers: tuple[Feasibility, ...]) -> str:
    for tier in tiers:
        if tier.fits:
            return f"{tier.tier.tier}{'' if tier.tier.certain else '?'}"
    last = tiers[-1] if tiers else None
    if last is None or last.tightest is None:
        return "unknown"
    times = last.tightest.times
    over = " over" if times <= 10_000 else ""
    return f"{times_text(times)}{over}{'' if last.tier.certain else '?'}"


def _models(made: Study) -> Table:
    table = _table("Other models at this volume, each in its cheapest pricing mode")
    table.add_column("model", no_wrap=True)
    table.add_column("pricing mode", no_wrap=True)
    for name in ("$ per M", "low – high", "$ a day"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in made.models[1:]:
        each = _per_million(one.best)
        day = one.best.usd_per_event.mid * made.events_per_day
        name = one.model.partition(":")[2].rpartition("/")[2]
        table.add_row(name, one.best.mode.label, dollars(each.mid), dollar_range(each), dollars(day))
    return table


def _own(made: Study) -> Table:
    cores = made.own.cores(made.events_per_day, "mid")
    workers = made.own.worker_cores(made.events_per_day, "mid")
    busy = Fraction(made.events_per_day, SECONDS_A_DAY) / made.own.events_per_s_per_core.mid / workers
    table = _table("Own cost, dollars a day")
    table.add_column("for", no_wrap=True)
    table.add_column("$ a day", justify="right", no_wrap=True)
    table.add_column("low – high", justify="right", no_wrap=True)
    table.add_column("details", overflow="fold")
    settings = made.settings
    core_hour = dollars(Fraction(settings.core_hour_usd))
    details = {
        "worker cores": f"{workers} reserved at {core_hour}/h, {percent(busy)} busy on average",
        "broker and ledger cores": f"{cores - workers} reserved",
        "storage": f"{settings.replicas} copies for {settings.retention_days} days",
        "network": f"{dollars(Fraction(settings.network_usd_per_gb))}/GB",
        "people": f"${settings.people_usd_per_month:,} a month",
        "training, labels, setting up": f"{dollars(made.own.one_off_usd.mid)} spread over {settings.horizon_days} days",
        "errors the API would not make": f"{percent(made.own.accuracy_gap)} at {dollars(Fraction(settings.error_usd))}",
    }
    for name, line in made.own.lines(made.events_per_day).items():
        if line.high or name in ("worker cores", "people"):
            spread = "" if line.is_exact else dollar_range(line)
            table.add_row(name, dollars(line.mid), spread, details[name])
    whole = made.now.own_usd
    table.add_row("total", dollars(whole.mid), dollar_range(whole), "", style="green")
    return table


def _sensitivity(made: Study) -> Table:
    table = _table("Sensitivity")
    table.add_column("if", no_wrap=True)
    table.add_column("wins above", justify="right", no_wrap=True)
    if made.free is not None:
        table.add_column("paid API only", justify="right", no_wrap=True)
    table.add_column("then", no_wrap=True)
    for case in made.sensitivity:
        paid = [] if made.free is None else [count_text(case.paid.mid)]
        table.add_row(case.what, count_text(case.threshold.mid), *paid, VERDICTS[case.verdict])
    return table


def basis(made: Study) -> Table:
    """List the assumptions behind the numbers: prices and their dates, tokens, sizes, capacity, what is left out."""
    chosen = made.chosen
    size = Fraction(made.traffic.prompt_bytes, made.traffic.events)
    where = f"of {made.traffic.events:,} sampled events" if made.measured else "assumed (--payload-bytes, --sample)"
    low, middle, high = made.settings.events_per_s_per_core
    once = Fraction(made.settings.setup_usd + made.settings.training_usd)
    price = f"{chosen.prices.basis}; read from disk, not from the network"
    if chosen.list_to_bill != 1:
        price += f"; multiplied by {three(chosen.list_to_bill)}, the bill over the list price"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    grid.add_row("prices", price)
    later = [f"{one.model} from {day}" for one in made.models for day in one.prices.changes_on]
    if later:
        grid.add_row("", f"announced changes, not counted: {', '.join(later)}")
    grid.add_row("tokens", chosen.tokens.method)
    grid.add_row(
        "prompt",
        f"instructions of {round(chosen.prompt.system.mid):,} tokens ({chosen.prompt.system_source}); reasoning tokens "
        "are assumed to be zero, which favours the API",
    )
    grid.add_row("events", f"{three(size)} bytes of text each, {where}")
    for offer in _noted(made):
        grid.add_row(offer.mode.label, "; ".join(offer.notes))
    if made.free is not None:
        endpoint = made.free.endpoint
        grid.add_row("free endpoint", f"{endpoint.source}; read {endpoint.date}{unsure(endpoint)}")
    tiers = chosen.limits.get(chosen.best.mode.name, ())
    if tiers:
        grid.add_row("limits", f"{tiers[-1].tier.source}; read {tiers[-1].tier.date}{unsure(tiers[-1].tier)}")
    capacity = (
        f"{low:,} / {middle:,} / {high:,} short events a second on a busy core "
        f"({three(made.own.events_per_s_per_core.mid)} of these), {percent(made.own.utilization)} of it used; "
        f"{CAPACITY_REPORT}: {MEASURED_EVENTS_PER_S:,}/s on {MEASURED_CORES} cores, broker included"
    )
    grid.add_row("capacity", capacity)
    grid.add_row(
        "spent once",
        f"{dollars(once)} setting up and training; {made.label_source}: {dollars(made.labelling_usd.mid)}",
    )
    grid.add_row("ranges", "lowest to highest assumption (--help), not confidence intervals; ? means not confirmed")
    return grid


def _noted(made: Study) -> list[Offer]:
    offers = (made.chosen.offers.get("cached"), made.chosen.offers.get("combined"))
    return [offer for offer in offers if offer is not None and offer.notes]

"""Runs ``farthing breakeven``: says when a tuned model pays and when the API wins, in words and then in tables."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

from farthing import config
from farthing.breakeven.chart import terminal_chart, write_png
from farthing.breakeven.live import Live, read_live
from farthing.breakeven.options import BreakevenOptions, events_per_day
from farthing.breakeven.tables import basis, tables
from farthing.breakeven.words import calibration_words, error_words, summary
from farthing.errors import BundleError, ConfigError, DataError
from farthing.files import keep_apart, read_lines, read_rows
from farthing.meter.calibration import Calibration, read_export
from farthing.meter.facts import load_facts
from farthing.meter.money import Interval, json_text, usd
from farthing.meter.opponents import Offer, Traffic
from farthing.meter.prices import PriceList
from farthing.meter.prompts import load_prompts
from farthing.meter.settings import MeterSettings
from farthing.meter.study import ModelStudy, Study, TokenBasis, study, usd_per_million
from farthing.meter.tokens import TextSample, load_tokenizer
from farthing.meter.usage import SizeCount, size_class
from farthing.model.shipped import find_bundle
from farthing.process.output import report_console, write_json_text
from farthing.scoring.manifest import MANIFEST, read_stated

MOST_SAMPLED: Final = 20_000
WIDEST: Final = 100
DEFAULT_VOLUME: Final = "1M"


def run(options: BreakevenOptions, *, config_file: Path | None, as_json: bool) -> int:
    """Run the command; returns the exit code."""
    settings = config.load(config_file, options.settings(), config.Assumptions).settings
    keep_apart(
        [
            ("--config", config_file), ("--sample", options.sample), ("--tokenizer", options.tokenizer),
            *((f"meter.{name}", getattr(settings.meter, name))
              for name in ("usage_export", "price_file", "facts_file", "system_prompt_file")),
        ],
        [("--plot", options.plot)],
    )  # fmt: skip
    live = None
    if options.ledger is not None:
        wrong = options.conflicting()
        if wrong is not None:
            raise ConfigError(f"--ledger measures the traffic: leave out {wrong}")
        live = read_live(options.ledger, options.task, settings.ledger.token_file)
    task = options.task or (_task_of(settings) if live is None else live.task)
    made = make_study(options, settings.meter, task, live)
    if options.plot is not None:
        write_png(made, options.plot)
    console = report_console(as_json=as_json)
    width = min(console.width, WIDEST)
    console.print(summary(made), highlight=False, width=width)
    console.print()
    console.print(terminal_chart(made, width), no_wrap=True, crop=True)
    for table in tables(made):
        console.print()
        console.print(table, width=width)
    errors = error_words(made)
    if errors:
        console.print()
        console.print(errors, highlight=False, width=width)
    if made.calibration is not None:
        console.print()
        console.print(calibration_words(made.calibration, applied=settings.meter.apply_calibration), width=width)
    console.print()
    console.print(basis(made), width=width)
    if live is not None:
        origin = f"sizes and scripts of {live.traffic.events:,} events of {live.topic}, from {options.ledger}"
        if options.events_per_day is None:
            origin += f"; volume of the {live.events_per_day_from}"
        console.print(origin, highlight=False, width=width)
    if options.plot is not None:
        console.print(f"chart written to {options.plot}", highlight=False)
    if as_json:
        write_json_text(json_text(report(made)))
    return 0


def make_study(options: BreakevenOptions, settings: MeterSettings, task: str, live: Live | None = None) -> Study:
    """Gather what the study needs: the day's prices, facts, the sample or the ledger's traffic, the bill."""
    prompts = load_prompts()
    if task not in prompts:
        raise ConfigError(f"task {task!r} has no prompt model; choose one of {', '.join(prompts)} (--task)")
    entry = prompts[task]
    system_text = _read(settings.system_prompt_file, "meter.system_prompt_file")
    rows = entry.rows if options.rows is None else options.rows
    traffic, tokens, volume = None, None, options.events_per_day or DEFAULT_VOLUME
    if live is not None:
        traffic, tokens = live.traffic, live.tokens
        volume = options.events_per_day or str(live.events_per_day)
    elif options.sample is not None:
        if options.payload_bytes is not None:
            raise ConfigError("--sample measures the size of events: leave out --payload-bytes")
        traffic, tokens = _measure(
            options, entry.rows if options.rows is None else options.rows, system_text or entry.system
        )
    elif options.tokenizer is not None:
        raise ConfigError("--tokenizer counts the tokens of a sample: give --sample FILE too")
    elif options.payload_bytes is not None or options.rows is not None:
        size = entry.payload_bytes if options.payload_bytes is None else options.payload_bytes
        traffic = Traffic.made_up(size, rows)
    as_of = _day(options.as_of)
    prices = PriceList(as_of, settings.price_file)
    return study(
        settings,
        task,
        entry,
        events_per_day(volume),
        prices,
        load_facts(settings.facts_file),
        traffic=traffic,
        tokens=tokens,
        system_text=system_text,
        calibration=_calibration(settings, prices),
    )


def report(made: Study) -> dict[str, object]:
    """Return the study as one JSON object, with unrounded dollars."""
    here = made.now
    return {
        "verdict": made.verdict,
        "threshold_events_per_day": made.threshold.as_dict(),
        "threshold_events_per_day_paid": made.threshold_paid.as_dict(),
        "events_per_day": made.events_per_day,
        "task": made.task,
        "model": made.chosen.model,
        "mode": made.chosen.best.mode.name,
        "own_usd_per_day": here.own_usd,
        "own_usd_per_million": usd_per_million(here.own_usd, made.events_per_day),
        "own_usd_per_day_by": dict(made.own.lines(made.events_per_day)),
        "own_cores": {"mid": made.own.cores(made.events_per_day, "mid")},
        "api_usd_per_day": here.api_usd,
        "api_usd_per_million": made.chosen.best.usd_per_event.times(1_000_000),
        "free_endpoint": None if made.free is None else {
            "endpoint": made.free.endpoint.endpoint,
            "takes_events_per_day": _whole(made.free.events_per_day),
            "takes_this_volume": made.free_takes_it,
            "limit": made.free.binding,
            "tier": made.free.tier.tier,
            "source": made.free.endpoint.source,
            "date": made.free.endpoint.date,
            "certain": made.free.endpoint.certain,
        },
        "one_off_usd": made.own.one_off_usd,
        "payback_days": made.payback.as_dict(),
        "models": [_model(one) for one in made.models],
        "thresholds_by_mode": {name: at.as_dict() for name, at in made.thresholds.items()},
        "sensitivity": [
            {"what": case.what, "verdict": case.verdict, "threshold_events_per_day": case.threshold.as_dict(),
             "threshold_events_per_day_paid": case.paid.as_dict()}
            for case in made.sensitivity
        ],
        "error_usd_allowed": {str(usd(gap).normalize()): allowed for gap, allowed in made.errors_allowed.items()},
        "traffic": {
            "bytes_per_event": usd(Fraction(made.traffic.prompt_bytes, made.traffic.events)),
            "rows_per_event": usd(made.traffic.rows_per_event),
            "sampled_events": made.traffic.events if made.measured else None,
        },
        "calibration": None if made.calibration is None else {
            "source": made.calibration.source,
            "list_to_bill": None if made.calibration.list_to_bill is None else usd(made.calibration.list_to_bill),
            "list_usd": usd(made.calibration.list_usd),
            "billed_usd": usd(made.calibration.billed_usd),
            "unpriced_rows": made.calibration.unpriced_rows,
            "unpriced_usd": usd(made.calibration.unpriced_usd),
            "applied": made.settings.apply_calibration,
        },
        "inputs": json.loads(made.settings.model_dump_json(exclude={"compare_with"})),
        "prices_as_of": made.chosen.prices.basis.as_of,
    }  # fmt: skip


def _model(one: ModelStudy) -> dict[str, object]:
    return {
        "model": one.model,
        "prices": {
            "source": one.prices.basis.source,
            "source_date": one.prices.basis.source_date,
            "as_of": one.prices.basis.as_of,
            "changes_on": list(one.prices.changes_on),
        },
        "tokens": one.tokens.method,
        "list_to_bill": usd(one.list_to_bill),
        "best": one.best.mode.name,
        "usd_per_million": {name: None if offer is None else _per_million(offer) for name, offer in one.offers.items()},
        "fits_limits": {
            name: {limit.tier.tier: limit.fits for limit in tiers} for name, tiers in one.limits.items() if tiers
        },
    }


def _per_million(offer: Offer) -> Interval:
    return offer.usd_per_event.times(1_000_000)


def _whole(of: Interval) -> dict[str, int]:
    return {"low": int(of.low), "mid": int(of.mid), "high": int(of.high)}


def _task_of(settings: config.Settings) -> str:
    if not settings.route:
        return "moderation"
    folder = find_bundle(settings.route[0].bundle)
    try:
        return str(read_stated(folder)["task"])
    except (BundleError, KeyError) as error:
        raise ConfigError(f"{folder / MANIFEST}: does not name its task ({error}); give --task") from error


def _day(text: str | None) -> datetime.date:
    if text is None:
        return datetime.datetime.now(datetime.UTC).date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--as-of {text}: write the day as YYYY-MM-DD") from error


def _read(path: Path | None, setting: str) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} = {str(path)!r}: cannot be read ({error})") from error


def _calibration(settings: MeterSettings, prices: PriceList) -> Calibration | None:
    if settings.usage_export is None:
        return None
    provider = settings.compare_with[0].partition(":")[0]
    try:
        rows = [(row.line, row.values) for row in read_rows(settings.usage_export)]
    except ConfigError as error:
        raise ConfigError(f"meter.usage_export: {error}") from error
    return read_export(rows, settings.usage_export.name, provider, prices)


def _measure(options: BreakevenOptions, rows: int, system_text: str) -> tuple[Traffic, TokenBasis]:
    """Measure sizes, scripts and, with a tokenizer, tokens of a file's first events."""
    assert options.sample is not None
    count = None if options.tokenizer is None else load_tokenizer(options.tokenizer)
    sampled = TextSample()
    calls: dict[int, SizeCount] = {}
    for text in _texts(options.sample):
        sampled += TextSample.of(text, count)
        size = len(text.encode())
        before = calls.get(size_class(size), SizeCount(0, 0))
        calls[size_class(size)] = SizeCount(before.calls + 1, before.prompt_bytes + size)
    if sampled.texts < 2 or not sum(sampled.bytes_by_script.values()):
        raise ConfigError(f"--sample {options.sample}: {sampled.texts} events; at least two with some text are needed")
    traffic = Traffic(calls, Fraction(rows))
    if count is None or options.tokenizer is None:
        return traffic, TokenBasis(sampled.bytes_by_script)
    of_system = count(system_text.strip())
    name, owner = options.tokenizer.name, options.tokenizer_of
    return traffic, TokenBasis(sampled.bytes_by_script, sampled, name, owner, of_system)


def _texts(path: Path) -> Iterator[str]:
    """Yield the field ``text`` of each line's object, or the whole line if there is none; blank lines are skipped.

    Half of a surrogate pair, which JSON can express and UTF-8 cannot, becomes a question mark.

    Raises
    ------
    ConfigError
        The file cannot be read, or a line is not JSON; it is named by its number.
    """
    try:
        for number, line in itertools.islice(read_lines(path, f"--sample {path}"), MOST_SAMPLED):
            yield _text_of(line, f"--sample {path}: line {number}")
    except DataError as error:
        raise ConfigError(str(error)) from error


def _text_of(line: bytes, where: str) -> str:
    try:
        bare = line.decode()
        value = json.loads(bare)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON ({error}); fix or remove the line") from error
    text = value.get("text") if isinstance(value, dict) else None
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else bare

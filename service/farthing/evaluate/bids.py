"""Measures bidding: click probabilities, and what bids made from them win in a stream with recorded market prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError
from farthing.evaluate.cells import parse_names
from farthing.evaluate.groups import measure, parts_of
from farthing.evaluate.impressions import CLICK, MARKET_PRICE, PCTR, ImpressionRows, layout_of, read_impressions
from farthing.evaluate.measures import auctions, binary
from farthing.evaluate.measures.bidding import PriceModel, bid_in_episodes
from farthing.evaluate.measures.choices import Advance
from farthing.evaluate.options import EvaluateOptions, Result, Track, facts
from farthing.evaluate.prices import read_histogram
from farthing.evaluate.report import Group, Report
from farthing.evaluate.requests import RequestMap
from farthing.evaluate.scored import score
from farthing.model.scorer import Scorer
from farthing.scoring.manifest import Manifest

METRICS: Mapping[str, binary.Metric] = {
    "auc": binary.auc,
    "log_loss": binary.log_loss,
    "ece": binary.expected_calibration_error,
}

HISTOGRAMS = "*market_price_histogram*.csv*"
"""Name of the file with the training data's market prices, beside a bid stream."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MarketPriors:
    """What the bidder knows before the stream begins."""

    prices: PriceModel
    prices_from: str
    click_rate: float
    click_rate_from: str

    def budget(self, options: EvaluateOptions) -> float:
        """Return the budget of an episode, in the unit of the prices."""
        assert options.budget_factor is not None
        return auctions.episode_budget(self.prices.mean, options.budget_factor, episode=options.episode)

    def facts(self, options: EvaluateOptions) -> dict[str, Any]:
        """Return what a report says of the bids' settings."""
        return {
            "budget_factor": options.budget_factor,
            "strategy": options.strategy,
            "episode": options.episode,
            "budget": self.budget(options),
            "prices_from": self.prices_from,
            "click_rate": round(self.click_rate, 8),
            "click_rate_from": self.click_rate_from,
        }


def evaluate(scorer: Scorer, manifest: Manifest, options: EvaluateOptions, track: Track) -> Result:
    """Score impressions, or take the probabilities in the rows; measure them, and replay bids if asked to."""
    options.only("bidding", "slices", "positive", "budget_factor", "prices", "strategy", "click_rate", "episode")
    _check(options)
    rows = _read(scorer, manifest, options)
    scored_by = scorer.model_id if rows.events else f"{rows.pctr_column} of the rows"
    scores: NDArray[Any]
    if rows.events:
        scores = _of_events(score(scorer, rows.events, rows.places, track("scoring", len(rows))), rows)
    else:
        assert rows.pctr is not None
        scores = rows.pctr
    given = rows.pctr if rows.events else None
    replays = 0 if options.budget_factor is None else 1 + (len(rows.sources) if len(rows.sources) > 1 else 0)
    parts = parts_of(rows) + (given is not None) + replays
    advance = track("resampling", options.resamples * parts)
    settings: dict[str, Any] = {"seed": options.seed, "resamples": options.resamples, "advance": advance}
    measured = measure(rows, rows.clicks, scores, METRICS, **settings)
    compared = {}
    if given is not None:
        estimates = binary.estimate(rows.clicks, given, METRICS, **settings)
        compared[f"{rows.pctr_column} of the rows"] = Group(len(rows), int(rows.clicks.sum()), estimates)
    notes = [] if rows.events else [f"the rows have no field that {scorer.model_id} reads, so {scored_by} is measured"]
    market, whole, sources = None, measured.whole, measured.sources
    if options.budget_factor is not None:
        market = market_of(options, rows, scores, manifest if rows.events else None)
        whole, sources = _with_bids(rows, scores, market, options, measured.whole, sources, advance)
        notes += _market_notes(market, options)
    elif rows.market_prices is not None:
        notes.append("the rows have market prices: add --budget-factor to replay bids on them")
    report = Report(
        model=scorer.model_id,
        task=scorer.task,
        facts=facts(scored_by=scored_by, **({} if market is None else market.facts(options))),
        whole=whole,
        sources=sources,
        slices=measured.slices,
        resamples=options.resamples,
        seed=options.seed,
        compared=compared,
    )

    def draw(folder: Path, title: str) -> list[Path]:
        from farthing.evaluate.plots import write_plots

        return write_plots(folder, binary.count(rows.clicks, scores), title=title, equal_bins=False)

    return Result(
        report,
        title=f"click probabilities of {scored_by}",
        notes=notes,
        draw=draw,
        drawn_title=f"{scored_by}, {len(rows):,} impressions",
    )


def _read(scorer: Scorer, manifest: Manifest, options: EvaluateOptions) -> ImpressionRows:
    """Read the impressions, laid out like the bundle's training data."""
    requests = RequestMap.from_manifest(manifest.training_data)
    columns = () if requests is None else tuple(column.column for column in requests.columns)
    names = parse_names(options.names, (CLICK, MARKET_PRICE, PCTR, *columns))
    if not options.data:
        raise ConfigError("no data: give one or more files of labelled rows")
    read_fields = frozenset(field.name for field in scorer.field_plan.fields)
    return read_impressions(
        options.data, names, lambda row: layout_of(row, requests, read_fields, names, scorer.model_id),
        slices=options.slices, positive=options.positive,
    )  # fmt: skip


def market_of(
    options: EvaluateOptions, rows: ImpressionRows, scores: binary.Scores, manifest: Manifest | None
) -> MarketPriors:
    """Find out what the bidder knows: the prices and the share of clicks in training.

    Without ``--prices`` the prices are the histogram beside the first file, or, without that, the stream's own, which
    no bidder could know. Without ``--click-rate`` the share is that of the bundle's training data if the bundle scores
    (``manifest``), and else the mean of the probabilities.

    Raises
    ------
    ConfigError
        The rows have no market prices, or there are several histograms.
    """
    if rows.market_prices is None:
        raise ConfigError(
            f"--budget-factor: {', '.join(rows.sources)}: the rows have no {MARKET_PRICE}; name its column with "
            f"--map {MARKET_PRICE}=COLUMN, or leave --budget-factor out"
        )
    path = options.prices
    if path is None:
        beside = sorted(Path(rows.sources[0]).parent.glob(HISTOGRAMS))
        if len(beside) > 1:
            raise ConfigError(f"--budget-factor: {', '.join(map(str, beside))}: choose one with --prices")
        path = beside[0] if beside else None
    if path is not None:
        model, origin = PriceModel(read_histogram(path)), str(path)
    else:
        whole = np.floor(rows.market_prices).astype(np.int64)
        if not whole.any():
            raise ConfigError("--budget-factor: all market prices are under 1; give those of training with --prices")
        model, origin = PriceModel(np.bincount(whole).astype(np.float64)), "the stream itself"
    trained = {} if manifest is None else manifest.evaluation.get("rows", {})
    if options.click_rate is not None:
        rate, rate_from = options.click_rate, "--click-rate"
    elif trained.get("train_clicks") and trained.get("train"):
        rate, rate_from = trained["train_clicks"] / trained["train"], "training"
    else:
        rate, rate_from = float(np.mean(scores, dtype=np.float64)), "the mean probability of the stream"
    return MarketPriors(model, origin, rate, rate_from)


def _check(options: EvaluateOptions) -> None:
    factor, rate = options.budget_factor, options.click_rate
    if factor is not None and not 0 < factor <= 1:
        raise ConfigError(f"--budget-factor {factor:g}: expected over 0 and at most 1, such as 0.03125")
    if rate is not None and not 0 < rate < 1:
        raise ConfigError(f"--click-rate {rate:g}: expected a share of clicks, over 0 and under 1")
    if options.episode < 1:
        raise ConfigError(f"--episode {options.episode}: expected 1 or more")


def _of_events(scores: NDArray[np.float32], rows: ImpressionRows) -> NDArray[np.float32]:
    if len(scores) != len(rows):
        raise ConfigError(
            f"the bundle gives {len(scores):,} scores for {len(rows):,} impressions: its field plan has no imp[*]"
        )
    return scores[:, 0]


def _with_bids(
    rows: ImpressionRows,
    scores: binary.Scores,
    market: MarketPriors,
    options: EvaluateOptions,
    whole: Group,
    sources: Mapping[str, Group],
    advance: Advance,
) -> tuple[Group, Mapping[str, Group]]:
    """Measure what bids win, file by file; no episode goes beyond its file."""
    assert rows.market_prices is not None
    replays = []
    for index in range(len(rows.sources)):
        here = rows.source == index
        try:
            replays.append(
                bid_in_episodes(
                    scores[here], rows.market_prices[here], rows.clicks[here], strategy=options.strategy,
                    prices=market.prices, mean_probability=market.click_rate, budget=market.budget(options),
                    episode=options.episode,
                )
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"--budget-factor {options.budget_factor:g}: {error}") from error
    together = auctions.Replay(
        auctions=np.concatenate([r.auctions for r in replays]),
        impressions_won=np.concatenate([r.impressions_won for r in replays]),
        clicks_won=np.concatenate([r.clicks_won for r in replays]),
        spend=np.concatenate([r.spend for r in replays]),
    )

    def added(group: Group, replayed: auctions.Replay) -> Group:
        won = auctions.estimate(replayed, seed=options.seed, resamples=options.resamples, advance=advance)
        return replace(group, metrics={**group.metrics, **won})

    bids = added(whole, together)
    if len(replays) == 1:
        return bids, dict.fromkeys(sources, bids)
    return bids, {name: added(sources[name], replayed) for name, replayed in zip(sources, replays, strict=True)}


def _market_notes(market: MarketPriors, options: EvaluateOptions) -> list[str]:
    notes = [
        f"bids: {options.strategy}, solved anew before each auction; a budget of {market.budget(options):,.0f} for "
        f"each {options.episode:,} auctions; prices of {market.prices_from}; click rate {market.click_rate:.6f} "
        f"({market.click_rate_from})"
    ]
    if market.prices_from == "the stream itself":
        notes.append("no bidder knows a stream's own prices beforehand: give those of training with --prices")
    return notes

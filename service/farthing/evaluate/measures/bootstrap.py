"""Bootstrap intervals by percentiles, seeded and vectorised.

A resample draws as many units as there are, with replacement (B. Efron and R. J. Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Units are rows for metrics of single rows, queries for ranking, episodes for auctions.
The same seed draws the same resamples on every machine. Resamples in which a metric is undefined are ignored.

Only the expected calibration error has another interval, :func:`centred_interval`: noise in a bin adds to a distance
whatever its sign, so most or all resamples are above the value on all rows, and the percentiles would be too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.evaluate.measures.choices import RESAMPLES, Advance

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]

CONFIDENCE: Final = 0.95
_DRAWS_AT_ONCE: Final = 1 << 20
"""Bounds memory: about 10 arrays of this many 8-byte numbers are alive at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on all units, and its interval. NaN means undefined."""

    value: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        """Whether value and interval are numbers."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())


def draws(n_units: int, *, seed: int, resamples: int) -> Iterator[Int64s]:
    """Draw units for all resamples, block by block: int64 (some resamples, n_units), values below n_units."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // n_units)
    for start in range(0, resamples, at_once):
        yield rng.integers(0, n_units, (min(at_once, resamples - start), n_units))


def tally(codes: Int64s, n_codes: int) -> Int64s:
    """Count each code in each row of ``codes``: int64 (m, n) with values below n_codes -> int64 (m, n_codes)."""
    rows = len(codes)
    shifted = codes + n_codes * np.arange(rows, dtype=np.int64)[:, np.newaxis]
    return np.bincount(shifted.ravel(), minlength=rows * n_codes).reshape(rows, n_codes)


def interval(spread: Floats) -> tuple[float, float]:
    """Return the percentile interval of a metric's values over resamples; NaN if none is defined."""
    defined = spread[~np.isnan(spread)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def centred_interval(value: float, spread: Floats) -> tuple[float, float]:
    """Return the percentile interval of a share with biased resamples, moved so that their median is at ``value``.

    Resampling noise adds to the expected calibration error as sampling noise did before, so its resamples are too high.
    That median bias, the median of ``spread`` less ``value``, is subtracted from each end (bias by the bootstrap and
    median bias: Efron and Tibshirani 1993, chapter 10 and section 14.3). The reflected (basic) interval, 2 value - high
    to 2 value - low, subtracts it twice and ends below ``value`` where all resamples are above it; the BCa interval is
    undefined there. This one always has low <= value <= high, is as wide as the percentile interval except for clipping
    to 0..1, and estimates the error to expect with that many rows; the bias of the value itself against infinitely many
    rows stays. Cards of bundles that were written with percentile intervals keep them until they are built again.

    Parameters
    ----------
    value:
        The metric on all units, 0 to 1.
    spread:
        float64 (n_resamples,), NaN where undefined.

    Returns
    -------
    Both ends, 0 to 1; NaN where ``value`` or all of ``spread`` is undefined.
    """
    low, high = interval(spread)
    if np.isnan(value) or np.isnan(low):
        return float("nan"), float("nan")
    bias = float(np.nanmedian(spread)) - value
    # The outer min and max are for rounding: low - (median - value) may be an ulp above value.
    return min(max(low - bias, 0.0), value), max(min(high - bias, 1.0), value)


def estimate_means(
    values: Mapping[str, Floats], *, seed: int = 0, resamples: int = RESAMPLES, advance: Advance | None = None
) -> dict[str, Estimate]:
    """Estimate means over units.

    Parameters
    ----------
    values:
        By metric, float64 (n_units,): its value in each unit, or NaN where it is undefined. Such units are left out of
        the mean, in each resample and in the whole.

    Returns
    -------
    By metric; NaN where no unit has a value.
    """
    n_units = _same_length(values)
    table = np.stack(list(values.values()), axis=1)  # (n_units, n_metrics)
    defined = ~np.isnan(table)
    filled = np.where(defined, table, 0.0)

    def means(counts: Int64s) -> Floats:
        with np.errstate(invalid="ignore"):  # 0 / 0 where no drawn unit has a value
            by_resample: Floats = (counts @ filled) / (counts @ defined)
        return by_resample

    return _estimate(list(values), means, n_units, seed=seed, resamples=resamples, advance=advance)


def estimate_sums(
    values: Mapping[str, Floats], *, seed: int = 0, resamples: int = RESAMPLES, advance: Advance | None = None
) -> dict[str, Estimate]:
    """Estimate sums over units; ``values`` as in :func:`estimate_means`, without NaN."""
    n_units = _same_length(values)
    table = np.stack(list(values.values()), axis=1)

    def sums(counts: Int64s) -> Floats:
        by_resample: Floats = counts @ table
        return by_resample

    return _estimate(list(values), sums, n_units, seed=seed, resamples=resamples, advance=advance)


def _estimate(
    names: list[str],
    statistic: Callable[[Int64s], Floats],
    n_units: int,
    *,
    seed: int,
    resamples: int,
    advance: Advance | None,
) -> dict[str, Estimate]:
    value = statistic(np.ones((1, n_units), np.int64))[0]
    parts = []
    for drawn in draws(n_units, seed=seed, resamples=resamples):
        parts.append(statistic(tally(drawn, n_units)))
        if advance is not None:
            advance(len(drawn))
    spread = np.concatenate(parts)
    return {name: Estimate(float(value[k]), *interval(spread[:, k])) for k, name in enumerate(names)}


def _same_length(values: Mapping[str, Floats]) -> int:
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        raise ValueError(f"expected values of the same units, one at least, for each metric; found {lengths}")
    return next(iter(lengths.values()))

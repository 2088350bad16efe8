"""Histograms of recorded market prices: a CSV with ``market_price`` (0, 1, 2, ...) and ``impressions``."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError


def read_histogram(path: Path) -> NDArray[np.float64]:
    """Read a histogram: float64 (n_prices,), impressions whose market price was 0, 1, 2, ...

    Raises
    ------
    ConfigError
        The file is missing or not as stated.
    """
    try:
        raw = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO((gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode())))
        prices = [int(row["market_price"]) for row in rows]
        counts = np.array([float(row["impressions"]) for row in rows])
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path}: no histogram with the columns market_price and impressions ({error!r}); give such a CSV"
        ) from error
    if prices != list(range(len(prices))) or not counts[1:].sum() > 0 or not np.isfinite(counts).all():
        raise ConfigError(
            f"{path}: market_price must be 0, 1, 2, ... with counts that are not all 0; mend or leave out the rows"
        )
    return counts

"""Reads histograms of recorded market prices: rows with ``market_price`` (0, 1, 2, ...) and ``impressions``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farthing.errors import ConfigError, DataError
from farthing.evaluate.cells import number
from farthing.files import read_rows


def read_histogram(path: Path) -> NDArray[np.float64]:
    """Read a histogram: float64 (n_prices,), impressions whose market price was 0, 1, 2, ...

    Raises
    ------
    ConfigError
        The file is missing, or is not such a histogram.
    """
    try:
        cells = [(number(row, "market_price", {}), number(row, "impressions", {})) for row in read_rows(path)]
    except DataError as error:
        raise ConfigError(
            f"{path}: no histogram with the columns market_price and impressions ({error}); give such a file"
        ) from error
    prices, counts = [price for price, _ in cells], np.array([count for _, count in cells])
    if prices != list(range(len(prices))) or not counts[1:].sum() > 0:
        raise ConfigError(
            f"{path}: market_price must be 0, 1, 2, ... with counts that are not all 0; fix or remove the rows"
        )
    return counts

"""The teacher for click logs: gradient-boosted trees (Ke et al., LightGBM, NeurIPS 2017), on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.clicks.log import ClickLog
from farthing.distill.clicks.recipe import Boosting
from farthing.errors import ConfigError, extra
from farthing.evaluate.requests import Value

Floats = NDArray[np.float32]


def import_lightgbm() -> Any:
    """Import LightGBM, or say which extra has it.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(f"the teacher needs LightGBM: {extra('distill')}") from error
    return lightgbm


class Teacher:
    """Gradient boosting on one click log.

    Parameters
    ----------
    settings, seed:
        How trees are grown.
    log:
        The training log.
    fold:
        (n,) which fold a row is in, from 0 on.
    """

    def __init__(self, settings: Boosting, log: ClickLog, fold: NDArray[np.int64], *, seed: int) -> None:
        self._lightgbm = import_lightgbm()
        self._encoder = _Encoder(log)
        self._x, self._y, self._fold = self._encoder.encode(log), log.clicks, fold
        self._rounds = settings.rounds
        self._parameters = {
            "objective": "binary", "num_leaves": settings.leaves, "learning_rate": settings.learning_rate,
            "min_data_in_leaf": settings.min_leaf_rows, "cat_smooth": settings.category_smoothing,
            "cat_l2": settings.category_smoothing, "max_cat_threshold": 16, "seed": seed, "num_threads": 1,
            "deterministic": True, "force_row_wise": True, "verbosity": -1,
        }  # fmt: skip

    def out_of_fold(self, held: int | None) -> Floats:
        """Return probabilities (n,), each from trees that saw neither its own fold nor the fold ``held``.

        Rows of ``held`` are NaN. A student that is judged on ``held`` must not learn of its clicks through the teacher.
        """
        answers = np.full(len(self._y), np.nan, np.float32)
        for k in range(int(self._fold.max()) + 1):
            if k != held:
                seen = self._fold != k if held is None else (self._fold != k) & (self._fold != held)
                answers[self._fold == k] = self._fit(seen).predict(self._x[self._fold == k])
        return answers

    def predict(self, log: ClickLog) -> Floats:
        """Return probabilities on another log, from trees that saw all training rows."""
        whole = self._fit(np.ones(len(self._y), np.bool_))
        return np.asarray(whole.predict(self._encoder.encode(log)), np.float32)

    def _fit(self, rows: NDArray[np.bool_]) -> Any:
        data = self._lightgbm.Dataset(
            self._x[rows], self._y[rows], categorical_feature=self._encoder.categorical, params={"verbosity": -1}
        )
        return self._lightgbm.train(self._parameters, data, num_boost_round=self._rounds)


class _Encoder:
    """Turn texts into codes and leave numbers unchanged. A text that training has not seen counts as missing."""

    def __init__(self, log: ClickLog) -> None:
        self._codes: dict[str, dict[str, int] | None] = {}
        for name, values in log.cells.items():
            texts = sorted({v for v in values if isinstance(v, str)})
            self._codes[name] = {text: code for code, text in enumerate(texts)} if texts else None
        self.categorical = [k for k, codes in enumerate(self._codes.values()) if codes is not None]

    def encode(self, log: ClickLog) -> NDArray[np.float64]:
        columns = [[self._code(codes, value) for value in log.cells[name]] for name, codes in self._codes.items()]
        return np.array(columns, np.float64).T.copy()

    @staticmethod
    def _code(codes: dict[str, int] | None, value: Value) -> float:
        if value is None:
            return float("nan")
        if isinstance(value, str):
            return float("nan") if codes is None else float(codes.get(value, "nan"))
        return float("nan") if codes is not None else float(value)

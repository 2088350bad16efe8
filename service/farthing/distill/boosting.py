"""The teacher of click logs: gradient-boosted trees (Ke et al., LightGBM, NeurIPS 2017), on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.click_recipe import Boosting
from farthing.distill.clicks import ClickLog, Value
from farthing.errors import ConfigError

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
        raise ConfigError("the teacher needs LightGBM: pip install 'farthing[distill]'") from error
    return lightgbm


def teach(settings: Boosting, train: ClickLog, test: ClickLog, *, folds: int, seed: int) -> tuple[Floats, Floats]:
    """Train a teacher.

    Returns
    -------
    Its probabilities on the training rows, each from trees that did not see the row's fold, and on the test rows.
    """
    lightgbm = import_lightgbm()
    encoder = _Encoder(train)
    x, y = encoder.encode(train), train.clicks
    parameters = {
        "objective": "binary", "num_leaves": settings.leaves, "learning_rate": settings.learning_rate,
        "min_data_in_leaf": settings.min_leaf_rows, "cat_smooth": settings.category_smoothing,
        "cat_l2": settings.category_smoothing, "max_cat_threshold": 16, "seed": seed, "num_threads": 1,
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip

    def fit(rows: NDArray[np.bool_]) -> Any:
        data = lightgbm.Dataset(x[rows], y[rows], categorical_feature=encoder.categorical, params={"verbosity": -1})
        return lightgbm.train(parameters, data, num_boost_round=settings.rounds)

    out_of_fold = np.empty(len(y), np.float32)
    fold = train.folds % folds
    for k in range(folds):
        out_of_fold[fold == k] = fit(fold != k).predict(x[fold == k])
    whole = fit(np.ones(len(y), np.bool_))
    return out_of_fold, np.asarray(whole.predict(encoder.encode(test)), np.float32)


class _Encoder:
    """Texts to codes, numbers as they are. A text that training has not seen is missing."""

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

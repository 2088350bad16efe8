"""A local teacher without a neural net: two logistic regressions on counts of words and characters.

One uses TF-IDF of word pairs and of character 2- to 5-grams, the other binary word pairs scaled by naive-Bayes
log-count ratios (Wang and Manning 2012). Each is weak where the other is not, and their mean is better than either. A
teacher that has learnt a text by heart teaches nothing about it, so predictions on its training texts are out of fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.distill.show import Progress
from farthing.errors import ConfigError, extra

Floats = NDArray[np.float32]

TFIDF_C, NB_C = 2.0, 0.25  # inverse regularization: the best of 0.25, 1, 2, 4 on the dev splits of two moderation sets
_TOKEN = r"\w+|[^\w\s]"


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A fitted pair of models for one head."""

    vectorizers: tuple[Any, Any]
    tfidf_model: Any
    counter: Any
    ratio: NDArray[np.float64]
    nb_model: Any

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the mean of the two models' decision values, float64 (n,). They are not calibrated."""
        counts = self.counter.transform(texts).astype(np.float64).multiply(self.ratio).tocsr()
        return np.asarray((self.tfidf_logits(texts) + self.nb_model.decision_function(counts)) / 2, np.float64)

    def tfidf_logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the decision values of the TF-IDF model alone, float64 (n,)."""
        from scipy.sparse import hstack

        tfidf = hstack([v.transform(texts) for v in self.vectorizers]).tocsr()
        return np.asarray(self.tfidf_model.decision_function(tfidf), np.float64)


def fit(texts: Sequence[str], labels: NDArray[np.bool_]) -> LinearModel:
    """Fit both models to the labels of one head.

    Raises
    ------
    ConfigError
        scikit-learn is not installed.
    """
    try:
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(f"a teacher of kind linear needs scikit-learn: {extra('distill')}") from error
    vectorizers = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
    )

    def regression(c: float) -> Any:
        return LogisticRegression(C=c, solver="liblinear", class_weight="balanced", random_state=0)

    tfidf = hstack([v.fit_transform(texts) for v in vectorizers]).tocsr()
    counter = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=_TOKEN)
    counts = counter.fit_transform(texts).astype(np.float64)
    yes = np.asarray(counts[labels].sum(axis=0)).ravel() + 1.0
    no = np.asarray(counts[~labels].sum(axis=0)).ravel() + 1.0
    ratio = np.log(yes / yes.sum()) - np.log(no / no.sum())
    return LinearModel(
        vectorizers,
        regression(TFIDF_C).fit(tfidf, labels),
        counter,
        ratio,
        regression(NB_C).fit(counts.multiply(ratio).tocsr(), labels),
    )


def out_of_fold(
    texts: Sequence[str], labels: NDArray[np.bool_], folds: int, seed: int, progress: Progress
) -> NDArray[np.float64]:
    """Return each text's logit from a model that has not seen it, float64 (n,).

    Raises
    ------
    ConfigError
        There are too few texts of one class for that many folds.
    """
    fold = np.empty(len(texts), np.int64)
    rng = np.random.default_rng(seed)
    for side in (labels, ~labels):  # so that each fold has its share of both classes
        places = rng.permutation(np.flatnonzero(side))
        if len(places) < 2 * folds:
            raise ConfigError(
                f"teacher linear: {len(places)} texts of one class are too few for {folds} folds; give at least "
                f"{2 * folds} or fewer folds"
            )
        fold[places] = np.arange(len(places)) % folds
    logits = np.empty(len(texts))
    for k in range(folds):
        held = fold == k
        model = fit([t for t, h in zip(texts, held, strict=True) if not h], labels[~held])
        logits[held] = model.logits([t for t, h in zip(texts, held, strict=True) if h])
        progress(k + 1, folds, "linear: folds")
    return logits

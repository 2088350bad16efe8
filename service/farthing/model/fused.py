"""Hashes and scores texts in one go: ids are made for some tens of rows and used while they are in the L1 cache.

That is for models with one text feature and no other. It gives what the stages ``featurize`` and ``score`` give one
after the other, because it calls the same kernels; what it saves is the way of all ids to memory and back.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from farthing.blocks import Bytes, FieldColumns, Int32s, Int64s, ScoreBlock, TextColumn
from farthing.features import Featurizer
from farthing.features.grams import WRITE_AHEAD_IDS
from farthing.features.spec import FeatureSpec, TextFeature
from farthing.features.text import TextHashing, TextScratch, hash_texts, most_ids_each
from farthing.kernels.jit import kernel
from farthing.scoring.embedding_bag import Float32s
from farthing.scoring.rows import AHEAD, NetArrays, RowScratch, row_scratch, score_rows

TILE_IDS: Final = 4096
"""Ids that a tile may have (a longer row is one by itself): 16 KiB, half of a small L1 cache."""


@kernel
def score_texts(
    data: Bytes, indptr: Int64s, row_indptr: Int64s, how: TextHashing, bias: int, ids_of_byte: int, ids_of_row: int,
    text: TextScratch, ids: Int32s, ids_indptr: Int64s, net: NetArrays, scratch: RowScratch, logits: Int32s,
    scores: Float32s,
) -> None:  # fmt: skip
    """Score the text of each event for each of its rows; AHEAD logits and scores after the last are overwritten."""
    room, event = len(ids) - WRITE_AHEAD_IDS, 0
    while event < len(row_indptr) - 1:
        begin, used = event, 0
        while event < len(row_indptr) - 1:
            length = min(indptr[event + 1] - indptr[event], how.max_bytes)
            used += (length * ids_of_byte + ids_of_row) * (row_indptr[event + 1] - row_indptr[event])
            if used > room and event > begin:
                break
            event += 1
        first = row_indptr[begin]
        hash_texts(
            data, indptr[begin : event + 1], row_indptr[begin : event + 1], False, how, bias, text, ids, ids_indptr
        )
        score_rows(ids_indptr, ids, row_indptr[event] - first, net, scratch, first, logits, scores)


def measure_texts_reference(
    indptr: Int64s, row_indptr: Int64s, max_bytes: int, ids_of_byte: int, ids_of_row: int
) -> tuple[int, int]:
    """Plain form of :func:`measure_texts`."""
    lengths = np.minimum(np.diff(indptr), max_bytes)
    ids = (lengths * ids_of_byte + ids_of_row) * np.diff(row_indptr)
    return int(ids.max(initial=0)), int(lengths.max(initial=0))


@kernel(reference=measure_texts_reference)
def measure_texts(
    indptr: Int64s, row_indptr: Int64s, max_bytes: int, ids_of_byte: int, ids_of_row: int
) -> tuple[int, int]:
    """Return the most ids that an event may have, in all of its rows, and the most bytes that a text is read of."""
    most = longest = 0
    for event in range(len(row_indptr) - 1):
        length = min(indptr[event + 1] - indptr[event], max_bytes)
        longest = max(longest, length)
        most = max(most, (length * ids_of_byte + ids_of_row) * (row_indptr[event + 1] - row_indptr[event]))
    return most, longest


class FusedTexts:
    """A featurizer and a net together."""

    def __init__(self, featurizer: Featurizer, feature: TextFeature, net: NetArrays) -> None:
        self._featurizer, self._feature, self._net = featurizer, feature, net

    def __call__(self, columns: FieldColumns) -> ScoreBlock:
        """Compute each row's integer logits and scores. Raises ConfigError as the featurizer does."""
        feature, heads = self._feature, self._net.dense.n_heads
        column = self._featurizer.inputs(feature, columns)[0][1]
        assert isinstance(column, TextColumn)
        n_rows = int(columns.row_indptr[-1])
        of_byte, of_row = most_ids_each(feature)
        largest, longest = measure_texts(column.indptr, columns.row_indptr, feature.max_bytes, of_byte, of_row)
        room = max(largest, TILE_IDS)
        logits = np.empty(n_rows * heads + AHEAD, np.int32)
        scores = np.empty(n_rows * heads + AHEAD, np.float32)
        score_texts(
            column.data, column.indptr, columns.row_indptr, self._featurizer.texts[0], self._featurizer.bias, of_byte,
            of_row, TextScratch.of(longest), np.empty(room + WRITE_AHEAD_IDS, np.int32),
            np.zeros(room // of_row + 1, np.int64), self._net, row_scratch(self._net), logits, scores,
        )  # fmt: skip
        n, shape = n_rows * heads, (n_rows, heads)
        return ScoreBlock(logits[:n].reshape(shape), scores[:n].reshape(shape))


def text_alone(spec: FeatureSpec) -> TextFeature | None:
    """Return the one text feature of each event that a spec consists of, if it does."""
    feature = spec.features[0] if len(spec.features) == 1 else None
    return feature if isinstance(feature, TextFeature) and not feature.per_row else None

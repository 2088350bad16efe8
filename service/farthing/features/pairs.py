"""Compares queries with candidates: the numbers and word features of each pair, in one pass over each text.

:mod:`farthing.features.pair_spec` says what the numbers mean; :mod:`farthing.features.pair_reference` computes the same
in plain Python. All sums are sums of integers. The only floats (square roots and quotients of whole numbers below
2**53, for cosines) are single IEEE 754 operations, so numbers are the same on every machine.

Three kernels run over a block. :func:`scan_pairs` reads the texts, by :mod:`farthing.features.pair_query` and
:mod:`farthing.features.pair_text`; in :mod:`farthing.features.pair_relations`, :func:`relate` compares the candidates
of an event with one another and :func:`emit` looks up the intervals' ids.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s, Presence
from farthing.features.pair_layout import SCORE, SCORE_LIMIT, TITLE, TITLE_WORDS, Known, Query, Settings, Text
from farthing.features.pair_query import read_query
from farthing.features.pair_spec import ABSENT
from farthing.features.pair_text import read_text, read_title
from farthing.kernels.jit import kernel

_PRESENT: Final = int(Presence.PRESENT)


@kernel
def scan_pairs(
    row_indptr: Int64s, queries: Bytes, query_indptr: Int64s, texts: Bytes, text_indptr: Int64s, presence: Bytes,
    titles: Bytes, title_indptr: Int64s, scores: NDArray[np.float64], table: Bytes,
    s: Settings, lexicon: Known, query: Query, text: Text,
    numbers: Int64s, sums: Int64s, ids: Int32s, ids_indptr: Int64s,
) -> None:  # fmt: skip
    """Read all pairs of a block: plain numbers (n_rows, 3 N), text vectors (n_rows, dim), word ids.

    ``title_indptr`` and ``scores`` are empty where the feature has no such field. A row without a text is left out: it
    gets no numbers and no ids.
    """
    at = 0
    ids_indptr[0] = 0
    for event in range(len(row_indptr) - 1):
        first_row, last_row = row_indptr[event], row_indptr[event + 1]
        if first_row == last_row:
            continue
        n = read_query(queries, query_indptr[event], query_indptr[event + 1], table, s, lexicon, query, text)
        for r in range(first_row, last_row):
            ids_indptr[r + 1] = at
            if presence[r] != _PRESENT:
                continue
            row = numbers[r]
            at = read_text(
                texts, text_indptr[r], text_indptr[r + 1], table, s, lexicon, query, n, text, row, ids, at
            )  # fmt: skip
            ids_indptr[r + 1] = at
            for d in range(sums.shape[1]):
                sums[r, d] = text.sums[d]
            row[TITLE] = row[TITLE_WORDS] = row[SCORE] = ABSENT
            if len(title_indptr) > 0:
                read_title(titles, title_indptr[r], title_indptr[r + 1], table, s, query, n, text, row)
            if len(scores) > 0 and not np.isnan(scores[r]):
                units = np.rint(scores[r] / s.score_unit)
                row[SCORE] = np.int64(min(max(units, -SCORE_LIMIT), SCORE_LIMIT))

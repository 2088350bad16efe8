"""Golden vectors: the results that a model must give for fixed events, checked on the machine it runs on.

The expected values come from the references (plain Python and NumPy), never from the kernels and ONNX Runtime that they
check. Integers (accumulators, logits, prices) and our own scores must be equal bit for bit; scores from ONNX Runtime
running the whole of ``model.onnx`` must be within :data:`PLAIN_TOLERANCE`, with the same labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import (
    BidBlock,
    DecisionInputs,
    FeatureBlock,
    FieldColumns,
    Int64s,
    RankingBlock,
    RecordBlock,
    ScoreBlock,
    Status,
)
from farthing.errors import BundleError
from farthing.model.stages import Stages
from farthing.payload import FieldPlan, parse
from farthing.scoring.embedding_bag import accumulate_reference
from farthing.scoring.finish import finish_reference
from farthing.scoring.golden_file import Golden
from farthing.scoring.graph import reference_logits
from farthing.scoring.manifest import MAP_INSTEAD
from farthing.scoring.session import open_session

PLAIN_TOLERANCE = 1e-6
MAX_GOLDEN_EVENT_BYTES = 1 << 20
_PADDED_CELLS = 1 << 17  # ids of one plain run, padding included: bounds its memory for events of any length
_BATCH_SIZES = (1, 2, 3, 5, 8, 13, 16, 17, 31, 33, 64, 129)
_STRESS_ROWS = 1031  # of one run; a prime: no batch size divides it, so with every size the last batch is incomplete
_SEED = 20240229


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked and found right."""

    golden_events: int
    golden_rows: int
    plain_score_difference: float  # largest difference from ONNX Runtime running the whole model
    batch_sizes: tuple[int, ...]
    stress_rows: int
    batch_difference: float = 0.0  # largest difference of a score between batches: above 0 only if a manifest allows it


def make_golden(stages: Stages, values: Sequence[bytes]) -> Golden:
    """Compute golden vectors with the references.

    Parameters
    ----------
    stages:
        The model's stages; featurize and decide are used.
    values:
        Events, good and bad: ordinary ones, empty text, long text, refused ones.
    """
    columns, features, inputs = _columns_and_features(stages, values)
    net, tensors = stages.hashed, stages.hashed.tensors
    accumulators = accumulate_reference(features.indptr, features.indices, net.table)
    logits = reference_logits(tensors, accumulators, np.diff(features.indptr).astype(np.int32))
    scores = finish_reference(logits, tensors.logit_scale, tensors.logit_bias)
    decisions = stages.decide(columns, ScoreBlock(logits, scores), inputs)
    indptr = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=indptr[1:])
    return Golden(
        values=np.frombuffer(b"".join(values), np.uint8),
        values_indptr=indptr,
        status=decisions.status,
        accumulators=accumulators,
        logits=logits,
        scores=scores,
        labels=decisions.labels,
        prices_micros=_prices(decisions),
        order=_order(decisions),
    )


def verify(stages: Stages, golden: Golden) -> Verification:
    """Check a model against golden vectors, and that its scores depend neither on batches nor on who runs its net.

    Raises
    ------
    BundleError
        Something differs; the message says what, where, and both values.
    """
    data = golden.values.tobytes()
    values = [data[start:stop] for start, stop in itertools.pairwise(golden.values_indptr.tolist())]
    columns, features, inputs = _columns_and_features(stages, values)
    scores = stages.score(features)
    decisions = stages.decide(columns, scores, inputs)
    _compare("status", decisions.status, golden.status)
    _compare("accumulators", stages.hashed.accumulate(features), golden.accumulators)
    _compare("logits", scores.logits, golden.logits)
    _compare("scores", scores.scores, golden.scores)
    _compare("labels", decisions.labels, golden.labels)
    for what, computed, expected in (
        ("prices", _prices(decisions), golden.prices_micros),
        ("order", _order(decisions), golden.order),
    ):
        if (computed is None) != (expected is None):
            raise BundleError(
                f"golden {what}: the task {stages.task} gives {'none' if computed is None else 'some'}, the bundle has "
                f"{'none' if expected is None else 'some'}; build the bundle again"
            )
        if computed is not None and expected is not None:
            _compare(what, computed, expected)
    if stages.hashed.is_fused:
        fused = stages.score(columns)
        _compare("logits, fused", fused.logits, golden.logits)
        _compare("scores, fused", fused.scores, golden.scores)
    difference = _check_plain_run(stages, columns, features, inputs, golden)
    _check_batch_invariance(stages, golden)
    return Verification(
        golden_events=len(golden),
        golden_rows=len(golden.logits),
        plain_score_difference=difference,
        batch_sizes=_BATCH_SIZES,
        stress_rows=_STRESS_ROWS,
    )


def _prices(decisions: object) -> Int64s | None:
    return decisions.prices_micros if isinstance(decisions, BidBlock) else None


def _order(decisions: object) -> Int64s | None:
    return decisions.order if isinstance(decisions, RankingBlock) else None


def _columns_and_features(stages: Stages, values: Sequence[bytes]) -> tuple[FieldColumns, FeatureBlock, DecisionInputs]:
    # Not stages.parse: a worker's max_event_bytes or a map of fields must not make a sound bundle look broken.
    records = RecordBlock.of_values(values)
    plan = FieldPlan.from_manifest(stages.manifest.field_plan)
    columns = parse(records, plan, max_event_bytes=MAX_GOLDEN_EVENT_BYTES)
    inputs = DecisionInputs(records.buffer, records.timestamps_ms)  # at time 0, pacing 1
    return columns, stages.hashed.featurize(columns, records.buffer), inputs


def _compare(what: str, computed: NDArray[Any], golden: NDArray[Any]) -> None:
    if computed.shape != golden.shape:
        raise BundleError(f"golden {what}: shape {golden.shape}, found {computed.shape}; build the bundle again")
    different = np.argwhere(computed != golden)
    if len(different):
        place = tuple(int(i) for i in different[0])
        differ = f"golden {what}: {len(different)} of {golden.size} values differ; the first is at {place}: expected "
        differ += f"{golden[place]}, found {computed[place]}"
        if what == "status":  # parsing depends on the field plan and not on the machine
            raise BundleError(
                f"{differ} ({Status(int(computed[place])).name}). The golden events do not fit the manifest's field "
                f"plan: was it edited? Build the bundle again. {MAP_INSTEAD}"
            )
        raise BundleError(
            f"{differ}. This Farthing, ONNX Runtime or CPU does not reproduce the results that the bundle was built "
            "with: do not trust its scores here. Build the bundle again or report this machine"
        )


def _check_plain_run(
    stages: Stages, columns: FieldColumns, features: FeatureBlock, inputs: DecisionInputs, golden: Golden
) -> float:
    """Run the whole model.onnx in ONNX Runtime, as any other user of it would."""
    session = open_session(stages.hashed.model, threads=1)
    scores = np.empty_like(golden.scores)
    for rows, ids in _padded(features, padding_id=stages.hashed.tensors.n_buckets):
        scores[rows], logits, accumulators = session.run(["scores", "logits", "accumulators"], {"ids": ids})
        _compare("accumulators of the plain run", accumulators, golden.accumulators[rows])
        _compare("logits of the plain run", logits, golden.logits[rows])
    difference = float(np.abs(scores - golden.scores).max(initial=0.0))
    if not difference <= PLAIN_TOLERANCE:
        raise BundleError(
            f"golden scores: the plain ONNX Runtime run differs by {difference:.3g}, expected at most {PLAIN_TOLERANCE}"
        )
    plain = stages.decide(columns, ScoreBlock(golden.logits, scores), inputs)  # a ranking may differ at a near tie
    _compare("labels of the plain run", plain.labels, golden.labels)
    return difference


def _padded(features: FeatureBlock, *, padding_id: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Split rows into runs of bounded size and pad each to a rectangle."""
    counts = np.diff(features.indptr)
    start = 0
    while start < len(counts):
        stop, length = start, 1
        while stop < len(counts) and (stop == start or (stop + 1 - start) * max(length, counts[stop]) <= _PADDED_CELLS):
            length = max(length, int(counts[stop]))
            stop += 1
        ids = np.full((stop - start, length), padding_id, np.int64)
        for row in range(start, stop):
            ids[row - start, : counts[row]] = features.indices[features.indptr[row] : features.indptr[row + 1]]
        yield slice(start, stop), ids
        start = stop


def _check_batch_invariance(stages: Stages, golden: Golden) -> None:
    """Compare runs of many sizes with rows run alone, and with ONNX Runtime; some of the rows are extreme."""
    dim = golden.accumulators.shape[1]
    rng = np.random.default_rng(_SEED)
    inputs = rng.integers(0, 256, (_STRESS_ROWS, dim), dtype=np.uint8)
    inputs[::3] = rng.choice(np.array([0, 255], np.uint8), inputs[::3].shape)
    inputs[7], inputs[8] = 0, 255
    dense = stages.hashed.dense
    expected = dense(inputs)
    _compare("logits of ONNX Runtime, random rows", stages.hashed.session.run(inputs), expected)
    for size in _BATCH_SIZES:
        # Rows run alone cost most, so only a regular sample of them is run.
        starts = range(0, _STRESS_ROWS, size) if size > 3 else range(0, _STRESS_ROWS, 11)
        for start in starts:
            rows = slice(start, min(start + size, _STRESS_ROWS))
            _compare(f"logits in batches of {size}, rows from {start}", dense(inputs[rows]), expected[rows])

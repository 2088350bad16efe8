"""The dense part in ONNX Runtime: equal to NumPy, whatever the batch, the neighbours and the threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import BundleError, ScoreError
from farthing.scoring.embedding_bag import accumulate, pack_table, quantize_sums
from farthing.scoring.graph import build_model, reference_logits
from farthing.scoring.session import MAX_ROWS, PROVIDERS, DenseSession, open_session
from tests.bundle_factory import make_tensors

TENSORS = make_tensors()
MODEL = build_model(TENSORS)


@pytest.fixture(scope="module")
def dense():
    return DenseSession(MODEL)


def random_rows(n, *, seed=1, longest=60, n_buckets=TENSORS.n_buckets):
    rng = np.random.default_rng(seed)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, longest, n))]).astype(np.int64)
    return indptr, rng.integers(0, n_buckets, indptr[-1]).astype(np.int32)


def inputs_of(tensors, sums, indptr):
    t = tensors
    return quantize_sums(sums, indptr, t.column_scale, t.length_divisor, np.float32(t.input_scale), t.input_zero_point)


def test_logits_are_those_of_numpy_and_of_the_whole_graph(dense):
    indptr, ids = random_rows(500)
    sums = accumulate(indptr, ids, pack_table(TENSORS.table))
    logits = dense.run(inputs_of(TENSORS, sums, indptr))
    counts = np.diff(indptr)
    assert np.array_equal(logits, reference_logits(TENSORS, sums, counts.astype(np.int32)))
    assert len(np.unique(logits)) > 500  # not all saturated
    padded = np.full((500, counts.max()), TENSORS.n_buckets, np.int64)
    padded[np.arange(counts.max()) < counts[:, np.newaxis]] = ids
    _, whole_logits, whole_sums = open_session(MODEL, threads=2).run(None, {"ids": padded})
    assert np.array_equal(whole_sums, sums)
    assert np.array_equal(whole_logits, logits)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 32, 64]), st.integers(1, 70), st.integers(1, 5))
def test_any_net_equals_numpy_on_extreme_sums(seed, dim, hidden, heads):
    """Weights at both limits, sums up to int32's: nothing saturates on the way."""
    rng = np.random.default_rng(seed)
    tensors = make_tensors(seed=seed, n_buckets=8, dim=dim, hidden=hidden, heads=heads)
    if seed % 2:
        tensors.hidden_weight[:] = rng.choice([-64, 64], tensors.hidden_weight.shape)
        tensors.output_weight[:] = rng.choice([-64, 64], tensors.output_weight.shape)
    sums = (10.0 ** rng.uniform(0, 9.3, (40, dim)) * rng.choice([-1, 1], (40, dim))).astype(np.int32)
    counts = (10.0 ** rng.uniform(0, 6, 40)).astype(np.int32)
    counts[0], sums[0] = 0, 0
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    found = DenseSession(build_model(tensors)).run(inputs_of(tensors, sums, indptr))
    assert np.array_equal(found, reference_logits(tensors, sums, counts))


def test_every_batch_size_gives_the_same_bits(dense):
    """Every size up to the largest run, and some past it; rows start anywhere, every fifth is extreme."""
    rng = np.random.default_rng(2)
    inputs = rng.integers(0, 256, (2 * MAX_ROWS + 3, TENSORS.dim), dtype=np.uint8)
    inputs[::5] = rng.choice(np.array([0, 255], np.uint8), inputs[::5].shape)
    expected = np.concatenate([dense.run(inputs[i : i + 1]) for i in range(len(inputs))])
    for size in (*range(1, MAX_ROWS + 1), MAX_ROWS + 1, 2 * MAX_ROWS, len(inputs)):
        start = int(rng.integers(0, len(inputs) - size + 1))
        assert np.array_equal(dense.run(inputs[start : start + size]), expected[start : start + size]), size


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_do_not_change_bits(dense, threads):
    inputs = np.random.default_rng(3).integers(0, 256, (MAX_ROWS, TENSORS.dim), dtype=np.uint8)
    other = DenseSession(MODEL, threads=threads)
    for size in (1, 7, 1000, MAX_ROWS):
        assert np.array_equal(other.run(inputs[:size]), dense.run(inputs[:size]))


def test_no_rows(dense):
    assert dense.run(np.zeros((0, TENSORS.dim), np.uint8)).shape == (0, TENSORS.n_heads)


def test_wrong_input_is_a_score_error_with_both_shapes(dense):
    with pytest.raises(ScoreError, match=r"uint8 \(3, 5\), expected uint8 \(n, 16\)"):
        dense.run(np.zeros((3, 5), np.uint8))


def test_session_settings():
    options = open_session(MODEL, threads=3).get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert not options.enable_cpu_mem_arena
    assert open_session(MODEL, threads=1).get_providers() == PROVIDERS
    with pytest.raises(ValueError, match="threads is 0"):
        DenseSession(MODEL, threads=0)


def test_a_model_that_onnx_runtime_refuses_is_a_bundle_error():
    model = build_model(TENSORS)
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(BundleError, match=r"ONNX Runtime .* refuses the model"):
        open_session(model, threads=1)

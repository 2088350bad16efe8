"""Hashing and scoring in one go: the bits of the stages one after the other, and of the references."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import FieldColumns, Presence, RecordBlock, TextColumn
from farthing.errors import BundleError, ConfigError
from farthing.features import FeatureSpec, Featurizer, TextFeature
from farthing.features.featurize import featurize_reference
from farthing.kernels.jit import NO_JIT
from farthing.model import fused
from farthing.model.fused import FusedTexts, text_alone
from farthing.model.golden import verify
from farthing.model.nets import HashedNet
from farthing.model.stages import Stages
from farthing.scoring.embedding_bag import accumulate_reference, pack_table
from farthing.scoring.finish import finish_reference
from farthing.scoring.graph import reference_logits
from farthing.scoring.rows import pack_net, score_features
from tests.bundle_factory import FIELD_PLAN, make_bundle, make_manifest, make_spec, make_tensors, model_of

pytestmark = pytest.mark.skipif(NO_JIT, reason="where nothing is compiled the stages run one after the other")

N_BUCKETS = 1 << 10
FEATURES = (
    TextFeature(),
    TextFeature(words=False, word_bigrams=False, char_ngrams=(1, 3)),
    TextFeature(word_bigrams=False, char_ngrams=None, max_bytes=7),
    TextFeature(lowercase=False, fold=False, char_ngrams=(2, 8)),
)
NETS = [
    make_tensors(seed=heads, n_buckets=N_BUCKETS, dim=dim, hidden=hidden, heads=heads)
    for dim, hidden, heads in ((16, 32, 3), (32, 64, 1), (16, 16, 9), (48, 24, 4))
]
texts = st.binary(max_size=40) | st.sampled_from(
    [b"", b"a b c d e f g h ", b"soooo GOOD\n\n", b"x" * 400, b"word " * 99]
)


def columns_of(values, counts=None):
    """The columns of events with these texts, each with so many rows: one if nothing else is said."""
    counts = np.ones(len(values), np.int64) if counts is None else np.array(counts, np.int64)
    indptr = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int64)
    presence = np.full(len(values), Presence.PRESENT, np.uint8)
    column = TextColumn(presence, np.frombuffer(b"".join(values), np.uint8), indptr)
    rows = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return FieldColumns(np.zeros(len(values), np.uint8), rows, {"text": column})


def assert_same(tensors, feature, columns):
    """One go, one kernel after features, and the references give the same bits."""
    featurizer = Featurizer(FeatureSpec(n_buckets=N_BUCKETS, features=(feature,), seed=3))
    table = pack_table(tensors.table)
    net = pack_net(tensors, table)
    found = FusedTexts(featurizer, feature, net)(columns)
    features = featurize_reference(featurizer, columns)
    sums = accumulate_reference(features.indptr, features.indices, table)
    logits = reference_logits(tensors, sums, np.diff(features.indptr).astype(np.int32))
    scores = finish_reference(logits, tensors.logit_scale, tensors.logit_bias)
    for block in (found, score_features(featurizer(columns), net)):
        assert (block.logits.dtype, block.scores.dtype) == (np.int32, np.float32)
        assert np.array_equal(block.logits, logits)
        assert np.array_equal(block.scores.view(np.uint32), scores.view(np.uint32))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(texts, st.integers(0, 3)), max_size=30),
    st.sampled_from(FEATURES),
    st.sampled_from(NETS),
    st.sampled_from([1, 64, 4096]),
)
def test_it_gives_the_bits_of_the_references_in_tiles_of_any_size(events, feature, tensors, tile):
    with mock.patch.object(fused, "TILE_IDS", tile):
        assert_same(tensors, feature, columns_of([text for text, _ in events], [rows for _, rows in events]))


@pytest.mark.parametrize("tensors", NETS[:2])
def test_a_row_of_more_than_65536_ids(tensors):
    rng = np.random.default_rng(1)
    long = bytes(rng.integers(97, 123, 70_000, dtype=np.uint8))
    feature = TextFeature(max_bytes=1 << 17)
    columns = columns_of([b"before", long, b"", b"z" * 70_000, b"after"])
    assert np.diff(Featurizer(FeatureSpec(N_BUCKETS, (feature,)))(columns).indptr).max() > 65_536
    assert_same(tensors, feature, columns)


def test_equal_extreme_weights_fill_no_lane():
    """Each id adds -128 or 127 to every column, past the number of ids that 16 bits hold."""
    for value in (-128, 127):
        tensors = make_tensors(n_buckets=N_BUCKETS, hidden=32)
        tensors.table[:] = value
        assert_same(tensors, TextFeature(), columns_of([b"q w e r t y " * n for n in (0, 1, 20, 60)]))


def stages_of(feature):
    spec = FeatureSpec(n_buckets=N_BUCKETS, features=(feature,))
    manifest = make_manifest(
        feature_spec=spec.to_manifest(), field_plan=FIELD_PLAN, feature_fingerprint=spec.fingerprint()
    )
    net = HashedNet(manifest, model_of(manifest, NETS[0]))
    return Stages.of(manifest, net, model_id="x")


def test_stages_prepare_columns_where_scoring_hashes_and_give_equal_scores():
    stages = stages_of(TextFeature())
    records = RecordBlock.of_values([b'{"text":"one"}', b"{", b'{"text":""}', None, b'{"text":"t\\u00e4xt","id":1}'])
    columns = stages.parse(records)
    assert stages.prepare(columns, records) is columns
    fused_scores, scores = stages.score(columns), stages.score(stages.featurize(columns, records))
    assert np.array_equal(fused_scores.logits, scores.logits) and len(scores) == 3
    assert np.array_equal(fused_scores.scores, scores.scores)


def test_other_specs_go_by_way_of_features():
    text = TextFeature()
    assert text_alone(make_spec(N_BUCKETS)) is not None
    assert text_alone(FeatureSpec(N_BUCKETS, (text, TextFeature(field="title")))) is None
    assert text_alone(FeatureSpec(N_BUCKETS, (TextFeature(per_row=True),))) is None


def test_a_missing_field_is_the_featurizer_s_error():
    feature = TextFeature(field="title")
    featurizer = Featurizer(FeatureSpec(N_BUCKETS, (feature,)))
    net = pack_net(NETS[0], pack_table(NETS[0].table))
    with pytest.raises(ConfigError, match="the field plan has no such field"):
        FusedTexts(featurizer, feature, net)(columns_of([b"a"]))


def test_a_bundle_is_refused_where_the_fused_kernel_differs(tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path)
    stages = Stages.of(bundle.manifest, HashedNet(bundle.manifest, bundle.model), model_id="x")
    verify(stages, bundle.golden)
    right = FusedTexts.__call__

    def wrong(self, columns):
        block = right(self, columns)
        block.logits[-1] += 1
        return block

    monkeypatch.setattr(FusedTexts, "__call__", wrong)
    with pytest.raises(BundleError, match=r"golden logits, fused: .* do not trust its scores here"):
        verify(stages, bundle.golden)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"", b"a b c d e f g h ", b"a", b"word " * 60, b"x" * 100]), st.integers(0, 3))
    ),
    st.sampled_from(FEATURES),
    st.sampled_from(NETS),
    st.sampled_from([1, 64, 4096]),
)
def test_the_kernel_is_given_room_for_all_that_it_writes(events, feature, tensors, tile):
    """It checks no bounds: whatever lies behind its arrays must be as it was."""
    kernel, behind = fused.score_texts, []

    def watched(*arguments):
        given = list(arguments)
        for place, argument in enumerate(given):
            if isinstance(argument, np.ndarray) and place >= 7:  # ids, their places, logits, scores
                larger = np.full(len(argument) + 64, 77, argument.dtype)
                given[place], rest = larger[: len(argument)], larger[len(argument) :]
                given[place][:] = argument
                behind.append(rest)
        kernel(*given)

    columns = columns_of([text for text, _ in events], [rows for _, rows in events])
    featurizer = Featurizer(FeatureSpec(n_buckets=N_BUCKETS, features=(feature,)))
    with mock.patch.object(fused, "TILE_IDS", tile), mock.patch.object(fused, "score_texts", watched):
        FusedTexts(featurizer, feature, pack_net(tensors, pack_table(tensors.table)))(columns)
    assert len(behind) == 4 and all((rest == 77).all() for rest in behind)


@given(st.lists(st.tuples(texts, st.integers(0, 3)), max_size=9), st.integers(1, 50))
def test_texts_are_measured_as_by_the_reference(events, max_bytes):
    columns = columns_of([text for text, _ in events], [rows for _, rows in events])
    arguments = (columns.columns["text"].indptr, columns.row_indptr, max_bytes, 5, 2)
    assert fused.measure_texts(*arguments) == fused.measure_texts_reference(*arguments)

"""Hashed features: the published vectors, kernels equal to their references, and nothing that batching changes."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FieldColumns, NumberColumn, RawColumn, TextColumn
from farthing.errors import ConfigError
from farthing.features import (
    CategoricalFeature,
    CrossFeature,
    FeatureSpec,
    Featurizer,
    NumericFeature,
    TextFeature,
    featurize_texts,
    folding,
    grams,
    hashing,
    text,
)
from farthing.kernels.jit import NO_JIT
from tests.references import both

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
SPECS = [
    FeatureSpec(),
    FeatureSpec(n_buckets=1 << 10, seed=7, features=(TextFeature(char_ngrams=(1, 8)),)),
    FeatureSpec(n_buckets=2, features=(TextFeature(words=False, word_bigrams=False, fold=False, lowercase=False),)),
    FeatureSpec(n_buckets=1 << 20, features=(TextFeature(char_ngrams=None, max_bytes=9),)),
]


def reference(spec, data):
    ids = [hashing.bucket_reference(1, hashing.salt(spec.seed, hashing.SALT_BIAS), spec.bits)]
    for place, feature in enumerate(spec.features):
        ids += text.text_ids_reference(data, feature, spec.seed, place, spec.bits)
    return ids


def rows(block):
    return [block.indices[a:b].tolist() for a, b in zip(block.indptr, block.indptr[1:], strict=False)]


def test_published_vectors_never_change():
    assert len(VECTORS["tokens"]) >= 64
    for vector in VECTORS["tokens"]:
        data = bytes.fromhex(vector["bytes"])
        padded = np.frombuffer(data + bytes(8), np.uint8)
        salt = hashing.salt(vector["seed"], vector["number"])
        assert f"{salt:016x}" == vector["salt"]
        assert f"{hashing.token_reference(data, salt):016x}" == vector["token"]
        if not NO_JIT:  # the kernel is a part of others and has no reference of this signature
            assert int(hashing.token(padded, 0, len(data), np.uint64(salt))) == int(vector["token"], 16)
    for vector in VECTORS["texts"]:
        spec = FeatureSpec(n_buckets=vector["n_buckets"], seed=vector["seed"])
        assert rows(featurize_texts(spec, [vector["text"]])) == [vector["ids"]]


@pytest.mark.parametrize("spec", SPECS)
@given(st.lists(st.text() | st.binary(max_size=60), max_size=6))
def test_kernel_equals_reference(spec, texts):
    encoded = [t.encode("utf-8", "surrogatepass") if isinstance(t, str) else t for t in texts]
    assert rows(featurize_texts(spec, encoded)) == [reference(spec, t) for t in encoded]


LONG = st.lists(
    st.sampled_from(["a", "A", " ", "  ", "!!", "!!!", "\n", "\x7f", "é", "É", "éé", "ooo", "0", "'", "zZ", "word", "W", "@[`{", "🎈🎈"]),
    max_size=150,
).map("".join)  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
@given(st.lists(LONG, min_size=1, max_size=3))
def test_long_texts_are_folded_as_by_the_reference(spec, texts):
    """Runs that are squeezed, control characters and words in every place of a step of many bytes, and across two."""
    encoded = [t.encode() for t in [*texts, "x" * 40]]  # the last one gives the others bytes to read ahead
    assert rows(featurize_texts(spec, encoded)) == [reference(spec, t) for t in encoded]


@pytest.mark.skipif(NO_JIT, reason="references check bounds")
@pytest.mark.parametrize("spec", SPECS)
@given(
    st.lists(st.sampled_from(["a b c d e f g h", "", "a", "a b", " ", "word " * 30, "x" * 100]), min_size=1, max_size=5)
)
def test_kernels_are_given_room_for_all_that_they_write(spec, texts):
    """They check no bounds. Words of one letter give the most ids a byte."""
    left, kernel = [], text.hash_texts

    def watched(*arguments):
        kernel(*arguments)
        left.append(len(arguments[-2]) - arguments[-1][-1])

    with mock.patch.object(text, "hash_texts", watched):
        featurize_texts(spec, texts)
    assert min(left) >= grams.WRITE_AHEAD_IDS


@pytest.mark.parametrize("length", range(30, 36))
@pytest.mark.parametrize("run", [b"aaaa", b"    ", b"\n ", b"A", b"\xff\xff\xff", b"a\x00\x00\x00\x00"])
def test_every_place_of_a_run(run, length):
    texts = [b"q" * before + run + b"w" * (length - before) for before in range(length)]
    texts.append(b" " * 40)
    assert rows(featurize_texts(FeatureSpec(), texts)) == [reference(FeatureSpec(), t) for t in texts]


@pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
@pytest.mark.parametrize("kernel", [grams.hash_grams_by_one, grams.hash_grams_by_eight])
@given(st.binary(max_size=40), st.integers(1, 8), st.integers(0, 2**63 - 1), st.integers(1, 30), st.integers(0, 3))
def test_grams_equal_their_reference(kernel, data, size, multiplier, bits, at):
    padded = np.frombuffer(data + bytes(range(200, 200 + grams.READ_AHEAD_BYTES)), np.uint8)
    shift, multiplier = np.uint64(64 - bits), np.uint64(2 * multiplier + 1)
    out = np.zeros(len(data) + at + grams.WRITE_AHEAD_IDS, np.int32)
    (end, ours), (expected_end, theirs) = both(kernel, padded, len(data), size, multiplier, shift, out, at)
    assert end == expected_end == at + max(len(data) - size + 1, 0)
    assert ours[1][:end].tolist() == theirs[1][:end].tolist()


@given(st.lists(st.text(max_size=40), min_size=1, max_size=20), st.integers(0, 20))
def test_neighbours_and_batches_do_not_matter(texts, cut):
    whole = rows(featurize_texts(FeatureSpec(), texts))
    cut = min(cut, len(texts))
    parts = [rows(featurize_texts(FeatureSpec(), part)) for part in (texts[:cut], texts[cut:]) if part]
    assert whole == [row for part in parts for row in part]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Hello  World", b" hello world "), (b"", b" "), (b" \t\n ", b" "), (b"soooo!!!!", b" soo!! "), (b"aab", b" aab "),
        ("ÀÀÀÀ".encode(), b" " + "ÀÀÀÀ".encode() + b" "), (b"a\x00b", b" a b "),
    ],
)  # fmt: skip
def test_folding_is_as_stated(before, after):
    assert folding.fold_reference(before, TextFeature()) == after
    assert rows(featurize_texts(FeatureSpec(), [before])) == [reference(FeatureSpec(), before)]


def test_max_bytes_cuts_even_inside_a_character():
    spec = FeatureSpec(features=(TextFeature(max_bytes=3),))
    assert rows(featurize_texts(spec, ["aéé"])) == rows(featurize_texts(spec, ["aé"]))
    assert len(featurize_texts(FeatureSpec(), ["x" * (1 << 20) + "yz" * 9]).indices) < 20_000


def test_an_empty_text_has_features():
    assert len(rows(featurize_texts(FeatureSpec(), [""]))[0]) >= 1


def test_buckets_are_evenly_used():
    spec = FeatureSpec(n_buckets=1 << 10, features=(TextFeature(char_ngrams=None, word_bigrams=False),))
    ids = featurize_texts(spec, [f"word{k}" for k in range(20_000 if NO_JIT else 100_000)]).indices[1::2]
    counts = np.bincount(ids, minlength=1 << 10)
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert 1023 - 6 * np.sqrt(2 * 1023) < chi_square < 1023 + 6 * np.sqrt(2 * 1023)


def test_a_fingerprint_knows_every_setting():
    base = FeatureSpec()
    others = [
        FeatureSpec(n_buckets=1 << 17), FeatureSpec(seed=1), FeatureSpec(features=(TextFeature(lowercase=False),)),
        FeatureSpec(features=(TextFeature(fold=False),)), FeatureSpec(features=(TextFeature(words=False),)),
        FeatureSpec(features=(TextFeature(word_bigrams=False),)), FeatureSpec(features=(TextFeature(char_ngrams=(3, 4)),)),
        FeatureSpec(features=(TextFeature(max_bytes=99),)), FeatureSpec(features=(TextFeature("body"),)),
    ]  # fmt: skip
    assert len({s.fingerprint() for s in [base, *others]}) == len(others) + 1
    assert FeatureSpec.from_manifest(json.loads(json.dumps(base.to_manifest()))) == base
    assert base.fingerprint() == VECTORS["fingerprint_of_the_default_spec"]


def test_categories_numbers_and_crosses():
    spec = FeatureSpec(
        features=(CategoricalFeature("c"), NumericFeature("n", (0.0, 10.0)), CrossFeature(("c", "n"))),
        n_buckets=1 << 30,
    )
    values = [b"de", b"de", b"fr", b"", b""]
    presence = np.array([2, 2, 2, 0, 1], np.uint8)
    indptr = np.cumsum([0, *map(len, values)])
    numbers = np.array([-1.0, 5.0, 10.0, np.nan, 0.0])
    columns = FieldColumns(
        np.zeros(5, np.uint8), np.arange(6), {
            "c": TextColumn(presence, np.frombuffer(b"".join(values), np.uint8), indptr),
            "n": NumberColumn(np.full(5, 2, np.uint8), numbers),
        },
    )  # fmt: skip
    ids = np.array(rows(Featurizer(spec)(columns)))
    bias, c, n, cross = ids.T
    assert len(set(bias)) == 1
    assert c[0] == c[1] != c[2]
    assert len({c[2], c[3], c[4]}) == 3  # another value, missing, null
    assert n[1] == n[4]
    assert len(set(n)) == 4
    assert len(set(cross)) == 5


RICH_FEATURES = (
    TextFeature("row_text", per_row=True, char_ngrams=(3, 5)), CategoricalFeature("raw"), NumericFeature("number", (-1.0, 0.0, 2.5)),
    CategoricalFeature("row_text", per_row=True), NumericFeature("row_number", (1e-9,), per_row=True), CategoricalFeature("text"),
    TextFeature("text", words=False, max_bytes=5), CrossFeature(("raw", "row_number", "text")), CrossFeature(("number", "raw")),
)  # fmt: skip


@st.composite
def field_columns(draw):
    """Events with none to three rows, and a column of every kind for both, with missing and null values among them."""
    counts = draw(st.lists(st.integers(0, 3), max_size=5))
    n, m = len(counts), sum(counts)

    def presence(size):
        return np.array(draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)), np.uint8)

    def texts(size):
        there = presence(size)
        values = [draw(st.binary(max_size=20)) if p == 2 else b"" for p in there]
        return TextColumn(there, np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)]))

    def numbers(size):
        there = presence(size)
        value = st.sampled_from([-1.0, 0.0, -0.0, 2.5, 1e-9, 1e308]) | st.floats(allow_nan=False)
        return NumberColumn(there, np.array([draw(value) if p == 2 else np.nan for p in there], np.float64))

    raw = texts(n)
    missing = raw.presence == 0
    start, stop = np.where(missing, -1, raw.indptr[:-1] + 2), np.where(missing, -1, raw.indptr[1:] + 2)
    columns = {
        "text": texts(n), "row_text": texts(m), "number": numbers(n), "row_number": numbers(m),
        "raw": RawColumn(raw.presence, start, stop),
    }  # fmt: skip
    buffer = np.frombuffer(b"{{" + raw.data.tobytes(), np.uint8)
    return FieldColumns(np.zeros(n, np.uint8), np.cumsum([0, *counts]), columns), buffer


@pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")
@given(field_columns(), st.permutations(RICH_FEATURES), st.integers(1, 9), st.integers(0, 2**63 - 1))
def test_every_kind_of_feature_is_made_as_by_the_reference(drawn, features, n, seed):
    chosen = list(features[:n])
    crossed = {name for feature in chosen if isinstance(feature, CrossFeature) for name in feature.fields}
    alone = {feature.field for feature in chosen if isinstance(feature, CategoricalFeature | NumericFeature)}
    chosen += [
        f for f in RICH_FEATURES if isinstance(f, CategoricalFeature | NumericFeature) and f.field in crossed - alone
    ]
    featurizer = Featurizer(FeatureSpec(n_buckets=1 << 30, features=tuple(chosen), seed=seed))
    found, expected = featurizer(*drawn), Featurizer.__call__.reference(featurizer, *drawn)
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert (found.indices.dtype, found.indices.tolist()) == (np.int32, expected.indices.tolist())


def test_a_long_text_is_hashed_for_each_row_of_its_event():
    """Its ids take room for each row, also when there are no more rows than events."""
    value = b"one two " * 4000
    column = TextColumn(
        np.full(3, 2, np.uint8), np.frombuffer(value, np.uint8), np.array([0, len(value), len(value), len(value)])
    )
    spec = FeatureSpec(features=(TextFeature(max_bytes=1 << 20),))
    found = rows(Featurizer(spec)(FieldColumns(np.zeros(3, np.uint8), np.array([0, 3, 3, 3]), {"text": column})))
    assert found == [reference(spec, value)] * 3


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (TextFeature("number"), "needs a field of kind text"), (CategoricalFeature("number"), "needs a text or raw field"),
        (NumericFeature("text", (0.0,)), "needs a number field"), (TextFeature("other"), "no such field"),
    ],
)  # fmt: skip
def test_a_column_of_another_kind_is_refused(feature, said):
    none = np.zeros(0, np.uint8)
    columns = {"text": TextColumn(none, none, np.zeros(1, np.int64)), "number": NumberColumn(none, np.zeros(0))}
    with pytest.raises(ConfigError, match=said):
        Featurizer(FeatureSpec(features=(feature,)))(FieldColumns(none, np.zeros(1, np.int64), columns))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"n_buckets": 3}, "power of two"), ({"hash": "md5"}, "md5"), ({"features": []}, "needs a feature"), ({"colour": 1}, "colour"),
        ({"features": [{"kind": "image", "field": "a"}]}, "image"), ({"features": [{"kind": "text", "char_ngrams": [0, 4]}]}, "char_ngrams"),
        ({"features": [{"kind": "numeric", "field": "a", "boundaries": [2, 1]}]}, "ascending"),
        ({"features": [{"kind": "cross", "fields": ["a", "b"]}]}, "not a categorical"), ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_impossible_specs_are_refused(spec, said):
    with pytest.raises(ConfigError, match=said):
        FeatureSpec.from_manifest(spec)

"""Hashed features: the published vectors, kernels equal to their references, and nothing that batching changes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.blocks import FieldColumns, NumberColumn, TextColumn
from farthing.errors import ConfigError
from farthing.features import (
    CategoricalFeature,
    CrossFeature,
    FeatureSpec,
    Featurizer,
    NumericFeature,
    TextFeature,
    featurize_texts,
    hashing,
    text,
)

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
        assert int(hashing.token(padded, 0, len(data), np.uint64(salt))) == int(vector["token"], 16)
    for vector in VECTORS["texts"]:
        spec = FeatureSpec(n_buckets=vector["n_buckets"], seed=vector["seed"])
        assert rows(featurize_texts(spec, [vector["text"]])) == [vector["ids"]]


@pytest.mark.parametrize("spec", SPECS)
@given(st.lists(st.text() | st.binary(max_size=60), max_size=6))
def test_kernel_equals_reference(spec, texts):
    encoded = [t.encode("utf-8", "surrogatepass") if isinstance(t, str) else t for t in texts]
    assert rows(featurize_texts(spec, encoded)) == [reference(spec, t) for t in encoded]


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
    assert text.fold_reference(before, TextFeature()) == after
    assert rows(featurize_texts(FeatureSpec(), [before])) == [reference(FeatureSpec(), before)]


def test_max_bytes_cuts_even_inside_a_character():
    spec = FeatureSpec(features=(TextFeature(max_bytes=3),))
    assert rows(featurize_texts(spec, ["aéé"])) == rows(featurize_texts(spec, ["aé"]))
    assert len(featurize_texts(FeatureSpec(), ["x" * (1 << 20) + "yz" * 9]).indices) < 20_000


def test_an_empty_text_has_features():
    assert len(rows(featurize_texts(FeatureSpec(), [""]))[0]) >= 1


def test_buckets_are_evenly_used():
    spec = FeatureSpec(n_buckets=1 << 10, features=(TextFeature(char_ngrams=None, word_bigrams=False),))
    ids = featurize_texts(spec, [f"word{k}" for k in range(100_000)]).indices[1::2]
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


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"n_buckets": 3}, "power of two"), ({"hash": "md5"}, "md5"), ({"features": []}, "needs a feature"), ({"colour": 1}, "colour"),
        ({"features": [{"kind": "image", "field": "a"}]}, "image"), ({"features": [{"kind": "text", "char_ngrams": [0, 4]}]}, "char_ngrams"),
        ({"features": [{"kind": "numeric", "field": "a", "boundaries": [2, 1]}]}, "ascending"),
        ({"features": [{"kind": "cross", "fields": ["a", "b"]}]}, "no categorical"), ({"seed": -1}, "seed"),
    ],
)  # fmt: skip
def test_impossible_specs_are_refused(spec, said):
    with pytest.raises(ConfigError, match=said):
        FeatureSpec.from_manifest(spec)

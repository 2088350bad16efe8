"""Pair features: kernels equal to the plain reference, numbers as they are defined, and what must not matter."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.errors import BundleError, ConfigError
from farthing.features import FeatureSpec, Featurizer, Lexicon, PairFeature, make_lexicon
from farthing.features.lexicon import MAX_SLOTS, find_word, find_word_reference, word_hash
from farthing.features.pair_featurizer import Pairs
from farthing.features.pair_reference import Candidate, PairReference
from farthing.features.pair_spec import ABSENT, NAMES, NUMBERS
from farthing.kernels.jit import NO_JIT
from farthing.model.scorer import Scorer
from farthing.payload import Field, FieldPlan, parse

# Without compilation tests/model/test_rerank_scorer.py and tests/tasks still run on the reference.
pytestmark = pytest.mark.skipif(NO_JIT, reason="without compilation there is one path")

PLAN = FieldPlan(
    (
        Field("query", "query", "text", required=True),
        Field("text", "candidates[*].text"),
        Field("title", "candidates[*].title"),
        Field("score", "candidates[*].score", "number"),
    )
)
WORDS = "what are the symptoms of cancer who is in liver form formed forms 1999 60th cave caves glacier café a".split()


PIECES = ("sym", "##ptoms", "##pt", "##oms", "gla", "##ci", "##er", "ca", "##v", "##e", "c", "##é", "b", "##b")


def a_lexicon(dim=16, pieces=()):
    rng = np.random.default_rng(0)
    vectors = {w.encode(): rng.normal(size=dim).astype(np.float32) for w in (*WORDS[::2], *pieces)} if dim else {}
    weights = {w.encode(): 11 * k % 256 for k, w in enumerate([*WORDS[:-4], *pieces])}
    in_sums = {w.encode(): max(99 - 9 * k, 0) for k, w in enumerate(pieces)}  # the last of them are no pieces
    return make_lexicon(
        weights, slots=64, unknown=200, question=[b"what", b"who", b"are"], vectors=vectors, vector_weights=in_sums
    )


MADE_UP = ("symptomsptoms", "glaver", "symciere", "cavé", "bbb", "bbbb", "b" * 64, "b" * 65, "symx", "café" * 9)


def a_feature(**changes):
    settings_ = {
        "title": "title",
        "score": "score",
        "cross_words": 5,
        "numbers": dict.fromkeys(NAMES, (ABSENT + 1, 0, 3, 20, 200, 500, 900)),
        "crosses": (("bm25", "coverage"), ("bm25.rank", "cosine.relative"), ("first", "first")),
        **changes,
    }
    return PairFeature(**settings_)


def parsed(events):
    values = []
    for query, candidates in events:
        rows = [
            {
                key: value.decode() if isinstance(value, bytes) else value
                for key, value in (("text", c.text), ("title", c.title), ("score", c.score))
                if value is not None
            }
            for c in candidates
        ]
        values.append(json.dumps({"query": query.decode(), "candidates": rows}).encode())
    return parse(Scorer.records_of(values), PLAN, max_event_bytes=1 << 24)


def rows(block):
    return [block.indices[a:b].tolist() for a, b in zip(block.indptr, block.indptr[1:], strict=False)]


texts = st.one_of(
    st.lists(st.sampled_from([*WORDS, "Liver", "-", "(x)", "ß", "🎈", "1", *MADE_UP]), max_size=24).map(" ".join),
    st.text(max_size=60),
).map(str.encode)
candidates = st.builds(
    Candidate, text=st.none() | texts, title=st.none() | texts, score=st.none() | st.floats(-1e15, 1e15, width=64)
)
events = st.lists(st.tuples(texts, st.lists(candidates, min_size=1, max_size=6)), min_size=1, max_size=3)

FEATURES = {
    "all": (a_feature(), a_lexicon()),
    "cut short": (
        a_feature(max_query_words=3, max_words=4, max_bytes=30, stem_bytes=2, question_words=1),
        a_lexicon(8),
    ),
    "pieces": (a_feature(max_pieces=3), a_lexicon(8, PIECES)),
    "words only": (PairFeature(numbers={"bm25": (0,)}, question_words=0, k1=0.0, b=1.0), a_lexicon(0)),
}


@pytest.mark.parametrize("name", FEATURES)
@settings(max_examples=60)
@given(events)
def test_kernels_equal_the_reference(name, events):
    feature, lexicon = FEATURES[name]
    pairs = Pairs(feature, lexicon, seed=3, place=0, bits=16)
    reference = PairReference(feature, lexicon, seed=3, place=0, bits=16)
    columns = parsed(events)
    assert rows(pairs(columns, bias=-1)) == [ids for query, cs in events for ids in reference.ids(query, cs)]
    table = pairs.numbers(columns)
    expected = [row for query, cs in events for row in reference.numbers(query, cs)]
    for found, row in zip(table.tolist(), expected, strict=True):
        if row:
            assert dict(zip(NAMES, found, strict=True)) == row


def numbers_of(query, *candidates, feature=None, lexicon=None):
    feature, lexicon = feature or a_feature(), lexicon or a_lexicon()
    table = Pairs(feature, lexicon, seed=0, place=0, bits=10).numbers(parsed([(query, candidates)]))
    return [dict(zip(NAMES, row, strict=True)) for row in table.tolist()]


def test_numbers_are_what_they_are_called():
    lexicon = make_lexicon({b"cave": 100, b"how": 20, b"ice": 50}, slots=64, unknown=150, question=[b"how"])
    first, second, third = numbers_of(
        b"How caves form: ice caves",
        Candidate(b"In 1999 the ice caves formed. Ice!", title=b"Ice caves", score=7.5),
        Candidate(b"", score=9.0),
        Candidate(b"how caves form ice caves", title=b"x"),
        lexicon=lexicon,
    )
    total = 20 + 150 + 150 + 50  # how, caves, form, ice; caves counts once
    assert (first["query_words"], first["text_words"], first["digits"]) == (5, 7, 1)
    assert (first["words"], first["coverage"]) == (500, (150 + 50) * 1000 // total)
    assert first["stems"] == (150 + 50 + 150) * 1000 // total  # "formed" begins like "form"
    assert (first["bigrams"], first["run"], first["first"], first["missed"]) == (1, 2, 3, 150)
    assert (first["title"], first["title_words"]) == (200 * 1000 // total, 1000)
    assert (third["run"], third["bigrams"], third["coverage"], third["title"]) == (5, 4, 1000, 0)
    assert [row["score"] for row in (first, second, third)] == [7500, 9000, ABSENT]
    assert [row["score.rank"] for row in (first, second, third)] == [1, 0, 2]
    assert [row["score.relative"] for row in (first, second, third)] == [0, 1000, ABSENT]
    assert (second["bm25"], second["coverage"], second["first"], second["density"]) == (0, 0, ABSENT, ABSENT)
    assert first["opening"] == (50 * 8000 // (8 + 3) + 150 * 8000 // (8 + 4)) // total  # ice and caves, where met first
    assert second["opening"] == 0
    assert third["opening"] == (20 * 1000 + 150 * 8000 // 9 + 150 * 8000 // 10 + 50 * 8000 // 11) // total
    assert second["title"] == ABSENT
    assert first["cosine"] == ABSENT  # there are no vectors
    k1, b, average = 1.2, 0.75, 100.0
    bm25 = sum(
        weight * 16 * tf * (k1 + 1) / (tf + k1 * (1 - b + b * 7 / average)) for weight, tf in ((150, 1), (50, 2))
    )
    assert first["bm25"] == pytest.approx(bm25, abs=2)


def test_an_unknown_words_pieces_stand_for_it():
    at = {w: np.eye(8, dtype=np.float32)[k] for k, w in enumerate((b"whale", b"glac", b"##ier", b"##s", b"##lo"))}
    lexicon = make_lexicon({**dict.fromkeys(at, 100), b"##ier": 50}, slots=32, unknown=255, vectors=at)
    rows_ = [
        [
            row["cosine"]
            for row in numbers_of(b"whales", Candidate(text), Candidate(b"whale glac"), lexicon=lexicon, feature=f)
        ]
        for text in (b"whale", b"glacier", b"whaleslos whales", b"whales glacx", b"whaleslos")
        for f in (a_feature(max_pieces=3), a_feature())
    ]
    half = round(1000 / 2**0.5)
    with_pieces, without = rows_[::2], rows_[1::2]
    assert [row[0] for row in with_pieces] == [half, 0, 1000, 1000, ABSENT]  # of four pieces or a rest: nothing
    assert all(row == [ABSENT, ABSENT] for row in without)
    ((row, _),) = [
        numbers_of(b"glac", Candidate(b"glacier"), Candidate(b"x"), lexicon=lexicon, feature=a_feature(max_pieces=2))
    ]
    assert row["cosine"] == round(1000 * 100 / (100**2 + 50**2) ** 0.5) and row["coverage"] == 0


def test_weights_in_sums_of_vectors_can_be_others():
    at = {w: np.eye(8, dtype=np.float32)[k] for k, w in enumerate((b"ice", b"age"))}
    plain = make_lexicon({b"ice": 100, b"age": 100}, slots=32, unknown=255, vectors=at)
    other = make_lexicon({b"ice": 100, b"age": 100}, slots=32, unknown=255, vectors=at, vector_weights={b"age": 20})
    (before, _), (after, _) = (
        numbers_of(b"ice", Candidate(b"ice age"), Candidate(b"x"), lexicon=lexicon) for lexicon in (plain, other)
    )
    assert (before["cosine"], after["cosine"]) == (round(1000 / 2**0.5), round(1000 / 1.04**0.5))
    assert {k: v for k, v in before.items() if "cosine" not in k} == {
        k: v for k, v in after.items() if "cosine" not in k
    }
    with np.load(io.BytesIO(plain.to_npz())) as arrays:  # as it was before there were any
        assert sorted(arrays.files) == ["checks", "question", "unknown", "vectors", "weights"]
    for lexicon in (plain, other):
        again = Lexicon.from_npz(lexicon.to_npz())
        assert all(np.array_equal(getattr(again, n), getattr(lexicon, n)) for n in Lexicon.__slots__)


def test_a_spec_without_pieces_has_the_fingerprint_it_had_before_there_were_any():
    spec = FeatureSpec(n_buckets=1024, features=(PairFeature(numbers={"bm25": (0,)}),))
    assert "max_pieces" not in spec.to_manifest()["features"][0]
    assert FeatureSpec.from_manifest(spec.to_manifest()) == spec
    other = FeatureSpec(n_buckets=1024, features=(PairFeature(numbers={"bm25": (0,)}, max_pieces=8),))
    assert other.to_manifest()["features"][0]["max_pieces"] == 8 and other.fingerprint() != spec.fingerprint()
    assert FeatureSpec.from_manifest(other.to_manifest()) == other
    with pytest.raises(ConfigError, match=r"16384 words of 8 pieces are more than 65,536; lower"):
        PairFeature(numbers={"bm25": (0,)}, max_words=1 << 14, max_pieces=8)


def test_vectors_find_words_of_like_meaning():
    one, two = np.array([1.0, 0.5] + [0.0] * 6, np.float32), np.array([-0.5, 1.0] + [0.0] * 6, np.float32)
    vectors = {b"doctor": one, b"physician": one + 0.1 * two, b"banana": two}
    lexicon = make_lexicon(dict.fromkeys(vectors, 100), slots=16, unknown=0, vectors=vectors)
    near, far, same, nothing = numbers_of(
        b"doctor", *(Candidate(t) for t in (b"a physician", b"a banana", b"doctor", b"zz")), lexicon=lexicon
    )
    assert near["cosine"] > 980 and near["alignment"] > 980 and abs(far["cosine"]) < 20 and far["alignment"] < 20
    assert same["alignment"] == same["weakest"] == same["cosine"] == 1000
    assert (nothing["cosine"], nothing["alignment"]) == (ABSENT, 0)


def test_candidates_may_change_places():
    rng = np.random.default_rng(2)
    cs = [Candidate(" ".join(rng.choice(WORDS, 8)).encode(), b"cave", float(k % 4)) for k in range(9)]
    pairs = Pairs(*FEATURES["all"], seed=1, place=0, bits=14)
    order = rng.permutation(9)
    straight = rows(pairs(parsed([(b"symptoms of liver cancer", cs)]), bias=5))
    mixed = rows(pairs(parsed([(b"symptoms of liver cancer", [cs[k] for k in order])]), bias=5))
    assert mixed == [straight[k] for k in order]


def test_candidates_without_a_text_are_as_if_they_were_not_there():
    pairs = Pairs(*FEATURES["all"], seed=1, place=0, bits=14)
    good = [Candidate(b"liver cancer", score=1.0), Candidate(b"the caves", score=2.0)]
    missing = Candidate(None, title=b"liver cancer", score=100.0)
    alone = rows(pairs(parsed([(b"liver", good)]), bias=5))
    beside = rows(pairs(parsed([(b"liver", [missing, good[0], missing, good[1]])]), bias=5))
    assert beside == [[5], alone[0], [5], alone[1]]


def test_a_thousand_candidates_and_a_long_query():
    cs = [Candidate(b"word%d liver " % (k % 7) * 30) for k in range(1000)]
    query = b" ".join(b"w%d" % k for k in range(100)) + b" liver"
    table = numbers_of(query, *cs)
    assert {row["query_words"] for row in table} == {32}
    assert {row["text_words"] for row in table} == {60}
    assert max(row["bm25.rank"] for row in table) < 1000


def test_a_spec_with_pairs_needs_its_lexicon_and_its_fields():
    spec = FeatureSpec(features=(PairFeature(numbers={"bm25": (1, 2)}),))
    with pytest.raises(ConfigError, match="needs a lexicon"):
        Featurizer(spec)
    plan = FieldPlan((Field("query", "query"), Field("text", "text")))
    with pytest.raises(ConfigError, match="no field 'query'"):
        Featurizer(spec, a_lexicon())(parse(Scorer.records_of([]), FieldPlan((Field("text", "a[*].text"),))))
    values = [b'{"query":"a","text":"b"}'] * 3 + [b"{}"]
    with pytest.raises(ConfigError, match="inside it"):
        Featurizer(spec, a_lexicon())(parse(Scorer.records_of([b'{"text":"b"}', *values]), PLAN_WITHOUT_ARRAY))
    assert plan.fields


PLAN_WITHOUT_ARRAY = FieldPlan((Field("query", "query", required=True), Field("text", "text")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"k1": -1.0}, "k1 is -1.0"), ({"b": 1.5}, "b is 1.5"), ({"max_query_words": 0}, "max_query_words is 0"),
        ({"stem_bytes": 9}, "stem_bytes is 9"), ({"numbers": {"colour": (1,)}}, "called 'colour'"),
        ({"numbers": {"bm25": (2, 1)}}, "ascending"), ({"numbers": {"bm25": ()}}, "ascending"),
        ({"numbers": {"bm25": (0.5,)}}, "whole numbers"), ({"crosses": (("bm25", "words"),)}, "cross of"),
        ({"numbers": {"bm25": tuple(range(256))}}, "1 to 255"),
    ],
)  # fmt: skip
def test_impossible_pair_features_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        PairFeature(**changes)


def test_pair_specs_go_through_manifests_and_have_fingerprints():
    spec = FeatureSpec(features=(a_feature(lexicon_sha256="ab"),))
    again = FeatureSpec.from_manifest(json.loads(json.dumps(spec.to_manifest())))
    assert again == spec and again.fingerprint() == spec.fingerprint() and spec.lexicon_sha256 == "ab"
    others = [a_feature(lexicon_sha256="cd"), a_feature(k1=1.3), a_feature(numbers={"bm25": (1,)}, crosses=())]
    assert len({FeatureSpec(features=(f,)).fingerprint() for f in others} | {spec.fingerprint()}) == 4
    with pytest.raises(ConfigError, match="one pair feature"):
        FeatureSpec(features=(PairFeature(), PairFeature()))


def test_every_number_is_explained():
    from farthing.features import pair_spec

    table = pair_spec.__doc__.split("===\n")[1]
    assert [line.split()[0] for line in table.splitlines() if line[:1].isalpha()] == list(NUMBERS)


def test_a_lexicon_finds_its_words_and_hardly_any_other():
    weights = {b"w%d" % k: k % 256 for k in range(8000)}
    lexicon = make_lexicon(weights, slots=1 << 15, unknown=255, question=[b"w7"])
    found = {word: lexicon.find(word) for word in weights}
    known = [word for word, slot in found.items() if slot >= 0]
    assert len(known) > 7950
    assert all(lexicon.weights[found[word]] == weights[word] for word in known)
    assert lexicon.question[found[b"w7"]] == 1 and lexicon.question.sum() == 1
    strangers = sum(lexicon.find(b"x%d" % k) >= 0 for k in range(20_000))
    assert strangers < 10
    for word in [*list(weights)[:200], *(b"x%d" % k for k in range(200))]:
        h = word_hash(word)
        assert find_word(np.uint64(h), lexicon.checks, np.uint64(lexicon.shift)) == find_word_reference(h, lexicon)


def test_lexicons_round_trip_and_the_same_words_give_the_same_bytes():
    lexicon = a_lexicon()
    data = lexicon.to_npz()
    again = Lexicon.from_npz(data)
    assert all(np.array_equal(getattr(again, n), getattr(lexicon, n)) for n in Lexicon.__slots__)
    assert a_lexicon().to_npz() == data


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_bytes_that_are_no_lexicon(data):
    with pytest.raises(BundleError, match=r"features\.npz"):
        Lexicon.from_npz(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checks": np.zeros(48, np.uint16)}, "48 slots"), ({"checks": np.zeros(4, np.uint16)}, "4 slots"),
        ({"vector_weights": np.zeros(64, np.int8)}, "vector_weights is int8"), ({"weights": np.zeros(64, np.int8)}, "weights is int8"),
        ({"vectors": np.zeros((64, 12), np.int8)}, "12 elements"), ({"vectors": np.zeros(64, np.int8)}, "vectors is"),
        ({"unknown": np.zeros(2, np.uint8)}, "unknown is"),
    ],
)  # fmt: skip
def test_lexicons_of_other_shapes_are_refused(change, said):
    lexicon = a_lexicon()
    with pytest.raises(BundleError, match=said):
        Lexicon(**{**{n: getattr(lexicon, n) for n in Lexicon.__slots__}, **change})
    assert MAX_SLOTS >= 1 << 15

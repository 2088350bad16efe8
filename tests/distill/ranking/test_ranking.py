"""Rerank recipes: data, lists, lexicon, boundaries, metrics; and a whole small bundle where PyTorch is there."""

import gzip
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing import Scorer
from farthing.cli import app
from farthing.distill.ranking import build as build_module
from farthing.distill.ranking import lists, measure
from farthing.distill.ranking.data import (
    PLAN,
    Candidate,
    Query,
    QuerySet,
    answerable,
    hold_out,
    joined,
    key_of,
    read_queries,
    without,
)
from farthing.distill.ranking.features import SMALL_RANKS, boundaries_of, make_spec
from farthing.distill.ranking.glosses import read_glosses
from farthing.distill.ranking.golden import GOLDEN_ODD, GOLDEN_REFUSED, golden_events
from farthing.distill.ranking.recipe import PairSettings, read_recipe
from farthing.distill.ranking.train import soft_targets, targets
from farthing.distill.ranking.word_vectors import learn_vectors, sentences
from farthing.distill.ranking.words import average_words, build_lexicon, reduce_vectors
from farthing.errors import BundleError, ConfigError, DataError
from farthing.features import Featurizer
from farthing.features.pair_spec import ABSENT
from farthing.payload import parse

RECIPES = Path(__file__).parents[3] / "models" / "recipes"
NEEDS_TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
TOPICS = ("fever", "glacier", "bridge", "violin", "pepper", "harbour", "magnet", "saffron", "turbine", "walnut")
KINDS = {
    "what causes": "begins because of cold wind and old stones near",
    "how long is": "takes 30 days or 12 weeks in most years of",
    "who made": "was built by Anna Berg and her brother for",
}


def written_rows(n, *, seed=0):
    """Candidates of ``n`` questions: one answers, one is about another topic, two are of another kind."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        topic, other = rng.choice(TOPICS, 2, replace=False)
        kind = list(KINDS)[number % 3]
        texts = [(f"{KINDS[k]} the {t} {rng.choice(TOPICS)}", int(k == kind and t == topic))
                 for k, t in [(kind, topic), (kind, other), *((k, topic) for k in KINDS if k != kind)]]  # fmt: skip
        for place, k in enumerate(rng.permutation(len(texts))):
            text, label = texts[k]
            rows.append(
                {"qid": f"{seed}-{number}", "query": f"{kind} the {topic} number {seed} {number}", "docid": f"d{place}",
                 "title": topic if place % 2 else "", "text": text, "label": label}
            )  # fmt: skip
    return rows


def write(path, rows):
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))
    return path


@pytest.fixture
def train(tmp_path):
    return read_queries(write(tmp_path / "train.jsonl.gz", written_rows(60)))


def test_queries_are_read_as_they_are_and_become_events(train):
    rows = written_rows(60)
    assert len(train) == 60 and train.indptr[-1] == len(rows) == len(train.gains)
    first = train.queries[0]
    assert [c.text for c in first.candidates] == [row["text"] for row in rows[:4]]
    assert [c.title for c in first.candidates] == [row["title"] or None for row in rows[:4]]
    assert first.gains.tolist() == [row["label"] for row in rows[:4]]
    event = json.loads(first.event())
    assert event["query"] == first.text and [c["id"] for c in event["candidates"]] == ["d0", "d1", "d2", "d3"]
    columns = train.columns()
    assert not columns.status.any() and columns.row_indptr.tolist() == train.indptr.tolist()


def test_labels_scores_and_first_stages(tmp_path):
    rows = [
        {"qid": 1, "query": "q", "docid": k, "title": "t", "text": "", "label": label, "s": k / 2, "ranks": ranks}
        for k, (label, ranks) in enumerate([(None, {"bm25": 1}), (2.5, {"bm25": 2}), (1, {}), (3, {"bm25": 3})])
    ]
    found = read_queries(
        write(tmp_path / "f.gz", rows), text="title", title=None, score="s", first_stage="bm25", relevant=2.0
    )
    (query,) = found.queries
    assert query.gains.tolist() == [0.0, 1.5, 2.0]
    assert query.candidates == (
        Candidate("0", "t", None, 0.0),
        Candidate("1", "t", None, 0.5),
        Candidate("3", "t", None, 1.5),
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", r"row 1 \(line 1\): not JSON"), (b'{"qid":1}', "has no query, its keys are qid; name the right one in the recipe"),
        (b"\n\n", "has no rows"), (b"\x1f\x8bx", "get the file again"), (b"[1]", "expected one object a line"),
        (b'{"qid":1,"query":"q","docid":2,"label":"x","text":""}', r'row 1 \(line 1\): label is "x", expected a number'),
        (b'{"qid":1,"query":"q","docid":2,"label":NaN,"text":""}', "NaN is not a JSON number"),
        (b'{"qid":1,"query":"q","docid":2,"label":-1,"text":""}', "label is -1, expected 0 or more"),
        (b'{"qid":1,"query":"q","docid":2,"label":1}', ":1: has no text"),
        (b'{"qid":1,"query":null,"docid":2,"label":1,"text":""}', ":1: query is null"),
        (b'{"qid":1,"query":"q","docid":2,"label":1,"text":""}\n{"qid":1,"query":"r","docid":3,"label":1,"text":""}',
         r":2: qid '1' is that of another query in .*:1"),
    ],
)  # fmt: skip
def test_bad_data_are_said(tmp_path, data, said):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_queries(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_queries(tmp_path / "none")


def test_shuffling_keeps_gains_with_their_candidates(tmp_path):
    path = write(tmp_path / "f.gz", written_rows(20))
    straight, mixed = read_queries(path), read_queries(path, shuffle=1)
    assert mixed.gains.tolist() != straight.gains.tolist()
    for a, b in zip(straight.queries, mixed.queries, strict=True):
        assert dict(zip(a.candidates, a.gains, strict=True)) == dict(zip(b.candidates, b.gains, strict=True))
    assert read_queries(path, shuffle=1).gains.tolist() == mixed.gains.tolist()


def test_equal_queries_stay_together_and_test_queries_out(train):
    twice = joined([train, train])
    left, dev = hold_out(twice)
    assert len(left) + len(dev) == 120 and 0 < len(dev) < 40
    assert not {key_of(q.text) for q in left.queries} & {key_of(q.text) for q in dev.queries}
    assert len(without(twice, {key_of(train.queries[3].text.upper() + "??")})) == 118
    nothing = Query("x", "q", (Candidate("a", "t"),), np.zeros(1, np.float32))
    assert len(answerable(QuerySet((nothing, *train.queries), ""))) == 60


def ranked(*gains):
    """A query whose candidates have these gains, in the order of their scores."""
    candidates = tuple(Candidate(str(k), "t") for k in range(len(gains)))
    return QuerySet((Query("q", "q", candidates, np.array(gains, np.float32)),), ""), -np.arange(
        len(gains), dtype=np.float32
    )


def test_metrics_of_known_rankings():
    found = measure.per_query(*ranked(0, 1, 0, 1))
    assert found["map"] == (1 / 2 + 2 / 4) / 2 and found["mrr"] == 0.5
    assert found["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3)))
    beside = measure.per_query(*ranked(0, 1), [np.array([3.0, 1.0, 0.0], np.float32)])  # the best was not retrieved
    assert beside["map"] == (1 / 2) / 2
    assert beside["ndcg@10"] == pytest.approx(1 / math.log2(3) / (3 + 1 / math.log2(3)))
    assert all(np.isnan(values).all() for values in measure.per_query(*ranked(0, 0, 0)).values())


def test_a_gain_is_that_of_each_query():
    data = joined([ranked(0, 1, 0)[0], ranked(1, 0, 0)[0]])
    ours, theirs = np.array([1, 2, 0, 1, 2, 0], np.float32), np.array([2, 1, 0, 2, 1, 0], np.float32)
    found = measure.gain_over(data, ours, theirs)
    assert found["mrr"]["value"] == pytest.approx(0, abs=1e-4)
    assert measure.gain_over(data, ours, ours)["map"] == {"value": 0, "low": 0, "high": 0}
    assert found["mrr"]["low"] < -0.2 and found["mrr"]["high"] > 0.2


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=8), min_size=2, max_size=6)
)
def test_metrics_are_means_over_queries_that_have_them(data):
    queries = [
        Query(str(k), "q", tuple(Candidate(str(j), "t") for j in range(len(rows))), np.array([g for g, _ in rows], np.float32))
        for k, rows in enumerate(data)
    ]  # fmt: skip
    if not any(query.gains.any() for query in queries):
        return
    scores = np.array([s for rows in data for _, s in rows], np.float32)
    found = measure.measure(QuerySet(tuple(queries), ""), scores, resamples=20)
    for name, entry in found.items():
        assert entry["queries"] == sum(bool(query.gains.any()) for query in queries), name
        assert 0 <= entry["low"] <= entry["value"] + 1e-4 and entry["value"] <= entry["high"] + 1e-4 <= 1.001


def test_the_first_stage_is_bm25():
    stage = lists.FirstStage(["a cat sat", "a dog", "a a a cat cat"])
    numbers, scores = stage.search("Cat!", 5)
    assert numbers.tolist() == [2, 0] and (scores > 0).all()
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    assert scores[1] == pytest.approx(idf * 1.9 / (1 + 0.9 * (0.6 + 0.4 * 3 / (10 / 3))))
    assert len(stage.search("zebra", 5)[0]) == 0


def test_lists_are_made_of_training_texts(train):
    made = lists.make_lists(train, queries=20, sentences=30, depth=7, seed=3)
    again = lists.make_lists(train, queries=20, sentences=30, depth=7, seed=3)
    assert [q.event() for q in made.queries] == [q.event() for q in again.queries]
    texts = {c.text for q in train.queries for c in q.candidates}
    assert len(made) >= 45
    cut = lists.pieces(sorted(texts), 30, np.random.default_rng(3))
    once = {piece: text for piece, text in cut if sum(piece == other for other, _ in cut) == 1}
    assert sum(query.text in once for query in made.queries) >= 10
    for query in made.queries:
        assert once.get(query.text) not in {c.text for c in query.candidates}
    for query in made.queries:
        assert 2 <= len(query.candidates) <= 7
        assert {c.text for c in query.candidates} <= texts
        assert all(c.score > 0 for c in query.candidates)
    assert 5 < sum(q.gains.max() for q in made.queries) <= 20  # pieces have no answers
    shown = lists.forget(made, 0.5, np.random.default_rng(0))
    without_score = [all(c.score is None for c in q.candidates) for q in shown.queries]
    assert 10 < sum(without_score) < 40
    assert all(
        any(c.score is None for c in q.candidates) == no for q, no in zip(shown.queries, without_score, strict=True)
    )


def test_targets_share_out_attention():
    gains, indptr = np.array([0, 1, 3, 0, 0], np.float32), np.array([0, 3, 5])
    assert targets(gains, indptr).tolist() == [0, 0.25, 0.75, 0, 0]
    soft = soft_targets(np.array([2, 4, 2, 0, 0], np.float32), indptr)
    assert soft[:3].sum() == pytest.approx(1) and soft[3:].tolist() == [0.5, 0.5] and soft[1] > soft[0] == soft[2]


def test_first_stage_scores_are_brought_to_one_scale():
    def scores_of(*scores):
        candidates = tuple(Candidate("", "", None, s) for s in scores)
        return lists.standard_scores(Query("", "", candidates, np.zeros(len(scores), np.float32))).tolist()

    assert scores_of(1.0, 3.0) == [-1, 1] and scores_of(2.0, 2.0) == [0, 0] and scores_of(None, 2.0) == [0, 0]


def test_words_of_everyday_language_weigh_little(train):
    plain = build_lexicon(train, slots=1024, least_texts=1, vectors={})
    beside = build_lexicon(
        train, slots=1024, least_texts=2, vectors={}, background=["our fever is here", "our day"] * 9
    )
    assert plain.find(b"our") == -1 and beside.weights[beside.find(b"our")] < 10
    assert beside.weights[beside.find(b"fever")] < plain.weights[plain.find(b"fever")]
    assert beside.weights[beside.find(b"violin")] == plain.weights[plain.find(b"violin")]


def test_weights_question_words_and_vectors(train):
    vectors = {b"fever": np.ones(8, np.float32), b"unseen": -np.ones(8, np.float32)}
    lexicon = build_lexicon(train, slots=1024, least_texts=2, vectors=vectors)
    weight = {w: int(lexicon.weights[lexicon.find(w)]) for w in (b"the", b"fever", b"unseen")}
    assert weight[b"the"] < weight[b"fever"] < weight[b"unseen"] == 255
    assert lexicon.question[lexicon.find(b"what")] == 1 and lexicon.question[lexicon.find(b"the")] == 0
    assert lexicon.vectors[lexicon.find(b"fever")].tolist() == [45] * 8  # 127 / sqrt(8)
    assert 9 < average_words(train) < 14


def test_reduced_vectors_keep_what_is_near(train):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 40))
    points = np.repeat(centres, 25, axis=0) + 0.1 * rng.normal(size=(100, 40))
    words = [b"w%d" % k for k in range(100)]
    reduced = reduce_vectors(words, points.astype(np.float32), 8, dropped=0)
    assert all(len(vector) == 8 for vector in reduced.values())
    table = np.array(list(reduced.values()))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    same = np.repeat(np.arange(4), 25)
    nearest = (table @ table.T - 9 * np.eye(100)).argmax(axis=1)
    assert (same[nearest] == same).all()


SYNSETS = {
    "data.noun": "  1 This software and database is being provided\n"
    "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which exists; a thing  \n"
    '00002137 03 n 02 abstraction 0 abstract_entity 0 001 @ 00001740 n 0000 | a general concept; "a nice one"; "two"\n',
    "data.verb": "", "data.adv": "",
    "data.adj": '00014490 00 s 02 galore(ip) 0 abounding 0 001 & 00013887 a 0000 | in great numbers; "daisies galore"\n',
}  # fmt: skip


def test_glosses_of_wordnet_become_texts(tmp_path):
    for name, text in SYNSETS.items():
        (tmp_path / name).write_text(text)
    found = read_glosses(tmp_path)
    assert found.texts == (
        "entity: that which exists; a thing",
        "abstraction, abstract entity: a general concept", "a nice one", "two",
        "galore, abounding: in great numbers", "daisies galore",
    )  # fmt: skip
    assert len(found.sha256) == 64
    (tmp_path / "data.adv").write_text("no synset\n")
    with pytest.raises(DataError, match=r"data\.adv:1: not a synset"):
        read_glosses(tmp_path)
    (tmp_path / "data.adv").unlink()
    with pytest.raises(ConfigError, match=r"data\.adv cannot be read .*wordnet-base"):
        read_glosses(tmp_path)


def test_runs_of_glosses_become_lists_of_their_own():
    words = [f"word{k}" for k in range(40)]
    rng = np.random.default_rng(0)
    glosses = [" ".join(rng.choice(words, 9)) for _ in range(300)]
    passages = lists.runs(glosses, seed=3)
    texts = [c.text for c in passages.queries[0].candidates]
    assert 300 // 8 <= len(texts) <= 300 // 3 and all(3 <= len(t.split(". ")) <= 8 for t in texts[:-1])
    assert [g for t in texts for g in t.split(". ")] == glosses[: sum(len(t.split(". ")) for t in texts)]
    assert texts == [c.text for c in lists.runs(glosses, seed=3).queries[0].candidates]
    assert texts != [c.text for c in lists.runs(glosses, seed=4).queries[0].candidates]
    with pytest.raises(DataError, match="no 8 neighbours have 20 words together"):
        lists.runs(["too short"] * 9, seed=0)
    made = lists.make_lists(passages, queries=0, sentences=20, depth=5, seed=0, name="gloss")
    assert [q.id for q in made.queries] == [f"gloss-{k}" for k in range(20)]
    assert all(len(q.candidates) in (4, 5) and not q.gains.any() for q in made.queries)
    assert not any(q.text in c.text for q in made.queries[:5] for c in q.candidates if len(q.text.split()) > 5)


def test_words_without_a_vector_are_composed_of_pieces(train):
    e = np.eye(8, dtype=np.float32)
    vectors = {b"gla": e[0], b"##cier": e[1], b"fever": e[2], b"br": e[3]}
    in_sums = {b"gla": 30, b"##cier": 40, b"fever": 99}
    lexicon = build_lexicon(train, slots=1024, least_texts=1, vectors=vectors, vector_weights=in_sums, max_pieces=4)
    slot = lexicon.find(b"glacier")
    assert lexicon.vectors[slot].tolist() == [round(127 * 0.6), round(127 * 0.8), 0, 0, 0, 0, 0, 0]
    assert lexicon.vector_weights[slot] == 50 and lexicon.weights[slot] not in (0, 50)
    assert lexicon.weights[lexicon.find(b"##cier")] == 157
    assert not lexicon.vectors[lexicon.find(b"bridge")].any()  # "br", and a rest that is no piece
    assert lexicon.vector_weights[lexicon.find(b"fever")] == 99
    assert lexicon.vector_weights[lexicon.find(b"bridge")] == 0 < lexicon.weights[lexicon.find(b"bridge")]


def test_pieces_find_their_place_before_words(train):
    rng = np.random.default_rng(0)
    pieces = {
        b"##%s" % bytes(rng.integers(97, 123, 5, np.uint8)): rng.normal(size=8).astype(np.float32) for _ in range(99)
    }
    words = {b"w%d" % k: np.ones(8, np.float32) for k in range(900)}
    lexicon = build_lexicon(train, slots=512, least_texts=1, vectors={**words, **pieces}, max_pieces=4)
    assert all(lexicon.find(piece) >= 0 for piece in pieces) and not all(lexicon.find(word) >= 0 for word in words)
    with pytest.raises(ConfigError, match=r"words\.slots: 16 have no room for \d+ pieces of words \(##.*\); raise it"):
        build_lexicon(train, slots=16, least_texts=1, vectors={**words, **pieces}, max_pieces=4)


def test_texts_are_cut_into_sentences_and_short_ones_left_out():
    assert sentences(["It is so. No! Who knows what? A b c.d e", "x"]) == {"It is so.", "Who knows what?", "A b c.d e"}


@pytest.mark.distill
@NEEDS_TORCH
def test_word_vectors_are_learnt_from_texts():
    """A teacher whose vector of a text is its topic's: words of a topic come together, though alone they are random."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(4, 24)).astype(np.float32)
    words = [b"w%d" % k for k in range(40)]
    of_topic = np.repeat(np.arange(4), 10)
    chosen = rng.integers(0, 4, 3000)
    texts = [" ".join(f"w{10 * t + k}" for k in rng.integers(0, 9, 6)) for t in chosen]  # the tenth word is in none
    taught = topics[chosen] + 0.1 * rng.normal(size=(3000, 24)).astype(np.float32)
    alone = rng.normal(size=(40, 24)).astype(np.float32)
    said = []

    def learn(seed):
        return learn_vectors(
            words, alone, np.full(40, 100, np.float32), [*texts, "unknown words"], np.vstack([taught, topics[:1]]),
            8, epochs=60, seed=seed, say=said.append,
        )  # fmt: skip

    found = learn(1).vectors
    assert len(said) == 60 and list(found) == words and not learn(1).weights
    table = np.array(list(found.values()))
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)
    seen = np.arange(40) % 10 != 9
    centres = np.stack([table[seen & (of_topic == t)].mean(axis=0) for t in range(4)])
    assert ((table[seen] @ centres.T).argmax(axis=1) == of_topic[seen]).all()
    near = (table @ table.T)[np.ix_(seen, seen)]
    same = of_topic[seen][:, None] == of_topic[seen]
    assert near[same].mean() > 0.7 and near[~same].mean() < 0.1
    assert all((found[w] == other).all() for w, other in learn(1).vectors.items())
    assert any((found[w] != other).any() for w, other in learn(2).vectors.items())


@pytest.mark.distill
@NEEDS_TORCH
def test_pieces_and_weights_are_learnt_from_texts():
    """Unknown words of a topic have its piece; half of each text's words say nothing, and learn to weigh less."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(4, 24)).astype(np.float32)
    chosen = rng.integers(0, 4, 3000)
    texts = [
        " ".join(f"{rng.choice(list('abcd'))}{t}topic" if k % 2 else f"n{rng.integers(0, 9)}" for k in range(8))
        for t in chosen
    ]
    words = [
        *(f"n{k}".encode() for k in range(9)),
        b"a",
        b"b",
        b"c",
        b"d",
        *(b"##%dtopic" % t for t in range(4)),
        b"##x",
    ]
    learnt = learn_vectors(
        words, rng.normal(size=(len(words), 24)).astype(np.float32), np.full(len(words), 100, np.float32), texts,
        topics[chosen] + 0.1 * rng.normal(size=(3000, 24)).astype(np.float32), 8,
        epochs=40, seed=0, say=lambda line: None, max_pieces=2, learn_weights=True,
    )  # fmt: skip
    weights = np.array([learnt.weights[w] for w in words])
    assert weights[:9].max() < weights[13:17].min() and weights.max() == 255
    pieces = np.array([learnt.vectors[w] for w in words[13:17]])
    assert (pieces @ pieces.T - np.eye(4)).max() < 0.5
    texts_of = np.array([topics[t] for t in range(4)]) - topics.mean(axis=0)
    likeness = texts_of @ texts_of.T / np.outer(*[np.linalg.norm(texts_of, axis=1)] * 2)
    assert np.corrcoef(likeness.ravel(), (pieces @ pieces.T).ravel())[0, 1] > 0.9


def test_boundaries_cut_into_even_parts():
    values = np.random.default_rng(0).integers(0, 1000, 5000)
    cuts = boundaries_of("bm25", values, 10)
    sizes = np.bincount(np.searchsorted(cuts, values, side="right"))
    assert len(cuts) == 9 and 1 not in np.diff(cuts)
    assert sizes.max() < 2 * 5000 / 10
    values[::3] = ABSENT
    assert np.searchsorted(boundaries_of("bm25", values, 10), ABSENT, side="right") == 0
    assert 0 in np.searchsorted(boundaries_of("bm25", np.array([ABSENT, 5, 5]), 10), [ABSENT])
    assert boundaries_of("bm25.rank", values, 10) == SMALL_RANKS
    with pytest.raises(ConfigError, match="title is absent"):
        boundaries_of("title", np.full(3, ABSENT), 10)


def test_specs_are_made_for_their_lexicon(train):
    lexicon = build_lexicon(train, slots=1024, least_texts=1, vectors={})
    settings = PairSettings(
        n_buckets=1024, numbers=("bm25", "bm25.rank"), crosses=(("bm25", "bm25.rank"),), intervals=5
    )
    spec = make_spec(settings, lexicon, train.columns(), 10.0)
    block = Featurizer(spec, lexicon)(train.columns())
    assert len(block) == train.indptr[-1] and len(spec.lexicon_sha256) == 64
    with pytest.raises(ConfigError, match="colour unknown"):
        make_spec(PairSettings(numbers=("colour",)), lexicon, train.columns(), 10.0)


@pytest.mark.parametrize("name", ["rerank", "wikiqa", "home_depot"])
def test_recipes_can_be_read(name):
    recipe, sha256 = read_recipe(RECIPES / f"{name}.toml")
    assert recipe.name == name and recipe.task == "rerank" and len(sha256) == 64
    assert all(source.licence for source in recipe.source)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("task = ", "job = ", "job"), ("hidden = 32", "hidden = 0", "hidden"), ("[words]", "[", "TOML|toml"),
        ('vectors = "minilm"', 'vectors = "none"\nepochs = 5', "take 'minilm', or epochs = 0"),
        ("[words]", '[[words.glosses]]\nname = "g"\nfolder = "g"\nlicence = "l"\n[words]', "leave glosses out"),
        ('vectors = "minilm"', 'vectors = "none"\nmax_pieces = 8\nepochs = 0', "epochs is 0; raise it, or leave them out"),
        ("cross_words = 0", "cross_words = 0\nmax_words = 99999", "max_words is 99999"),
        ("[student]", "[lists]\nglosses = 7\n[student]", "lists.glosses needs"),
    ],
)  # fmt: skip
def test_bad_recipes_are_said(tmp_path, old, new, said):
    path = tmp_path / "r.toml"
    path.write_text((RECIPES / "home_depot.toml").read_text().replace(old, new))
    with pytest.raises(ConfigError, match=rf"(?s)r\.toml.*({said})"):
        read_recipe(path)


def test_golden_events_are_of_all_kinds(train):
    events = golden_events(train.queries)
    parsed = parse(Scorer.records_of([*events, *GOLDEN_ODD, *GOLDEN_REFUSED]), PLAN)
    assert not parsed.status[: len(events) + len(GOLDEN_ODD)].any()
    assert len(set(parsed.status[len(events) + len(GOLDEN_ODD) :])) >= 5
    assert any(b'"score"' in e for e in events) and any(b'"nothing"' in e for e in events)


@pytest.mark.distill
@NEEDS_TORCH
def test_a_bundle_is_built_and_finds_the_answers(tmp_path):
    from farthing.distill.ranking.build import build

    for name, n, seed in (("train", 240, 0), ("test", 60, 1)):
        write(tmp_path / f"{name}.jsonl.gz", written_rows(n, seed=seed))
    text = (RECIPES / "home_depot.toml").read_text()
    for old, new in (
        ("rerank/home_depot/", ""), ('vectors = "minilm"', 'vectors = "none"'), ("dim = 32\nvocabulary", "vocabulary"),
        ('text = "title"', 'text = "text"'), ("relevant = 2.0", "relevant = 1.0"), ("cross_words = 0", "cross_words = 12"),
        ('"cosine", "alignment", "weakest", "central",', ""), ("n_buckets = 32768", "n_buckets = 4096"),
        ('"cosine.relative", "alignment.relative", "weakest.relative", "central.relative",', ""),
        (', ["alignment", "text_words"]', ""), ("learning_rate = 0.001", "learning_rate = 0.01"),
    ):  # fmt: skip
        assert old in text, old
        text = text.replace(old, new)
    path = tmp_path / "small.toml"
    path.write_text(text)
    said = []
    for out in ("a", "b"):
        build(*read_recipe(path), tmp_path, tmp_path / out, said.append)
    scorer = Scorer.load(tmp_path / "a")
    found = json.loads((tmp_path / "a" / "manifest.json").read_text())["evaluation"]["sets"]["home_depot test"]["int8"]
    assert found["map"]["value"] > 0.9  # by chance it would be 0.52
    for file in ("model.onnx", "features.npz", "golden.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    event = {"query": "who made the violin", "candidates": [{"text": f"{k} the violin"} for k in KINDS.values()]}
    (value,) = scorer.score_events([json.dumps(event).encode()]).values
    assert json.loads(value)["ranking"][0]["id"] == 2


SMALL = """
name = "small"
task = "rerank"
description = "Made up."
[[source]]
name = "made"
train = "train.gz"
test = "test.gz"
licence = "CC0-1.0"
[pairs]
numbers = ["bm25"]
"""


def small(tmp_path, train_rows, test_rows):
    write(tmp_path / "train.gz", train_rows)
    write(tmp_path / "test.gz", test_rows)
    path = tmp_path / "r.toml"
    path.write_text(SMALL)
    return path


def renamed(rows, letter):
    return [{**row, "qid": f"{letter}{row['qid']}"} for row in rows]


def test_splits_that_cannot_be_are_told_by_file_and_row(tmp_path):
    rows = written_rows(60)
    recipe, _ = read_recipe(small(tmp_path, rows, renamed(written_rows(10), "t")))
    assert len(build_module._read(recipe, tmp_path, lambda line: None).train) > 30
    for train_rows, test_rows, said in (
        (rows, rows[:20], r"test\.gz:1: qid '.*' is in .*train\.gz:1 too, another split; remove"),
        (
            rows,
            [{**r, "qid": f"t{r['qid']}", "label": 0} for r in rows[:20]],
            r"test\.gz: there is no relevant candidate",
        ),
        ([{**r, "label": 1} for r in rows], renamed(rows[:20], "t"), r"train\.gz: there is no query with both kinds"),
        (rows[:1], renamed(rows, "t"), r"train\.gz: "),
        (renamed(rows, "t"), rows, r"train\.gz: once queries of test are out"),
    ):
        small(tmp_path, train_rows, test_rows)
        with pytest.raises(DataError, match=said):
            build_module._read(recipe, tmp_path, lambda line: None)


@pytest.mark.parametrize(("lost", "refused"), [({"dev": 9, "far": 9}, False), ({"made test": 0.3}, True)])
def test_int8_is_judged_on_test_splits_alone(tmp_path, monkeypatch, lost, refused):
    path = small(tmp_path, written_rows(60), renamed(written_rows(10), "t"))
    path.write_text(
        SMALL.replace("[pairs]", '[[elsewhere]]\nname = "far"\nrows = "test.gz"\nlicence = "CC0-1.0"\n[pairs]')
    )
    recipe, _ = read_recipe(path)
    looked = []

    class Judge:
        def __init__(self, *given):
            pass

        def look(self, name, queries, ideal=None):
            looked.append(name)
            return lost.get(name, 0.0)

    monkeypatch.setattr(build_module, "Judge", Judge)
    parts = build_module._read(recipe, tmp_path, lambda line: None)
    if refused:
        with pytest.raises(
            BundleError, match=r"^made: int8 loses 0\.30 points of map to float32 on test, at most 0\.2"
        ):
            build_module._evaluate(recipe, None, None, parts, tmp_path, lambda line: None)
    else:
        build_module._evaluate(recipe, None, None, parts, tmp_path, lambda line: None)
        assert looked == ["dev", "made test", "far"]


def test_the_command_takes_recipes_of_rankings(tmp_path):
    path = small(tmp_path, written_rows(60), written_rows(10))
    with pytest.raises(
        ConfigError, match="--sweep and --report are for recipes of moderation and classify, not rerank"
    ):
        app(["distill", str(path), "--sweep"], result_action="return_value")
    with pytest.raises(DataError, match=r"test\.gz:1: qid"):
        app(["distill", str(path), "--out", str(tmp_path / "out")], result_action="return_value")
    assert not (tmp_path / "out").exists()

"""The task rerank as a whole: rankings that do not depend on neighbours, and a bundle with a lexicon."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from farthing import Scorer
from farthing.blocks import Status
from farthing.errors import BundleError
from farthing.features import Lexicon
from farthing.kernels.jit import NO_JIT
from farthing.model.nets import HashedNet
from farthing.scoring.bundle import Bundle, write_bundle
from tests.bundle_factory import RERANK_WORDS, make_bundle, make_rerank_bundle, rerank_events

FILES = ("CARD.md", "SHA256SUMS", "features.npz", "golden.npz", "manifest.json", "model.onnx")
MANY = 30 if NO_JIT else 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_rerank_bundle(tmp_path_factory.mktemp("bundles") / "rerank").path


@pytest.fixture(scope="module")
def scorer(folder):
    return Scorer.load(folder)


def event(query, *texts, **more):
    candidates = [{"id": k, **({} if text is None else {"text": text})} for k, text in enumerate(texts)]
    return json.dumps({"id": "e", "query": query, "candidates": candidates, **more}).encode()


def random_events(n, *, seed=5):
    rng = np.random.default_rng(seed)
    return [
        event(
            " ".join(rng.choice(RERANK_WORDS, 5)), *(" ".join(rng.choice(RERANK_WORDS, 12)) for _ in range(1 + k % 7))
        )
        for k in range(n)
    ]


def rankings(scorer, events):
    scored = scorer.score_events(events)
    return scored.status.tolist(), [json.loads(value) for value in scored.values]


def test_a_ranking_is_its_scores_in_order(scorer):
    events = random_events(50)
    scored = scorer.score_events(events)
    assert not scored.status.any()
    assert set(scored.labels) == {"ranked"}
    for k, value in enumerate(scored.values):
        scores = scored.scores[scored.row_indptr[k] : scored.row_indptr[k + 1], 0]
        order = sorted(range(len(scores)), key=lambda row: -scores[row])
        ranking = json.loads(value)["ranking"]
        assert [c["id"] for c in ranking] == order
        assert [c["score"] for c in ranking] == pytest.approx(scores[order], abs=1e-6)
    assert len(np.unique(scored.scores)) > 100


def test_bad_candidates_come_last_and_bad_events_are_dead(scorer):
    status, found = rankings(
        scorer,
        [
            event("fever", None, "water", "fever"), event("fever", None, None), event("fever"), b"{",
            b'{"candidates":[{"text":"a"}]}', b'{"query":"fever","candidates":[{"id":"x","text":null}]}',
            event("fever", *["ice"] * 1001), event("fever", *["ice"] * 1000), None,
        ],
    )  # fmt: skip
    assert status == [
        Status.OK, Status.MISSING_FIELD, Status.NO_ROWS, Status.SYNTAX, Status.MISSING_FIELD, Status.NULL_FIELD,
        Status.TOO_MANY_ROWS, Status.OK, Status.NULL_VALUE,
    ]  # fmt: skip
    assert found[0]["ranking"][-1] == {"id": 0, "score": None, "reason": "missing_field"}
    assert {c["id"] for c in found[0]["ranking"][:2]} == {1, 2}
    assert [c["id"] for c in found[1]["ranking"]] == list(range(1000))  # all the same: in the order they came


def test_rankings_do_not_depend_on_neighbours(scorer):
    """Each event alone, in one batch of all, shuffled, in batches of every kind, beside the worst neighbours."""
    events = random_events(MANY)
    together = scorer.score_events(events)
    alone = [scorer.score_events([value]) for value in events]
    assert [one.values[0] for one in alone] == list(together.values)
    assert np.array_equal(np.concatenate([one.scores for one in alone]), together.scores)
    order = np.random.default_rng(7).permutation(MANY)
    assert list(scorer.score_events([events[k] for k in order]).values) == [together.values[k] for k in order]

    size = 40 if NO_JIT else 1000
    bad = [
        *rerank_events(), event("", ""), event("fever " * 400, "fever " * (50 if NO_JIT else 20_000)),
        event("ice", *["ice water"] * size), event("ice", *[None] * 9, "ice"), event("x" * 9000, "x" * 9000, "\x00\t"),
    ]  # fmt: skip
    for step in (1, 2, 3, 7, 64):
        batch = []
        for start in range(0, min(MANY, 6 * step), step):
            batch += [*events[start : start + step], bad[(start // step) % len(bad)]]
        found = scorer.score_events(batch)
        values = dict(zip(np.flatnonzero(found.status == 0).tolist(), found.values, strict=True))
        kept = [values[k] for k, value in enumerate(batch) if value not in bad]
        assert kept == list(together.values[: len(kept)]), step


@pytest.mark.parametrize("threads", [2])
def test_rankings_do_not_depend_on_threads(folder, scorer, threads):
    events = random_events(MANY)
    assert Scorer.load(folder, threads=threads).score_events(events).values == scorer.score_events(events).values


def test_a_bundle_with_a_lexicon(folder, scorer):
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    bundle = Bundle.load(folder)
    assert Lexicon.from_npz(bundle.features).dim == 8
    report = scorer.verify()
    assert report.golden_events == len(rerank_events())
    names = [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert names == sorted(set(FILES) - {"SHA256SUMS"}, key=str.lower)


def parts(bundle):
    names = ("manifest", "model", "golden", "card", "features")
    return {name: getattr(bundle, name) for name in names}


def test_golden_order_is_compared(folder, tmp_path):
    bundle = Bundle.load(folder)
    order = bundle.golden.order.copy()
    order[:2] = order[1::-1]
    golden = dataclasses.replace(bundle.golden, order=order)
    path = write_bundle(tmp_path / "b", **{**parts(bundle), "golden": golden}).path
    with pytest.raises(BundleError, match=r"golden order: 2 of .* expected .*, found"):
        Scorer.load(path)
    none = dataclasses.replace(bundle.golden, order=None)
    path = write_bundle(tmp_path / "c", **{**parts(bundle), "golden": none}).path
    with pytest.raises(BundleError, match="golden order: the task rerank gives some, the bundle has none"):
        Scorer.load(path)


def test_another_lexicon_is_refused(folder, tmp_path):
    bundle = Bundle.load(folder)
    lexicon = Lexicon.from_npz(bundle.features)
    other = dataclasses.replace(lexicon, unknown=np.array([1], np.uint8)).to_npz()
    path = write_bundle(tmp_path / "b", **{**parts(bundle), "features": other}).path
    found = hashlib.sha256(other).hexdigest()
    with pytest.raises(BundleError, match=rf"features\.npz: the feature spec needs .*, there is {found}"):
        Scorer.load(path)
    path = write_bundle(tmp_path / "b", **{**parts(bundle), "features": None}).path
    assert "features.npz" not in {file.name for file in path.iterdir()}
    with pytest.raises(BundleError, match=r"there is \(none\)"):
        Scorer.load(path)


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found(folder, tmp_path, name):
    path = write_bundle(tmp_path / "b", **parts(Bundle.load(folder))).path
    data = bytearray((path / name).read_bytes())
    for place in {0, len(data) // 2, len(data) - 1}:
        flipped = data.copy()
        flipped[place] ^= 1
        (path / name).write_bytes(flipped)
        with pytest.raises(BundleError, match=r"SHA256SUMS|features\.npz"):
            Bundle.load(path)


def test_a_lexicon_that_is_missing_or_unasked_for(folder, tmp_path):
    path = write_bundle(tmp_path / "b", **parts(Bundle.load(folder))).path
    sums = (path / "SHA256SUMS").read_text()
    (path / "SHA256SUMS").write_text("".join(s for s in sums.splitlines(True) if "features.npz" not in s))
    with pytest.raises(BundleError, match=r"features\.npz: manifest\.json has a digest of it, SHA256SUMS none"):
        Bundle.load(path)
    (path / "SHA256SUMS").write_text(sums)
    (path / "features.npz").unlink()
    with pytest.raises(BundleError, match=r"cannot read features\.npz"):
        Bundle.load(path)
    plain = make_bundle(tmp_path / "m")
    with pytest.raises(BundleError, match=r"the feature spec needs the SHA-256 \(none\), there is"):
        HashedNet(plain.manifest, plain.model, features=Bundle.load(folder).features)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("title", "title"),
        ("score", "score"),
        ("text", "text"),
        ("query", "candidates[*].query"),
        ("candidate_id", "cid"),
    ],
)
def test_a_field_on_the_wrong_side_of_the_array_is_refused(folder, tmp_path, name, path):
    """An event's title is read for each candidate, so one column would be read past its end."""
    bundle = Bundle.load(folder)
    plan = json.loads(json.dumps(dict(bundle.manifest.field_plan)))
    next(field for field in plan["fields"] if field["name"] == name)["path"] = path
    manifest = dataclasses.replace(bundle.manifest, field_plan=plan)
    changed = write_bundle(tmp_path / "b", **{**parts(bundle), "manifest": manifest}).path
    with pytest.raises(BundleError, match=r"array"):
        Scorer.load(changed, verify=False)

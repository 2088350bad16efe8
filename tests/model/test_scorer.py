"""The scorer as a whole: the same scores whatever the batch, the neighbours and the threads; and its checks at load."""

import dataclasses
import json

import numpy as np
import pytest

from farthing import Scorer
from farthing.blocks import Status
from farthing.errors import BundleError
from farthing.kernels.jit import NO_JIT
from farthing.model.golden import PLAIN_TOLERANCE, make_golden
from farthing.model.nets import HashedNet
from farthing.model.shipped import find_bundle, shipped_bundles
from farthing.model.stages import Stages
from farthing.scoring.bundle import Bundle, write_bundle
from tests.bundle_factory import HEADS, LABELS, golden_events, make_bundle, make_spec, make_tensors, model_of

MANY = 300 if NO_JIT else 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "moderation").path


@pytest.fixture(scope="module")
def scorer(folder):
    return Scorer.load(folder)


def event(text, number=0):
    return json.dumps({"id": number, "text": text}, ensure_ascii=False).encode()


def random_events(n, *, seed=5):
    rng = np.random.default_rng(seed)
    words = ["you", "are", "great", "awful", "go", "away", "love", "this", "ßtraße", "🎈", "the", "I", "hate", "like"]
    lengths = rng.integers(0, 30, n)
    return [event(" ".join(rng.choice(words, length)), k) for k, length in enumerate(lengths)]


def adversarial_neighbours(scorer):
    """Empty text, one id a million times, a megabyte of everything, and events that are refused."""
    rng = np.random.default_rng(6)
    noise = "".join(map(chr, rng.integers(0x20, 0x2FF, 5_000 if NO_JIT else 400_000)))
    same = "z" * (5_000 if NO_JIT else 1_000_000)
    return [event(""), event(same), event(noise), *golden_events(), event("a " * 2000)]


def test_a_scorer_knows_its_model(scorer, folder):
    assert (scorer.task, scorer.heads, scorer.labels) == ("moderation", HEADS, LABELS)
    assert scorer.model_id == Bundle.load(folder).model_id
    assert scorer.model_id.startswith("moderation@")


def test_score_records(scorer):
    scored = scorer.score_events([event("hello", 7), b"{", event("you are awful", 8), None])
    assert scored.status.tolist() == [Status.OK, Status.SYNTAX, Status.OK, Status.NULL_VALUE]
    assert len(scored) == 4 and len(scored.values) == 2
    assert scored.row_indptr.tolist() == [0, 1, 1, 2, 2]
    for row, value in enumerate(scored.values):
        record = json.loads(value)
        assert record["model"] == scorer.model_id
        assert record["label"] == scored.labels[row]
        assert record["score"] == pytest.approx(scored.scores[row, 0], abs=1e-6)


def test_texts_are_events(scorer):
    texts = ["", "you are great", 'say "no" \\ or \u2028', "🎈"]
    scored = scorer.score_texts(texts)
    assert scored.status.tolist() == [0, 0, 0, 0]
    assert np.array_equal(scored.scores, scorer.score_events([event(text) for text in texts]).scores)
    assert [json.loads(value)["id"] for value in scored.values] == [0, 1, 2, 3]


@pytest.mark.parametrize("one", ["hello", "", b"hello", bytearray(b"hello")], ids=repr)
def test_one_text_is_no_sequence_of_texts(scorer, one):
    with pytest.raises(TypeError, match=f"given one {type(one).__name__}: put it in a list"):
        scorer.score_texts(one)


def test_labels_and_values_are_those_of_the_scored_texts(scorer):
    texts = ["you are great", None, "you are awful", "\ud800"]
    scored = scorer.score_texts(texts)
    assert [bool(status) for status in scored.status] == [False, True, False, True]
    assert scored.row_indptr.tolist() == [0, 1, 1, 2, 2]
    assert len(scored.labels) == len(scored.values) == len(scored.scores) == 2
    for value, event_at in zip(scored.values, np.flatnonzero(scored.status == Status.OK), strict=True):
        alone = scorer.score_texts([texts[event_at]])
        row = scored.row_indptr[event_at]
        record = json.loads(value)
        assert record["id"] == event_at
        assert record["label"] == scored.labels[row] == alone.labels[0]
        assert np.array_equal(scored.scores[row], alone.scores[0])


def test_no_events(scorer):
    scored = scorer.score_events([])
    assert len(scored) == 0 and scored.values == () and scored.scores.shape == (0, len(HEADS))


def test_scores_do_not_depend_on_neighbours(scorer):
    """Each event alone, in one batch of all, shuffled, in batches of every kind, beside the worst neighbours."""
    events = random_events(MANY)
    together = scorer.score_events(events)
    assert len(np.unique(together.scores[:, 0])) > MANY // 10
    alone = [scorer.score_events([value]) for value in events]
    assert np.array_equal(np.concatenate([one.scores for one in alone]), together.scores)
    assert b"\n".join(one.values[0] for one in alone) == b"\n".join(together.values)

    order = np.random.default_rng(7).permutation(MANY)
    shuffled = scorer.score_events([events[k] for k in order])
    assert np.array_equal(shuffled.scores, together.scores[order])

    bad = adversarial_neighbours(scorer)
    for size in (1, 2, 3, 7, 64, 1000, 4095):
        batch = []
        for start in range(0, min(MANY, 4 * size), size):
            batch += [*events[start : start + size], bad[(start // size) % len(bad)]]
        found = scorer.score_events(batch)
        kept = [found.row_indptr[k] for k, value in enumerate(batch) if value not in bad]
        assert np.array_equal(found.scores[kept], together.scores[: len(kept)]), size


def test_extreme_texts_are_scored_alike_alone_and_together(scorer):
    bad = adversarial_neighbours(scorer)
    together = scorer.score_events(bad)
    for k, value in enumerate(bad):
        one = scorer.score_events([value])
        assert one.status[0] == together.status[k]
        assert np.array_equal(one.scores, together.scores[together.row_indptr[k] : together.row_indptr[k + 1]])
    assert together.status[0] == Status.OK  # empty text is an event
    assert np.isfinite(together.scores).all()


@pytest.mark.parametrize("threads", [2, 4])
def test_scores_do_not_depend_on_threads(folder, scorer, threads):
    events = random_events(2000 if not NO_JIT else 100)
    other = Scorer.load(folder, threads=threads)
    assert np.array_equal(other.score_events(events).scores, scorer.score_events(events).scores)


def test_too_large_events_are_refused(folder):
    small = Scorer.load(folder, max_event_bytes=64)  # golden events are longer: they are not bound by it
    scored = small.score_events([event("short"), event("long" * 100)])
    assert scored.status.tolist() == [Status.OK, Status.TOO_LARGE]


def test_verify(scorer):
    report = scorer.verify()
    assert report.golden_events == len(golden_events())
    assert 0 <= report.plain_score_difference <= PLAIN_TOLERANCE


def test_verify_finds_files_changed_since(tmp_path):
    bundle = make_bundle(tmp_path / "b")
    loaded = Scorer.load(bundle.path)
    make_bundle(bundle.path, seed=1)
    with pytest.raises(BundleError, match=f"digest was {bundle.digest} when loaded and is "):
        loaded.verify()
    (bundle.path / "CARD.md").write_text("other")
    with pytest.raises(BundleError, match="SHA256SUMS says"):
        loaded.verify()


def test_a_model_without_a_bundle_has_nothing_to_verify(folder):
    bundle = Bundle.load(folder)
    with pytest.raises(BundleError, match="no golden vectors"):
        Scorer(stages_of(bundle.manifest, bundle.model)).verify()


def stages_of(manifest, model):
    return Stages.of(manifest, HashedNet(manifest, model), model_id="x")


def rewritten(folder, path, **changes):
    """The bundle with some parts exchanged and all digests right."""
    bundle = Bundle.load(folder)
    parts = {"manifest": bundle.manifest, "model": bundle.model, "golden": bundle.golden, "card": bundle.card}
    return write_bundle(path, **{**parts, **changes}).path


def changed_golden(golden, name):
    value = getattr(golden, name).copy()
    flat = value.reshape(-1)
    flat[len(flat) // 2] = np.nextafter(flat[len(flat) // 2], 2) if name == "scores" else flat[len(flat) // 2] ^ 1
    return dataclasses.replace(golden, **{name: value})


@pytest.mark.parametrize("name", ["status", "accumulators", "logits", "scores", "labels"])
def test_golden_vectors_are_compared_bit_for_bit(folder, tmp_path, name):
    golden = Bundle.load(folder).golden
    path = rewritten(folder, tmp_path / "b", golden=changed_golden(golden, name))
    told = "To read a field from another place" if name == "status" else "Build the bundle again"
    with pytest.raises(BundleError, match=rf"golden {name}: 1 of .* expected .*, found .*{told}"):
        Scorer.load(path)
    Scorer.load(path, verify=False)


def test_other_weights_do_not_pass_as_the_golden_ones(folder, tmp_path):
    manifest = Bundle.load(folder).manifest
    path = rewritten(folder, tmp_path / "b", model=model_of(manifest, make_tensors(seed=9)))
    with pytest.raises(BundleError, match="golden accumulators"):
        Scorer.load(path)


def test_another_fingerprint_is_refused_with_both(folder, tmp_path):
    bundle = Bundle.load(folder)
    manifest = dataclasses.replace(bundle.manifest, feature_fingerprint="feedbeef")
    path = rewritten(folder, tmp_path / "b", manifest=manifest, model=model_of(manifest, bundle.tensors))
    with pytest.raises(
        BundleError, match=rf"says 'feedbeef', this Farthing computes '{make_spec(4096).fingerprint()}'"
    ):
        Scorer.load(path)


@pytest.mark.parametrize("field_plan", [{}, {"fields": [{"name": "text", "path": "a..b", "kind": "text"}]}])
def test_a_bad_field_plan_is_a_bundle_error(folder, tmp_path, field_plan):
    manifest = dataclasses.replace(Bundle.load(folder).manifest, field_plan=field_plan)
    path = rewritten(folder, tmp_path / "b", manifest=manifest)
    with pytest.raises(BundleError, match=r"bundle .*: the manifest's field plan: .*build the bundle again"):
        Scorer.load(path)


@pytest.mark.parametrize("field", [{"name": "body", "path": "body"}, {"name": "text", "path": "text", "kind": "raw"}])
def test_a_plan_without_the_specs_field_is_a_bundle_error(folder, tmp_path, field):
    manifest = dataclasses.replace(Bundle.load(folder).manifest, field_plan={"fields": [field]})
    path = rewritten(folder, tmp_path / "b", manifest=manifest)
    with pytest.raises(BundleError, match=r"field plan and feature spec: feature text: .*build the bundle again"):
        Scorer.load(path, verify=False)


def test_another_number_of_buckets_is_refused(folder, tmp_path):
    bundle = Bundle.load(folder)
    tensors = make_tensors(n_buckets=2048)
    path = rewritten(folder, tmp_path / "b", model=model_of(bundle.manifest, tensors))
    with pytest.raises(BundleError, match="the feature spec says 4096, the model's table has 2048 rows"):
        Scorer.load(path)


def test_an_unknown_task_is_refused(folder):
    bundle = Bundle.load(folder)
    manifest = dataclasses.replace(bundle.manifest, task="astrology")
    with pytest.raises(BundleError, match="task is 'astrology', this Farthing knows moderation"):
        stages_of(manifest, bundle.model)


def test_golden_vectors_are_reproducible(folder, scorer):
    golden = make_golden(scorer.stages, golden_events())
    for name in golden.__slots__:
        assert np.array_equal(getattr(golden, name), getattr(Bundle.load(folder).golden, name))


def test_bundles_are_found_by_folder_and_by_name(folder, monkeypatch):
    assert find_bundle(folder) == folder
    monkeypatch.setattr("farthing.model.shipped._home", lambda: folder.parent)
    assert shipped_bundles() == {"moderation": folder}
    assert find_bundle("moderation") == folder
    with pytest.raises(BundleError, match=r"no bundle 'rerank': .*shipped bundles \(moderation\)"):
        find_bundle("rerank")

"""Small bundles with random weights and everything else real: ``from tests.bundle_factory import make_bundle``."""

import hashlib
import json

import numpy as np

from farthing.features import FeatureSpec, PairFeature, TextFeature, make_lexicon
from farthing.model.golden import make_golden
from farthing.model.nets import HashedNet
from farthing.model.stages import Stages
from farthing.scoring.bundle import write_bundle
from farthing.scoring.golden_file import Golden
from farthing.scoring.graph import build_model
from farthing.scoring.manifest import Manifest
from farthing.scoring.tensors import QuantizedTensors
from farthing.tasks.rerank import LABELS as RERANK_LABELS

HEADS = ("offensive", "hateful", "threat")
LABELS = ("allow", "review", "block")


def make_tensors(*, seed=0, n_buckets=1 << 12, dim=16, hidden=24, heads=3):
    """Random weights whose scores spread over 0..1."""
    rng = np.random.default_rng(seed)
    return QuantizedTensors(
        table=rng.integers(-127, 128, (n_buckets, dim), dtype=np.int8),
        column_scale=rng.uniform(0.5e-2, 2e-2, dim).astype(np.float32),
        length_divisor=np.sqrt(np.maximum(np.arange(257), 1)).astype(np.float32),
        input_scale=0.03,
        input_zero_point=125,
        hidden_weight=rng.integers(-64, 65, (dim, hidden), dtype=np.int8),
        hidden_bias=rng.integers(-4000, 4000, hidden, dtype=np.int32),
        hidden_scale=rng.uniform(0.5e-4, 2e-4, hidden).astype(np.float32),
        activation_scale=0.01,
        output_weight=rng.integers(-64, 65, (hidden, heads), dtype=np.int8),
        logit_scale=np.full(heads, 2e-4, np.float32),
        logit_bias=rng.uniform(-1, 1, heads).astype(np.float32),
    )


def make_spec(n_buckets):
    """A real feature spec over the field ``text``."""
    return FeatureSpec(n_buckets=n_buckets, features=(TextFeature(field="text"),), seed=7)


FIELD_PLAN = {
    "fields": [
        {"name": "id", "path": "id", "kind": "raw", "required": False},
        {"name": "text", "path": "text", "kind": "text", "required": True},
    ]
}


def golden_events():
    """Ordinary, empty, long, escaped and refused events."""
    texts = ["", "a", "You are a wonderful person.", "naïve café 🎈", "x" * 3000, "go away " * 200, "\u0000\t\\"]
    events = [json.dumps({"id": k, "text": text}).encode() for k, text in enumerate(texts)]
    return [*events, b"", b"{", b'{"id": 1}', b'{"text": null}', b'{"text": 5}', b"[1]", b"\xff\xfe{}"]


def make_bundle(path, *, seed=0, heads=HEADS, n_buckets=1 << 12, dim=16, hidden=24, events=None):
    """Write a bundle that passes every check into the folder ``path`` and return it loaded."""
    tensors = make_tensors(seed=seed, n_buckets=n_buckets, dim=dim, hidden=hidden, heads=len(heads))
    spec = make_spec(n_buckets)
    manifest = make_manifest(
        feature_spec=spec.to_manifest(), field_plan=FIELD_PLAN, feature_fingerprint=spec.fingerprint(), heads=heads
    )
    model = model_of(manifest, tensors)
    stages = Stages.of(manifest, HashedNet(manifest, model), model_id="unsaved")
    golden = make_golden(stages, golden_events() if events is None else events)
    return write_bundle(path, manifest=manifest, model=model, golden=golden, card="# A bundle of random weights\n")


def make_manifest(*, feature_spec=None, field_plan=None, feature_fingerprint="00", heads=HEADS, name="moderation"):
    """A moderation manifest; without a spec and a plan it is good for the loader alone."""
    return Manifest(
        name=name,
        task="moderation",
        field_plan=field_plan or {},
        feature_spec=feature_spec or {},
        feature_fingerprint=feature_fingerprint,
        heads=tuple(heads),
        labels=LABELS,
        thresholds={heads[0]: {"review": 0.5, "block": 0.9}, heads[-1]: {"review": 0.7, "block": None}},
        quantization={"weights": "int8, 7 bits"},
        training_data=({"name": "random numbers", "licence": "CC0-1.0", "sha256": None},),
        evaluation={},
    )


def model_of(manifest, tensors):
    return build_model(tensors, {"task": manifest.task, "feature_fingerprint": manifest.feature_fingerprint})


def empty_golden(tensors):
    """No events: enough for the loader, which does not run them."""
    return Golden(
        values=np.zeros(0, np.uint8),
        values_indptr=np.zeros(1, np.int64),
        status=np.zeros(0, np.uint8),
        accumulators=np.zeros((0, tensors.dim), np.int32),
        logits=np.zeros((0, tensors.n_heads), np.int32),
        scores=np.zeros((0, tensors.n_heads), np.float32),
        labels=np.zeros(0, np.uint8),
    )


RERANK_PLAN = {
    "fields": [
        {"name": "id", "path": "id", "kind": "raw"},
        {"name": "query", "path": "query", "kind": "text", "required": True},
        {"name": "candidate_id", "path": "candidates[*].id", "kind": "raw"},
        {"name": "text", "path": "candidates[*].text", "kind": "text"},
        {"name": "title", "path": "candidates[*].title", "kind": "text"},
        {"name": "score", "path": "candidates[*].score", "kind": "number"},
    ],
    "max_rows": 1000,
}
RERANK_WORDS = (
    "what is the cause of fever how many bones are in a hand ice cave forms water melts slowly 206 27".split()
)


def rerank_events():
    """Good, odd and refused rerank events."""
    rng = np.random.default_rng(4)
    events = []
    for k in range(24):
        candidates = [
            {"id": f"d{j}", "text": " ".join(rng.choice(RERANK_WORDS, rng.integers(0, 40)))}
            for j in range(rng.integers(1, 9))
        ]
        if k % 3 == 0:
            candidates[0]["title"], candidates[-1]["score"] = "fever", 3.5
        if k % 4 == 0:
            candidates.insert(1, {"id": "no text"})
        events.append(
            {"id": k, "query": " ".join(rng.choice(RERANK_WORDS, rng.integers(0, 9))), "candidates": candidates}
        )
    refused = [
        b"",
        b"{",
        b'{"query":"a"}',
        b'{"query":null,"candidates":[{"text":"a"}]}',
        b'{"query":"a","candidates":[{}]}',
    ]
    return [*(json.dumps(event).encode() for event in events), *refused]


def make_rerank_bundle(path, *, seed=0, n_buckets=1 << 10):
    """A rerank bundle of random weights that passes every check, with a lexicon."""
    rng = np.random.default_rng(seed)
    lexicon = make_lexicon(
        {word.encode(): 255 - 9 * k for k, word in enumerate(RERANK_WORDS[:-6])},
        slots=128, unknown=255, question=[b"what", b"how"],
        vectors={word.encode(): rng.normal(size=8).astype(np.float32) for word in RERANK_WORDS[::2]},
    )  # fmt: skip
    features = lexicon.to_npz()
    names = ("bm25", "coverage", "alignment", "score", "central", "bm25.rank", "bm25.relative", "score.relative")
    feature = PairFeature(
        title="title", score="score", cross_words=8, numbers=dict.fromkeys(names, (0, 2, 50, 300, 700, 990)),
        crosses=(("bm25.relative", "coverage"),), lexicon_sha256=hashlib.sha256(features).hexdigest(),
    )  # fmt: skip
    spec = FeatureSpec(n_buckets=n_buckets, features=(feature,), seed=7)
    manifest = Manifest(
        name="rerank", task="rerank", field_plan=RERANK_PLAN, feature_spec=spec.to_manifest(),
        feature_fingerprint=spec.fingerprint(), heads=("relevance",), labels=RERANK_LABELS, thresholds={},
    )  # fmt: skip
    model = model_of(manifest, make_tensors(seed=seed, n_buckets=n_buckets, heads=1))
    net = HashedNet(manifest, model, features=features)
    golden = make_golden(Stages.of(manifest, net, model_id="unsaved"), rerank_events())
    return write_bundle(path, manifest=manifest, model=model, golden=golden, card="# Random\n", features=features)

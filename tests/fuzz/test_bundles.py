"""Bundles with one thing changed and all digests made right again: they give the same scores, or a BundleError."""

import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest

from farthing import Scorer
from farthing.errors import BundleError
from farthing.kernels.jit import NO_JIT
from farthing.model.shipped import shipped_bundles
from tests.bidding_factory import make_bidding_bundle, request
from tests.bundle_factory import golden_events, make_bundle, make_rerank_bundle, rerank_events
from tests.column_factory import write_column_bundle
from tests.fuzz.mutate import mutated

WEIRD = (
    10**400, -(10**30), 1 << 63, 1e308, 5e-324, 0, -1, 1.5, None, True, [], [[[[{"a": [None]}]]]], {}, "x\ny\x1b[31m\u202e",
    "x" * 100_000, "", "text", ["a", "b", "c"], [1, 2.5, -3], [None, None, None], "\ud800", "../../etc/passwd",
)  # fmt: skip
SOME = 18  # changes of each kind in the suite; fewer of a shipped bundle, which takes longer to load
MANY = 1_000  # of the campaign
COLUMN_EVENTS = [json.dumps({"id": 1, "age": age, "tenure": 3, "plan": {"fee": 60}}).encode() for age in (20, 40)]
MADE = {
    "moderation": (lambda folder: make_bundle(folder), golden_events()),
    "rerank": (lambda folder: make_rerank_bundle(folder), rerank_events()),
    "bidding": (lambda folder: make_bidding_bundle(folder), [request()]),
    "columns": (lambda folder: write_column_bundle(folder), COLUMN_EVENTS),
}
SHIPPED = {
    name: (lambda folder, path=path: shutil.copytree(path, folder), MADE[name][1])
    for name, path in shipped_bundles().items()
}
pytestmark = pytest.mark.skipif(NO_JIT, reason="no kernel is involved")


@pytest.fixture(scope="module", params=[*MADE, *(f"shipped {name}" for name in SHIPPED)])
def original(request, tmp_path_factory):
    """A folder, its events and their scores."""
    kind = request.param
    make, events = SHIPPED[kind.split()[1]] if kind.startswith("shipped") else MADE[kind]
    folder = tmp_path_factory.mktemp(kind.split()[0]) / "b"
    make(folder)
    return folder, events, Scorer.load(folder).score_events(events).scores


def reseal(folder):
    document = json.loads((folder / "manifest.json").read_text())
    document["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in document["files"]}
    (folder / "manifest.json").write_text(json.dumps(document))
    sums(folder)


def sums(folder):
    names = sorted(
        {"CARD.md", "golden.npz", "manifest.json", "model.onnx", "features.npz"} & {f.name for f in folder.iterdir()}
    )
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def places(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed_manifests(folder):
    """Every place in the manifest with every weird value."""
    text = (folder / "manifest.json").read_text()
    for path in places(json.loads(text)):
        for value in WEIRD:
            document = json.loads(text)
            at = document
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
            yield (
                f"{path} is {str(value)[:40]!r}",
                lambda document=document: (
                    (folder / "manifest.json").write_text(json.dumps(document)),
                    sums(folder),
                ),
            )


def changed_bytes(folder, rng, name):
    """Mutations of a file, with digests that fit."""
    data = (folder / name).read_bytes()

    def write(text):
        (folder / name).write_bytes(text)
        if (folder / "manifest.json").exists():
            reseal(folder)

    while True:
        text = mutated(rng, data)
        yield f"{name}: {text[:200]!r}", lambda text=text: write(text)


def check(original, copy, most):
    """Try changes of each kind, ``most`` of each, from a seed; returns how many were refused, and how many not."""
    folder, events, scores = original
    shutil.copytree(folder, copy)
    files = {file: file.read_bytes() for file in copy.iterdir()}
    rng = np.random.default_rng(20261127)
    hashed = (copy / "manifest.json").exists()
    names = ["model.onnx", "golden.npz", "features.npz"] if hashed else ["churn.onnx", "manifest.toml"]
    kinds = [changed_bytes(copy, rng, name) for name in names if (copy / name).exists()]
    if hashed:
        every = list(changed_manifests(copy))
        kinds.append(every[k] for k in rng.permutation(len(every)))
    refused = loaded = 0
    for kind in kinds:
        for what, change in itertools.islice(kind, most):
            change()
            try:
                found = Scorer.load(copy).score_events(events).scores
                loaded += 1
            except BundleError as error:
                assert str(error).isprintable(), what
                refused += 1
            except BaseException as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
            else:  # columns have neither golden vectors nor, here, a digest; settings may refuse an event
                assert not hashed or len(found) < len(scores) or np.array_equal(found, scores), what
            for file, content in files.items():
                file.write_bytes(content)
    return refused, loaded


def number(original, of_small_ones):
    """Changes of each kind to try: a shipped bundle takes longer to load."""
    return of_small_ones // 6 if original[0].parent.name.startswith("shipped") else of_small_ones


def test_some_changes(original, tmp_path):
    most = number(original, SOME)
    refused, _ = check(original, tmp_path / "b", most)
    assert refused > most


@pytest.mark.campaign
def test_many_changes(original, tmp_path):
    print(check(original, tmp_path / "b", number(original, MANY)))

"""A bidding bundle with random weights and everything else real, and requests for it."""

import json
from pathlib import Path

from farthing.evaluate.requests import LogColumn, RequestMap
from farthing.features import CategoricalFeature, FeatureSpec, NumericFeature
from farthing.model.golden import make_golden
from farthing.model.nets import HashedNet
from farthing.model.scorer import Scorer
from farthing.model.stages import Stages
from farthing.payload import Field, FieldPlan
from farthing.scoring.bundle import write_bundle
from farthing.scoring.manifest import Manifest
from farthing.tasks.bidding import FIELDS, LABELS
from tests.bundle_factory import make_tensors, model_of

EXAMPLES = sorted((Path(__file__).parent / "golden" / "openrtb").glob("*.json"))
PLAN = FieldPlan(
    (
        *(Field(*entry) for entry in FIELDS),
        Field("domain", "site.domain", "raw"),
        Field("os", "device.os", "raw"),
        Field("banner_w", "imp[*].banner.w", "raw"),
        Field("banner_h", "imp[*].banner.h", "raw"),
        Field("banner_format", "imp[*].banner.format", "raw"),
    )
)
SPEC = FeatureSpec(
    n_buckets=1 << 10,
    features=(
        CategoricalFeature("domain"),
        CategoricalFeature("os"),
        CategoricalFeature("banner_w", per_row=True),
        NumericFeature("bidfloor", (0.1, 1.0), per_row=True),
    ),
    seed=3,
)
CAMPAIGN = {
    "campaign": "spring",
    "currency": "USD",
    "value_per_click": 0.8,
    "crid": "spring-1",
    "adomain": ["shop.example"],
    "offers": ["banner_w", "banner_format"],
}
REQUESTS = RequestMap(
    id="id",
    click="click",
    absent=("", "null"),
    columns=(
        LogColumn("domain", "site.domain", "text", "domain", {}),
        LogColumn("os", "device.os", "text", "os", {}),
        LogColumn("width", "imp[*].banner.w", "number", "banner_w", {}),
        LogColumn("floor", "imp[*].bidfloor", "text", "bidfloor", {"low": 0.05, "high": 2.0}),
        LogColumn("age", "user.ext.age", "number", "age", {}),  # no feature reads it
    ),
    constants=(("at", 2), ("cur", ["USD"])),
)
"""How a made-up log lies in requests."""


def make_manifest(settings=CAMPAIGN):
    return Manifest(
        name="bids",
        task="bidding",
        field_plan=PLAN.to_manifest(),
        feature_spec=SPEC.to_manifest(),
        feature_fingerprint=SPEC.fingerprint(),
        heads=("click",),
        labels=LABELS,
        thresholds={},
        training_data=({"name": "none", "licence": "CC0-1.0", "sha256": None, **REQUESTS.to_manifest()},),
        settings=settings,
    )


def make_scorer(settings=CAMPAIGN, *, seed=0):
    manifest = make_manifest(settings)
    tensors = make_tensors(seed=seed, n_buckets=SPEC.n_buckets, heads=1)
    net = HashedNet(manifest, model_of(manifest, tensors))
    return Scorer(Stages.of(manifest, net, model_id="bids@00000000"))


def make_bidding_bundle(path, settings=CAMPAIGN):
    manifest = make_manifest(settings)
    model = model_of(manifest, make_tensors(n_buckets=SPEC.n_buckets, heads=1))
    golden = make_golden(
        Stages.of(manifest, HashedNet(manifest, model), model_id="unsaved"), [*examples(), request(test=1), b"{"]
    )
    return write_bundle(path, manifest=manifest, model=model, golden=golden, card="# Random weights\n")


def examples():
    return [path.read_bytes() for path in EXAMPLES]


def imp(number="1", **fields):
    return {"id": number, "banner": {"w": 300, "h": 250}, **fields}


def request(*imps, **fields):
    """A request; with no impression given, one plain banner."""
    return json.dumps({"id": "r", "imp": list(imps) or [imp()], **fields}).encode()

"""A bidding bundle as a whole: golden prices, settings in the manifest, another campaign on the same model."""

import dataclasses
import json

import numpy as np
import pytest

from farthing import BundleError, Scorer
from farthing.scoring.bundle import Bundle, write_bundle
from tests.bidding_factory import CAMPAIGN, examples, make_bidding_bundle, request
from tests.bundle_factory import make_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_bidding_bundle(tmp_path_factory.mktemp("bids") / "b").path


def test_prices_are_golden_bit_for_bit(folder, tmp_path):
    bundle = Bundle.load(folder)
    assert bundle.golden.prices_micros.any()
    parts = {"manifest": bundle.manifest, "model": bundle.model, "card": bundle.card}
    prices = bundle.golden.prices_micros.copy()
    prices[np.argmax(prices)] += 1
    path = write_bundle(tmp_path / "a", golden=dataclasses.replace(bundle.golden, prices_micros=prices), **parts).path
    with pytest.raises(BundleError, match=r"golden prices: 1 of .* differ"):
        Scorer.load(path)
    path = write_bundle(tmp_path / "b", golden=dataclasses.replace(bundle.golden, prices_micros=None), **parts).path
    with pytest.raises(BundleError, match="golden prices: the task bidding gives some, the bundle has none"):
        Scorer.load(path)
    Scorer.load(folder).verify()


def test_settings_stand_in_the_manifest_where_a_task_has_some(folder, tmp_path):
    stated = json.loads((folder / "manifest.json").read_text())
    assert stated["settings"] == CAMPAIGN
    other = make_bundle(tmp_path / "moderation").path
    assert "settings" not in json.loads((other / "manifest.json").read_text())
    with np.load(other / "golden.npz") as arrays:
        assert "prices_micros" not in arrays.files


def test_another_campaign_on_the_same_model(folder):
    scorer = Scorer.load(folder)
    other = scorer.with_settings({**CAMPAIGN, "campaign": "autumn", "value_per_click": 1.6})
    first, second = (json.loads(s.score_events([request()]).values[0]) for s in (scorer, other))
    [a], [b] = first["seatbid"][0]["bid"], second["seatbid"][0]["bid"]
    assert b["price"] == pytest.approx(2 * a["price"], abs=2e-6)
    assert (a["cid"], b["cid"]) == ("spring", "autumn")
    scorer.verify()
    with pytest.raises(BundleError, match="no golden vectors"):
        other.verify()


def test_prices_do_not_depend_on_neighbours(folder):
    scorer = Scorer.load(folder)
    values = [*examples(), *(request(id=str(k), site={"domain": f"d{k}.example"}) for k in range(200)), b"{"]
    together = scorer.score_events(values, now_ms=5, pacing=0.5)
    alone = [value for one in values for value in scorer.score_events([one], now_ms=5, pacing=0.5).values]
    assert list(together.values) == alone

"""Stages are a value: whoever wants other settings or one more field gets another one, and nothing else changes."""

import dataclasses
import json

import numpy as np
import pytest

from farthing import BundleError, Scorer
from farthing.blocks import DecisionInputs, RecordBlock
from farthing.errors import ConfigError
from farthing.model.golden import verify
from farthing.model.nets import HashedNet
from farthing.model.stages import Stages
from farthing.scoring.bundle import Bundle
from tests.bidding_factory import CAMPAIGN, make_bidding_bundle, make_scorer, request
from tests.bundle_factory import golden_events, make_bundle
from tests.column_factory import write_column_bundle


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    return Scorer.load(make_bundle(tmp_path_factory.mktemp("bundles") / "moderation").path, verify=False)


def test_nothing_can_be_changed(scorer):
    for value, names in ((scorer, ("stages", "source")), (scorer.stages, [f.name for f in dataclasses.fields(Stages)])):
        for name in names:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, name, None)
        assert not hasattr(value, "__dict__")


def test_the_stages_one_by_one_give_what_the_scorer_gives(scorer):
    events, stages = golden_events(), scorer.stages
    records = RecordBlock.of_values(events)
    columns = stages.parse(records)
    scores = stages.score(stages.featurize(columns, records))
    decisions = stages.decide(columns, scores, DecisionInputs(records.buffer, records.timestamps_ms))
    rendered = stages.render(records, columns, decisions)
    expected = scorer.score_events(events)
    assert rendered.data.tobytes() == b"".join(expected.values)
    assert np.array_equal(scores.scores, expected.scores) and np.array_equal(decisions.status, expected.status)


def test_other_settings_share_the_model_and_leave_the_first_as_it_is():
    stages = make_scorer().stages
    other = stages.with_settings({**CAMPAIGN, "campaign": "autumn"})
    assert other.net is stages.net and other.field_plan is stages.field_plan
    assert (stages.settled.campaign.name, other.settled.campaign.name) == (CAMPAIGN["campaign"], "autumn")
    assert stages.manifest.settings == CAMPAIGN
    with pytest.raises(BundleError):
        stages.with_settings({**CAMPAIGN, "offers": ["no_such_field"]})


def test_a_field_more_is_read_beside_the_models(scorer):
    stages = scorer.stages
    other, also = stages.reading_also("account.id")
    assert other.field_plan.fields == (*stages.field_plan.fields, also) and also not in stages.field_plan.fields
    assert other.field_plan.max_rows == stages.field_plan.max_rows and other.net is stages.net
    records = RecordBlock.of_values([b'{"text":"x","account":{"id":[1, 2]}}'])
    column = other.parse(records).columns[also.name]
    assert records.buffer[column.start[0] : column.stop[0]].tobytes() == b"[1, 2]"
    for planned in stages.field_plan.fields:
        assert stages.reading_also(planned.path) == (stages, planned)
    with pytest.raises(ConfigError):
        stages.reading_also("text.inside")


def test_a_net_serves_any_number_of_stages(scorer):
    bundle = scorer.source.bundle
    net = HashedNet(bundle.manifest, bundle.model)
    first = Stages.of(bundle.manifest, net, model_id="a")
    mapped = Stages.of(bundle.manifest, net, model_id="b", fields={"text": "body"}, max_event_bytes=64)
    assert verify(first, bundle.golden) == verify(mapped, bundle.golden)  # neither map nor limit touches golden events
    (record,) = Scorer(mapped).score_events([b'{"body":"hello"}', b'{"body":"' + b"x" * 64 + b'"}']).values
    assert json.loads(record)["model"] == "b"


def test_what_has_no_files_says_why_it_cannot_be_verified(tmp_path):
    with pytest.raises(BundleError, match="was not loaded from a bundle: there are no golden vectors"):
        make_scorer().verify()
    loaded = Scorer.load(make_bidding_bundle(tmp_path / "b").path)
    with pytest.raises(BundleError, match="has other settings than its bundle: there are no golden vectors"):
        loaded.with_settings({**CAMPAIGN, "campaign": "autumn"}).verify()
    assert loaded.verify().golden_events == len(Bundle.load(tmp_path / "b").golden)
    assert loaded.score_events([request()]).values


def test_a_model_of_number_columns_has_no_hashed_net(tmp_path):
    scorer = Scorer.load(write_column_bundle(tmp_path / "churn"))
    with pytest.raises(BundleError, match="reads number columns"):
        _ = scorer.stages.hashed
    assert scorer.verify().golden_events == 0

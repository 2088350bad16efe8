"""Relay and service run under one set of settings."""

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

import pytest

from farthing import config
from farthing.kafka import RouteTopicNames

sys.path.insert(0, str(Path(__file__).parents[2]))
from loadtest import relay, throughput


@pytest.mark.parametrize("case", [(None, None), ((8, 4), None), ((4, 1), "exactly_once")])
def test_the_relay_reads_what_the_service_reads(tmp_path, case, monkeypatch):
    file = tmp_path / "farthing.toml"
    names = RouteTopicNames("events", "scores", "dead")
    throughput.write_settings(file, "a:1", names, 1, Namespace(bundle="moderation"), case)
    served = config.load(file).settings.kafka
    relayed = relay.settings_of(file, "a:1", "events")
    assert relayed.group_id != served.group_id
    assert relayed.model_copy(update={"group_id": served.group_id}) == served
    fetch_mib, delivery = case
    assert served.delivery == (delivery or "at_least_once")
    if fetch_mib is not None:
        assert (served.fetch_max_bytes >> 20, served.max_partition_fetch_bytes >> 20) == fetch_mib
    monkeypatch.setenv("FARTHING_KAFKA__FETCH_MAX_WAIT_MS", "7")
    assert relay.settings_of(file, "a:1", "events").fetch_max_wait_ms == 7
    assert relay.settings_of(None, "a:1,b:2", "events").bootstrap_servers == ("a:1", "b:2")


@pytest.mark.parametrize("text", ["8", "8/", "/4", "0/4", "8/-4", "8/4/2", "x/y"])
def test_sizes_that_are_none(text):
    with pytest.raises(ArgumentTypeError, match="8/4"):
        throughput.sizes(text)


def test_cases_are_all_pairs_and_have_names():
    options = Namespace(fetch_mib=[(8, 4), (4, 1), (8, 4)], delivery=["at_least_once", "exactly_once"])
    words = [throughput.words_of(case) for case in throughput.cases_of(options)]
    assert words == ["8/4 at_least_once", "8/4 exactly_once", "4/1 at_least_once", "4/1 exactly_once"]
    assert [throughput.words_of(c) for c in throughput.cases_of(Namespace(fetch_mib=None, delivery=None))] == [
        "default"
    ]

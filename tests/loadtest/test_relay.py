"""Relay and service run under one set of settings."""

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

import pytest

from farthing import config
from farthing.kafka import RouteTopicNames

sys.path.insert(0, str(Path(__file__).parents[2]))
from loadtest import relay, throughput


@pytest.mark.parametrize("fetch_mib", [None, (8, 4), (4, 1)])
def test_the_relay_reads_what_the_service_reads(tmp_path, fetch_mib, monkeypatch):
    file = tmp_path / "farthing.toml"
    names = RouteTopicNames("events", "scores", "dead")
    throughput.write_settings(file, "a:1", names, 1, Namespace(bundle="moderation"), fetch_mib)
    served = config.load(file).settings.kafka
    relayed = relay.settings_of(file, "a:1", "events")
    assert relayed.group_id != served.group_id
    assert relayed.model_copy(update={"group_id": served.group_id}) == served
    if fetch_mib is not None:
        assert (served.fetch_max_bytes >> 20, served.max_partition_fetch_bytes >> 20) == fetch_mib
    monkeypatch.setenv("FARTHING_KAFKA__FETCH_MAX_WAIT_MS", "7")
    assert relay.settings_of(file, "a:1", "events").fetch_max_wait_ms == 7
    assert relay.settings_of(None, "a:1,b:2", "events").bootstrap_servers == ("a:1", "b:2")


@pytest.mark.parametrize("text", ["8", "8/", "/4", "0/4", "8/-4", "8/4/2", "x/y"])
def test_sizes_that_are_none(text):
    with pytest.raises(ArgumentTypeError, match="8/4"):
        throughput.sizes(text)

"""Pacing multipliers: what a record may say, and what stands when it says something else. Kafka itself: tests/service."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.kafka.pacing import MAX_VALUE_BYTES, UNPACED, PacingTable, read_multiplier


@pytest.mark.parametrize(
    "value",
    [
        b"", b"{", b"null", b"0.5", b"[0.5]", b'{"multiplier":0}', b'{"multiplier":-0.1}', b'{"multiplier":1.0001}',
        b'{"multiplier":"0.5"}', b'{"multiplier":true}', b'{"multiplier":null}', b'{"multiplier":NaN}', b"{}",
        b'{"multiplier":1e999}', b"\xff", b"[" * 100_000, b" " * MAX_VALUE_BYTES + b'{"multiplier":0.5}',
    ],
)  # fmt: skip
def test_values_that_are_refused(value):
    table = PacingTable(["a"])
    assert table.apply(b"a", b'{"multiplier":0.25}') == "applied"
    assert read_multiplier(value) is None
    assert table.apply(b"a", value) == "invalid"
    assert table.multiplier("a") == 0.25  # the last good one stands


@given(st.floats(0, 1, exclude_min=True))
def test_values_that_are_taken(multiplier):
    assert read_multiplier(json.dumps({"multiplier": multiplier, "by": "someone"}).encode()) == multiplier


def test_the_latest_value_of_a_campaign_counts_and_a_tombstone_takes_it_back():
    table = PacingTable(["a", "b"])
    assert table.multiplier("a") == UNPACED
    table.apply(b"a", b'{"multiplier":0.5}')
    table.apply(b"a", b'{"multiplier":0.75}')
    table.apply(b"b", b'{"multiplier":1}')
    assert (table.multiplier("a"), table.multiplier("b")) == (0.75, 1.0)
    assert table.apply(b"a", None) == "applied"
    assert table.multiplier("a") == UNPACED


@pytest.mark.parametrize("key", [None, b"", b"other", b"\xff"])
def test_only_configured_campaigns_are_kept(key):
    table = PacingTable(["a"])
    assert table.apply(key, b'{"multiplier":0.5}') == "unknown_campaign"
    assert not table._values

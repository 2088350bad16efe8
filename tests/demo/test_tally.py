"""Counting answers: against a set, in any order, with repeats; over rounds; and what is shown of them."""

import io
import json

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from farthing import config
from farthing.blocks import FetchedPartition
from farthing.demo.events import Chunk, MadeUpComments
from farthing.demo.serving import DemoTopics, Deployment
from farthing.demo.tally import Flagged, Seen, Tally
from farthing.demo.view import Glance, draw, outcome, savings_words
from farthing.kafka import KafkaSettings
from farthing.payload import parse_path


@given(st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=30), max_size=20))
def test_seen_counts_as_a_set_does(rounds):
    seen, oracle, repeats = Seen(), set(), 0
    for offsets in rounds:
        seen.add(np.array(offsets, np.int64))
        for offset in offsets:
            repeats += offset in oracle
            oracle.add(offset)
        assert (seen.distinct, seen.duplicates) == (len(oracle), repeats)


def test_seen_grows_and_forgets_what_is_complete():
    seen = Seen()
    for start in range(0, 2_000_000, 100_000):
        seen.add(np.arange(start + 100_000 - 1, start - 1, -1))
    seen.add(np.array([2_500_000]))
    assert (seen.distinct, seen.duplicates) == (2_000_001, 0)
    assert len(seen._after) < 1_100_000
    seen.add(np.array([5, 2_500_000]))
    assert (seen.distinct, seen.duplicates) == (2_000_001, 2)


def scored(labels, offsets, stamp_ms):
    """Make what one fetch of the score topic brings."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    for n, (label, offset) in enumerate(zip(labels, offsets, strict=True)):
        value = json.dumps({"id": n, "score": 0.75, "label": label}).encode()
        builder.append(n, stamp_ms, None, value, [("farthing.offset", str(offset).encode())])
    return FetchedPartition("scores", 0, 0, len(labels), bytes(builder.build()))


def picture(tally, width):
    console = Console(width=width, height=40, record=True, file=io.StringIO())
    glance = Glance("made-up comments", "tansu", "moderation", "running", 12.0, 1_234_567, 50_012.0, 900 << 20)
    console.print(draw(glance, tally))
    return console.export_text()


def test_labels_latency_and_flagged_events_are_told():
    tally = Tally("scores", "allow")
    chunk = MadeUpComments().take(10)
    tally.sent(0, 100, chunk)
    tally.read(scored(["allow", "block", "allow", "review"], [100, 103, 101, 109], 5_000), 5_250)
    tally.read(scored(["allow"], [100], 5_000), 9_000)  # a repeat
    tally.read(FetchedPartition("dead", 0, 0, 1, scored(["x"], [7], 0).data), 0)  # without its header: foreign
    assert (tally.scored, tally.answered, tally.duplicated, tally.dead, tally.foreign) == (5, 4, 1, 1, 1)
    assert tally.labels == {"allow": 3, "block": 1, "review": 1}
    assert (tally.percentile_ms(0.5), tally.percentile_ms(0.99)) == (250, 4_000)
    assert [(one.label, one.score) for one in tally.flagged] == [("block", 0.75), ("review", 0.75)]
    assert [one.text for one in tally.flagged] == [" ".join(json.loads(chunk.value(k))["text"].split()) for k in (3, 9)]
    tally.start_again()
    tally.read(scored(["allow"], [100], 5_000), 5_000)
    assert (tally.answered, tally.duplicated) == (5, 1)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_says_all_and_fits(width):
    tally = Tally("scores", "allow")
    assert "1,234,567" in picture(tally, width)  # before the first score
    tally.sent(0, 0, MadeUpComments().take(10))
    tally.read(scored(["allow", "block", "allow"], [0, 1, 2], 0), 1_234)
    text = picture(tally, width)
    for word in ("events in", "1,234,567", "50,012", "p99", "1,234 ms", "66.7%", "33.3%", "block", "900 MiB"):
        assert word in text, text
    assert max(map(len, text.splitlines())) <= width


def test_the_outcome_is_short_lines():
    result = {
        "events_produced": 123_456_789, "events_scored": 123_456_000, "dead": 700, "lost": 89, "duplicated": 3,
        "events_per_second": 268_434, "latency_ms": {"p50": 12, "p99": 3_456}, "cpu_ns_per_event": 2_196,
        "savings": None, "savings_note": None,
    }  # fmt: skip
    text = outcome(result)
    assert "89 lost" in text
    assert "p99 3,456 ms" in text
    assert "farthing score BUNDLE FILE --dead" in text
    assert max(map(len, text.splitlines())) <= 79


def test_a_short_run_has_examples_and_no_rates():
    savings = {"verdict": "tuned"}  # of a rate that was not measured: not looked at
    result = {
        "events_produced": 3, "events_scored": 3, "dead": 0, "lost": 0, "duplicated": 0, "events_per_second": 0,
        "latency_ms": {"p50": 34, "p99": 34}, "cpu_ns_per_event": 0, "savings": savings, "savings_note": None,
    }  # fmt: skip
    flagged = [Flagged("block", 0.9, "gone"), *(Flagged("review", 0.5, f"shut up\nyou {'x' * 80}") for _ in range(3))]
    lines = outcome(result, flagged).splitlines()
    assert lines[1:4] == [f"  review 0.500  shut up you {'x' * 48}"] * 3
    assert "too short a run for a rate" in lines[4] and len(lines) == 5


@pytest.mark.parametrize(
    "verdict, threshold, said",
    [
        ("api", 41_700_000, "at 8.64 million events a day the API is cheaper than the tuned model: it wins above 41.7"),
        ("api", None, "the API is cheaper than the tuned model: it wins at no volume"),
        ("tuned", 2_000_000, "at 8.64 million events a day, kept up, the tuned model is cheaper: it wins above 2 mill"),
        ("undecided", 8_000_000, "at 8.64 million events a day it is too close to call"),
    ],
)
def test_savings_in_words(verdict, threshold, said):
    savings = {
        "own_usd": 0.0421, "own_usd_per_million": 0.0421, "avoided_usd": {"low": 0.853, "mid": 2, "high": 4.58},
        "model": "openai:gpt-5-nano", "mode": "combined", "prices_as_of": "2026-11-24", "verdict": verdict,
        "events_per_day": 8_640_000, "threshold_events_per_day": {"low": 1, "mid": threshold, "high": 3},
    }  # fmt: skip
    text = savings_words(savings)
    assert said in text
    assert "cheapest form (combined), prices of 2026-11-24: $0.85 to $4.58 for these events" in text
    assert "here: $0.042, $0.042 a million" in text
    assert savings_words(None) is None


def test_the_text_that_is_shown_is_the_one_that_the_map_names():
    tally = Tally("scores", "allow", parse_path(r"comment.the\.text"))
    values = [b'{"text":"no","comment":{"the.text":"yes \\n please"}}', b'{"comment":{}}']
    data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)])
    tally.sent(0, 0, Chunk(data, indptr))
    tally.read(scored(["block", "block"], [0, 1], 0), 5)
    assert [one.text for one in tally.flagged] == ["yes please", '{"comment":{}}']


def test_a_map_reaches_the_worker_as_it_was_given(tmp_path):
    deployment = Deployment(tmp_path, 1, 2)
    fields = {"text": 'a "b"\\.c.\U0001f600', "id": "é"}
    kafka = KafkaSettings(bootstrap_servers=("localhost:1",))
    deployment.write_settings("moderation", kafka, DemoTopics("x"), None, fields)
    assert dict(config.load(deployment.config).settings.route[0].fields) == fields

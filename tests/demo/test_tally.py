"""Counting answers: against a set, in any order, with repeats; over rounds; and what is shown of them."""

import io
import json
import sys
import threading
import unicodedata

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from farthing import config
from farthing.blocks import FetchedPartition
from farthing.demo.events import Chunk, MadeUpComments
from farthing.demo.serving import DemoTopics, Deployment
from farthing.demo.tally import Flagged, Tally
from farthing.demo.view import Glance, draw, outcome, savings_words, shortened
from farthing.kafka import KafkaSettings
from farthing.payload import parse_path


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
    totals = tally.totals
    assert (totals.scored, totals.answered, totals.duplicated, totals.dead, totals.foreign) == (5, 4, 1, 1, 1)
    assert totals.labels == {"allow": 3, "block": 1, "review": 1}
    assert (totals.p50_ms, totals.p99_ms) == (250, 4_000)
    assert [(one.label, one.score) for one in totals.flagged] == [("block", 0.75), ("review", 0.75)]
    texts = [json.loads(chunk.value(k))["text"] for k in (3, 9)]
    assert [one.text for one in totals.flagged] == [" ".join(text.split()) for text in texts]
    tally.start_again()
    tally.read(scored(["allow"], [100], 5_000), 5_000)
    assert (tally.answered, tally.totals.duplicated) == (5, 1)
    assert totals.answered == 4  # what was given out does not change


@given(st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=30), max_size=6), st.integers(0, 6))
def test_answers_are_counted_as_a_set_does(rounds, emptied):
    tally, oracle, repeats, before = Tally("scores", "allow"), set(), 0, 0
    for number, offsets in enumerate(rounds):
        if number == emptied:
            tally.start_again()
            before, oracle = before + len(oracle), set()
        tally.read(scored(["allow"] * len(offsets), offsets, 0), 0)
        for offset in offsets:
            repeats += offset in oracle
            oracle.add(offset)
        assert (tally.answered, tally.totals.duplicated) == (before + len(oracle), repeats)


@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=40))
def test_percentiles_are_those_of_the_latencies(latencies):
    tally = Tally("scores", "allow")
    for offset, ms in enumerate(latencies):
        tally.read(scored(["allow"], [offset], 1_000_000), 1_000_000 + ms)
    ordered = sorted(latencies)
    for share, shown in ((0.5, tally.totals.p50_ms), (0.99, tally.totals.p99_ms)):
        assert shown == ordered[max(int(np.ceil(share * len(ordered) - 1e-9)) - 1, 0)]


def event(**fields):
    value = json.dumps({"id": 1, **fields}).encode()
    return Chunk(np.frombuffer(value, np.uint8), np.array([0, len(value)]))


@pytest.mark.parametrize(
    "chunk, shown",
    [
        (event(text="two\nlines \x1b[2J\x07 of \u202etext"), "two lines [2J of text"),
        (event(text="half a pair: \ud83d!"), "half a pair: !"),
        (event(text="\U0001f469\u200d\U0001f469\u200d\U0001f467"), "\U0001f469\u200d\U0001f469\u200d\U0001f467"),
        (event(body="no text"), '{"id": 1, "body": "no text"}'),
        (
            Chunk(np.frombuffer(b'{"n":' + b"9" * 5000 + b"}", np.uint8), np.array([0, 5006])),
            '{"n":' + "9" * 5000 + "}",
        ),
    ],
)
def test_a_flagged_text_is_fit_for_a_terminal(chunk, shown):
    tally = Tally("scores", "allow")
    tally.sent(0, 0, chunk)
    tally.read(scored(["block"], [0], 0), 0)
    assert [one.text for one in tally.totals.flagged] == [shown]


def test_the_view_holds_while_other_threads_count():
    """Twenty runs: each draws while one thread counts answers, one sends and one begins anew."""
    part = scored(["allow", "block", "review"] * 30, range(90), 0)
    labels = [scored([f"label-{k}"], [k], 0) for k in range(5)]  # a container that grows while it is read
    chunk = MadeUpComments().take(90)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(20):
            tally, stop, failures = Tally("scores", "allow"), threading.Event(), []
            tally.sent(0, 0, chunk)

            def work(action, stop=stop, failures=failures):
                try:
                    while not stop.is_set():
                        action()
                except BaseException as error:
                    failures.append(error)

            def count(tally=tally):
                tally.read(part, 3)
                for one in labels[:5]:
                    tally.read(one, 3)

            actions = (count, count, lambda tally=tally: tally.sent(0, 0, chunk), tally.start_again)
            threads = [threading.Thread(target=work, args=(action,)) for action in actions]
            for thread in threads:
                thread.start()
            for _ in range(2):
                picture(tally, 80)
                totals = tally.totals
                assert sum(totals.labels.values()) == totals.scored
                assert totals.duplicated + totals.answered == totals.scored
            stop.set()
            for thread in threads:
                thread.join(60)
            assert not failures
    finally:
        sys.setswitchinterval(switching)


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
    flagged = [Flagged("block", 0.9, "gone"), *(Flagged("review", 0.5, f"shut up you {'x' * 80}") for _ in range(3))]
    lines = outcome(result, flagged).splitlines()
    assert lines[1:4] == ["  review 0.500  shut up you…"] * 3
    assert "too short a run for a rate" in lines[4] and len(lines) == 5


FLAG, FAMILY, WAVE = "\U0001f1e9\U0001f1ea", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f44b\U0001f3fd"


@pytest.mark.parametrize(
    "text, cells, shown",
    [
        ("all of it", 9, "all of it"),
        ("all of it fits not", 11, "all of it…"),
        ("all of it fits not", 10, "all of it…"),
        ("all of it fits not", 9, "all of…"),
        ("incomprehensible", 6, "incom…"),
        ("漢字漢字漢字", 6, "漢字…"),
        (f"{FAMILY}{FAMILY}", 3, f"{FAMILY}…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"),
        (f"{FLAG * 4}", 4, f"{FLAG}…"),
        (f"{WAVE * 4}", 4, f"{WAVE}…"),
        ("word", 1, "…"),
        ("word", 0, ""),
    ],
)
def test_a_text_is_cut_between_words_or_characters_as_readers_see_them(text, cells, shown):
    assert shortened(text, cells) == shown


@given(
    st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9), max_size=9),
    st.integers(1, 40),
)
@example(["a", FLAG * 3], 4)
def test_a_cut_text_fits_and_ends_with_a_whole_word(words, cells):
    text = " ".join(words)
    cut = shortened(text, cells)
    assert cell_len(cut) <= cells
    if cut != text:
        kept = cut.removesuffix("…")
        assert cut.endswith("…") and text.startswith(kept)
        rest = text[len(kept) :]
        assert " " not in kept or rest.startswith(" ")
        assert not unicodedata.combining(rest[0])


@pytest.mark.parametrize(
    "verdict, threshold, said",
    [
        (
            "api",
            41_700_000,
            "at 8.64 million events a day the API is cheaper than the tuned model, which wins above 41.7 million",
        ),
        ("api", None, "the API is cheaper than the tuned model, which never wins"),
        (
            "tuned",
            2_000_000,
            "at 8.64 million events a day, day after day, the tuned model is cheaper: it wins above 2 m",
        ),
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
    assert "cheapest pricing mode (combined), prices of 2026-11-24: $0.85 to $4.58 for these events" in text
    assert "here: $0.042, $0.042 a million" in text
    assert savings_words(None) is None


def test_the_text_that_is_shown_is_the_one_that_the_map_names():
    tally = Tally("scores", "allow", parse_path(r"comment.the\.text"))
    values = [b'{"text":"no","comment":{"the.text":"yes \\n please"}}', b'{"comment":{}}']
    data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)])
    tally.sent(0, 0, Chunk(data, indptr))
    tally.read(scored(["block", "block"], [0, 1], 0), 5)
    assert [one.text for one in tally.totals.flagged] == ["yes please", '{"comment":{}}']


def test_a_map_reaches_the_worker_as_it_was_given(tmp_path):
    deployment = Deployment(tmp_path, 1, 2)
    fields = {"text": 'a "b"\\.c.\U0001f600', "id": "é"}
    kafka = KafkaSettings(bootstrap_servers=("localhost:1",))
    deployment.write_settings("moderation", kafka, DemoTopics("x"), None, fields)
    assert dict(config.load(deployment.config).settings.route[0].fields) == fields

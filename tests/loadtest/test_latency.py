"""The latency test: what it takes apart and counts, against plain ways; its rules; and one small run on Apache Kafka."""

import json
import math
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.blocking import VERSIONS
from loadtest.cpu import cpu_s_of, family_of, going_first
from loadtest.latency_report import (
    Answers,
    answers_of,
    bin_edges_us,
    check_picture,
    counts_ns,
    draw,
    failures,
    first_ns,
    milliseconds,
    why_void,
)  # fmt: skip
from loadtest.open_loop import Plan, Sender, due_ticks, partitions_of, pool_of, requests_of
from loadtest.watching import CONTROL, NEVER, Seen, partitions_in, reach_of

from farthing.blocks import FetchedPartition
from farthing.errors import ConfigError
from farthing.kafka.protocol import FETCH, PRODUCE, decode, encode
from farthing.kernels.jit import NO_JIT
from farthing.wire import Arena, decode_whole, encode_records, layout, next_fetch_offset
from farthing.wire.write import seal
from loadtest import latency, open_loop

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "loadtest" / "latency.py"


# ------------------------------------------------------------------------------------------------------ what is read

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "partition_index": st.integers(0, 2**31 - 1),
            "error_code": st.integers(-1, 120),
            "high_watermark": st.integers(0, 2**60),
            "aborted_transactions": st.none()
            | st.lists(st.fixed_dictionaries({"producer_id": st.integers(0, 99), "first_offset": st.integers(0, 99)})),
            "records": st.none() | st.binary(max_size=40),
        }
    ),
    max_size=4,
)


@given(st.lists(st.tuples(st.text(max_size=20), ROWS), max_size=3), st.sampled_from([0, 0, 0, 74]))
def test_a_response_is_taken_apart_as_the_tables_do_it(topics, error):
    body = {"error_code": error, "responses": [{"topic": topic, "partitions": rows} for topic, rows in topics]}
    pieces = encode(FETCH, VERSIONS[FETCH], body, correlation_id=7, client_id=None, kind="response")
    frame = memoryview(b"".join(pieces))
    read = decode(FETCH, VERSIONS[FETCH], frame)
    expected = [
        (row["partition_index"], row["error_code"], bytes(row["records"] or b""))
        for topic in read["responses"]
        for row in topic["partitions"]
    ]
    found = [(number, code, bytes(batches)) for number, code, batches in partitions_in(frame)]
    assert found == ([(-1, error, b"")] if error else expected)


def batch_of(n, base, control=False):
    values = np.frombuffer(bytearray(b"v" * n), np.uint8)
    data = encode_records("t", 0, values, np.arange(n + 1), np.zeros(n, np.int64)).data
    layout.put_be(data, 0, base, 8)
    layout.put_be(data, layout.ATTRIBUTES, CONTROL if control else 0, 2)
    return bytes(data)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.booleans()), max_size=6), st.data())
def test_how_far_fetched_bytes_reach(batches, data):
    """Batches with gaps before them, some of control records, cut anywhere; the fetch may begin within the first."""
    whole, ends, at = b"", [], 0
    for n, gap, control in batches:
        at += gap
        whole += batch_of(n, at, control)
        at += n
        ends.append((len(whole), at, 0 if control else n))
    offset = data.draw(st.integers(0, batches[0][0] + batches[0][1] - 1)) if batches else 3
    cut = data.draw(st.integers(0, len(whole)))
    following, records = reach_of(memoryview(whole)[:cut], offset)
    assert following == next_fetch_offset(whole[:cut], offset)
    assert records == sum(n for end, _, n in ends if end <= cut)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), max_size=8), st.integers(0, 30))
def test_an_offset_was_seen_with_the_first_response_that_passed_it(steps, beyond):
    seen, at, offset = Seen(), 0, 0
    plain = {}
    for wait, n in steps:
        at += wait
        for new in range(offset, offset + n):
            plain[new] = at
        offset += n
        seen.at_ns.append(at)
        seen.following.append(offset)
    asked = np.arange(offset + beyond)
    assert seen.of(asked).tolist() == [plain.get(one, NEVER) for one in asked.tolist()]


# ---------------------------------------------------------------------------------------------------- what is counted

SCORES = st.lists(st.tuples(st.integers(-1, 12), st.integers(0, 1_000)), max_size=40)


@given(st.integers(0, 10), SCORES)
def test_an_event_is_scored_when_its_first_score_can_be_read(n, scores):
    sources, seen = (np.array([row[k] for row in scores], np.int64) for k in (0, 1))
    plain = [min((at for source, at in scores if source == event), default=NEVER) for event in range(n)]
    assert first_ns(n, sources, seen).tolist() == plain
    answers = answers_of({0: n, 1: 2}, {0: sources})
    of_ours = [source for source, _ in scores if 0 <= source < n]
    assert answers == Answers(n + 2, len(set(of_ours)), len(of_ours) - len(set(of_ours)), len(scores) - len(of_ours))
    assert answers.missing == 2 + sum(at == NEVER for at in plain)


@given(st.lists(st.integers(0, 30_000_000_000), min_size=1, max_size=300))
def test_percentiles_are_those_of_the_sorted_latencies(ns):
    exact = sorted(ns)
    found = milliseconds(counts_ns(ns))
    for name, share in {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}.items():
        ms = exact[max(math.ceil(round(share * len(ns), 9)), 1) - 1] / 1e6
        assert abs(found[name] - ms) <= 0.001 + 0.005 * ms


def test_nothing_has_no_latency():
    assert set(milliseconds(counts_ns(np.zeros(0))).values()) == {None}


# ------------------------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    ("late_us", "floor_us", "events_per_second", "said"),
    [
        ({100: 99, 4_000: 1}, {1_000: 98, 2_000: 2}, 1_000, []),  # one event in a hundred is not yet the p99
        ({100: 98, 1_000: 2}, {1_000: 98, 2_000: 2}, 1_000, []),
        ({100: 98, 1_010: 2}, {1_000: 98, 2_000: 2}, 1_000, ["how late the generator sent was 1.0 ms"]),
        ({100: 1}, {50_000: 98, 101_000: 2}, 1_000, ["the floor's p99 was 101 ms"]),
        ({100: 1}, {2_000: 1}, 991, []),
        ({100: 1}, {2_000: 1}, 980, ["980 events/s were sent, under 99% of the 1,000 asked for"]),
        ({5_000: 1}, {2_000: 1}, 500, ["how late", "500 events/s"]),
    ],
)
def test_a_run_is_void_when_the_generator_or_the_broker_was_behind(late_us, floor_us, events_per_second, said):
    reasons = why_void(late_us, floor_us, events_per_second, 1_000)
    assert len(reasons) == len(said)
    for reason, part in zip(reasons, said, strict=True):
        assert reason.startswith("void: ") and part in reason


def test_a_missing_or_foreign_score_fails_a_run():
    assert failures(Answers(5, 5, repeated=3), 30) == []  # at least once
    (missing,) = failures(Answers(1_500, 1_499), 30)
    assert missing.startswith("1 of 1,500 events have no score")
    (foreign,) = failures(Answers(5, 5, foreign=1), 30)
    assert "belong to no event" in foreign


@pytest.mark.parametrize(
    ("scored", "wrong", "changed", "late_us", "void", "n_reasons"),
    [
        (9, None, False, 100, False, 0),
        (8, None, False, 100, False, 1),
        (9, "the broker refused", False, 100, False, 1),
        (9, None, True, 100, False, 1),
        (9, None, False, 9_000, True, 1),
        (8, None, False, 9_000, True, 2),
    ],
)
def test_a_report_passes_only_without_a_reason(scored, wrong, changed, late_us, void, n_reasons):
    done = {"sent": 9, "wrong": wrong, "sending_s": 2.0}
    counts = {"floor": {1_000: 5}, "scores": {3_000: 5}, "late": {late_us: 5}}
    options = Namespace(workers=1, bundle="moderation", delivery=None)
    report = latency.report_of(options, plan_of(2), done, {"worker": 0.5}, counts, Answers(9, scored), changed)
    assert (report["passed"], report["void"], len(report["reasons"])) == (not n_reasons, void, n_reasons)
    assert report["events"]["missing"] == 9 - scored and report["p99_ratio"] == 3
    assert report["cpu_cores"]["worker"] == (None if changed else 0.5)
    assert report["reasons"] == latency.words_of(report)[-n_reasons:] or not n_reasons


# ----------------------------------------------------------------------------------------------------- what is sent

LEADERS = {0: ("a", 1), 1: ("b", 2), 2: ("a", 1)}


def plan_of(rate=300, warm_up_s=1.0, seconds=2.0, tick_ms=5, heat=3, **changed):
    return Plan("events", "moderation", rate, warm_up_s, seconds, 3, LEADERS, tick_ms, heat, **changed)


@given(st.integers(0, 3_000), st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 5, 20]), st.integers(0, 9))
def test_every_window_has_its_events(rate, warm_up_s, seconds, tick_ms, seed):
    plan = plan_of(rate, warm_up_s, seconds, tick_ms, seed=seed)
    ticks = due_ticks(plan)
    assert np.all(np.diff(ticks) >= 0) and len(ticks) == plan.events
    assert ticks[:3].tolist() == [-3, -2, -1]
    assert ((ticks >= 0) & (ticks < plan.first_tick)).sum() == (rate or open_loop.IDLE_WARM_UP_RATE) * warm_up_s
    assert (ticks >= plan.first_tick).sum() == rate * seconds
    assert ticks[-1] < plan.ticks
    if not rate:
        assert ticks[-1] <= plan.first_tick // 2


def test_requests_hold_all_events_in_order():
    """As a broker reads them, after the times are written in; with batches long enough to be pieces of their own."""
    plan = plan_of(rate=30 if NO_JIT else 2_000, tick_ms=200)
    pool = pool_of(plan)
    messages = [message for batch in pool.batches for message in batch.messages]
    partitions = partitions_of(plan, pool).tolist()
    expected = {number: [] for number in LEADERS}
    for event, (tick, partition) in enumerate(zip(due_ticks(plan).tolist(), partitions, strict=True)):
        value, key = messages[event % len(messages)]
        expected[partition].append((tick, key, value))
    assert all(expected.values()) and len({p for p in partitions}) == 3
    found = {number: [] for number in LEADERS}
    requests = requests_of(plan)
    for request in requests:
        for batch, count in request.batches:
            seal(batch, 0, count, request.tick, request.tick)
        body = decode(PRODUCE, VERSIONS[PRODUCE], memoryview(request.frame)[4:], kind="request")
        assert (body["acks"], len(request.frame)) == (-1, 4 + int.from_bytes(request.frame[:4], "big"))
        for row in body["topic_data"][0]["partition_data"]:
            assert LEADERS[row["index"]] == request.leader
            part = FetchedPartition("events", row["index"], 0, 0, row["records"])
            for records in decode_whole(part, Arena()):
                data = records.buffer.tobytes()
                for k, tick in enumerate(records.timestamps_ms.tolist()):
                    key = data[records.key_start[k] : records.key_stop[k]]
                    found[row["index"]].append((tick, key, data[records.value_start[k] : records.value_stop[k]]))
    assert found == expected
    assert [request.tick for request in requests] == sorted(request.tick for request in requests)
    assert sum(request.events for request in requests) == len(partitions)


class Broker:
    """Stands for a connection: answers each request as ``answer`` says, once it is asked."""

    def __init__(self, answer):
        self.answer, self.sent = answer, []

    def __call__(self, _address):
        return self

    def send(self, frame):
        self.sent.append(decode(PRODUCE, VERSIONS[PRODUCE], memoryview(frame)[4:], kind="request"))

    def take_early(self):
        pass

    def response(self, _api):
        rows = self.sent.pop(0)["topic_data"][0]["partition_data"]
        return {"responses": [{"partition_responses": [self.answer(row["index"]) for row in rows]}]}

    def close(self):
        pass


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda p: {"index": p, "error_code": 10, "base_offset": -1}, "Kafka's error 10"),
        (lambda p: {"index": p, "error_code": 0, "base_offset": 5}, "offset 5 where 0 was next"),
        (lambda p: {"index": p, "error_code": 0, "base_offset": 0}, None),
    ],
)
def test_what_the_broker_did_not_append_where_it_should_is_said(monkeypatch, answer, said):
    monkeypatch.setattr(open_loop, "BlockingConnection", Broker(answer))
    plan = plan_of(rate=1, tick_ms=1_000)
    sender = Sender(plan)
    sender.send(requests_of(plan)[0], 0)
    sender.settle(0)
    assert (said is None) == (sender.wrong is None)
    assert said is None or said in sender.wrong


# ------------------------------------------------------------------------------------------------- CPU and pictures


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_cpu_of_a_family():
    waiting = "import sys; sys.stdin.read()"
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', '{waiting}']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        family = family_of(process.pid)
        assert family == {process.pid, child}
        assert cpu_s_of(family) >= 0
        process.stdin.close()
        process.wait(60)
    assert cpu_s_of(family) is None and cpu_s_of(()) is None
    assert family_of(None) == family_of(process.pid) == frozenset()


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="a system without them")
def test_who_goes_first_steps_back_afterwards_and_its_children_do_not():
    before = os.sched_getscheduler(0)
    with going_first() as raised:
        assert raised == (os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR)
        ask = "import os; print(os.sched_getscheduler(0))"
        child = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert os.sched_getscheduler(0) == before == int(child.stdout)


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_bins_enclose_all_latencies(one, two):
    edges = bin_edges_us(min(one, two), max(one, two))
    assert edges[0] < min(one, two) and edges[-1] > max(one, two)
    assert np.diff(np.log10(edges)) == pytest.approx(1 / 25)


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "latency.png"
    check_picture(file)
    draw(file, {"floor": {0: 3, 900: 97}, "scores": {2_000: 99, 70_000: 1}}, "title")
    assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 10_000


def test_a_picture_that_cannot_be_drawn_is_refused_before_the_run(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        check_picture(tmp_path / "latency.svg")
    with pytest.raises(ConfigError, match="no folder"):
        check_picture(tmp_path / "gone" / "latency.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="install the extra evaluate"):
        check_picture(tmp_path / "latency.png")


# ---------------------------------------------------------------------------------------------------------- all of it


def run(*options, **environment):
    # Not from the checkout's root, and without it on the path: the program finds its own modules.
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, options)],
        env={**os.environ, **environment}, cwd=ROOT / "tests", capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rate", "-1"], "argument --rate: -1: Expected from 0 to 1,000,000."),
        (["--rate", "many"], "argument --rate: 'many' is not a whole number"),
        (["--seconds", "0"], "argument --seconds: 0: Expected from 1 to 3,600."),
        (["--partitions", "0"], "argument --partitions: 0: Expected from 1 to 1,000."),
        (["--picture", "x.svg"], "latency: --picture x.svg: a picture is a PNG; give a name that ends in .png"),
        (["--rate", "0", "--picture", "x.png"], "latency: --picture draws latencies, and with --rate 0 there are none"),
    ],
)
def test_wrong_arguments_are_one_sentence(options, said):
    done = run(*options)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1]


def test_a_broker_that_is_not_there_is_one_sentence():
    done = run(FARTHING_KAFKA_BOOTSTRAP="127.0.0.1:1")
    assert done.returncode == 3 and "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.kafka
@pytest.mark.skipif(NO_JIT, reason="a worker of references")
def test_a_run_on_apache_kafka(apache_kafka, tmp_path):
    """Its latencies are whatever this machine gives, and it may be void; but all else is known."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "latency.png"
    done = run(
        "--rate", 200, "--seconds", 3, "--warm-up-s", 1, "--heat-requests", 100, "--json", "--picture", picture,
        FARTHING_KAFKA_BOOTSTRAP=apache_kafka.bootstrap_servers, FARTHING_WORKER__COMMIT_INTERVAL_MS="500",
    )  # fmt: skip
    assert done.stdout, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert all(reason.startswith("void: ") for reason in report["reasons"]), done.stderr
    assert report["void"] == bool(report["reasons"]) == (done.returncode == 1) == (not report["passed"])
    assert report["events"] == {"sent": 900, "measured": 600, "scored": 900, "missing": 0, "repeated": 0}
    floor, scores = (report["latency_ms"][name] for name in ("floor", "scores"))
    for one in (floor, scores):
        assert 0 < one["p50"] <= one["p90"] <= one["p99"] <= one["p99_9"] <= one["max"]
    assert floor["p50"] < scores["p50"] and report["p99_ratio"] == pytest.approx(scores["p99"] / floor["p99"], abs=1e-3)
    assert {name: sum(n for _, n in rows) for name, rows in report["histograms_us"].items()} == {
        "floor": 600, "scores": 600, "late": 600,
    }  # fmt: skip
    cores = report["cpu_cores"]
    assert 0 < cores["worker"] <= os.cpu_count() and cores["generator"] > 0 and cores["readers"] > 0
    assert report["settings"]["FARTHING_WORKER__COMMIT_INTERVAL_MS"] == "500"
    assert report["commit"] and report["machine"]["cores"] and report["versions"]["python"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "p99 of the scores over p99 of the floor" in done.stderr


@pytest.mark.kafka
@pytest.mark.skipif(NO_JIT, reason="a worker of references")
def test_an_idle_worker(apache_kafka):
    options = ["--rate", 0, "--seconds", 1, "--warm-up-s", 1, "--heat-requests", 10, "--json"]
    done = run(*options, FARTHING_KAFKA_BOOTSTRAP=apache_kafka.bootstrap_servers)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["events"] == {"sent": 1_010, "measured": 0, "scored": 1_010, "missing": 0, "repeated": 0}
    assert 0 <= report["cpu_cores"]["worker"] <= os.cpu_count() and report["p99_ratio"] is None
    assert "CPU cores used: worker" in done.stderr

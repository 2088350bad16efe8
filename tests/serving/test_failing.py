"""The search for the events on which a model fails: it finds them all and no other, in few runs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farthing.blocks import FetchedPartition, Status
from farthing.errors import BlockHeldError, ScoreError
from farthing.serving import failing as module
from farthing.serving.breaker import IN_A_ROW, Breaker
from farthing.serving.failing import Search
from farthing.serving.route import Route, RouteTopics
from farthing.wire import TopicLimits, encode_records, stamp_producer
from farthing.wire.split import records_of

from .running import event, scorer

EXAMPLES = settings().max_examples
TOPICS = RouteTopics("e", "s", "d")


def look(n, bad, error=ScoreError, fails=lambda run, bad: bool(run & bad)):
    """Search like a route does; gives what was found and the number of runs."""
    runs = 0

    def run(events):
        nonlocal runs
        runs += 1
        if fails(events, bad):
            raise error("no")

    found = Search(n, lambda first, last: run(set(range(first, last))))
    while True:
        try:
            run(set(range(n)) - set(found.failing))
            return found.failing, runs
        except Exception as failure:
            if not found.go_on(failure):
                return None, runs


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 31, 100, 256, 1000])
def test_one_among_many_costs_few_runs(n):
    for bad in range(n):
        found, runs = look(n, {bad})
        assert found == [bad]
        assert runs <= 1 + math.ceil(math.log2(n)) + 2  # a good block takes one


@settings(max_examples=5 * EXAMPLES)
@given(st.data())
def test_all_are_found_and_no_other(data):
    n = data.draw(st.integers(1, 400))
    bad = data.draw(st.sets(st.integers(0, n - 1), max_size=min(n, IN_A_ROW - 1)))
    found, runs = look(n, bad)
    assert found == sorted(bad)
    assert runs <= 1 + (len(bad) + 1) * (math.ceil(math.log2(n)) + 2)


def test_many_scattered_ones_cost_no_more_than_that():
    bad = set(range(50, 20_000, 100))  # 1 in 100
    found, runs = look(20_000, bad)
    assert found == sorted(bad)
    assert runs <= 1 + len(bad) * (math.ceil(math.log2(20_000)) + 1)


def test_a_run_that_is_short_of_memory_condemns_no_event():
    def too_long(run, bad):
        return len(run) > 40 or bool(run & bad)

    assert look(100, set(), MemoryError, too_long)[0] is None
    assert look(100, set(), lambda _: ScoreError("Failed to allocate memory"), too_long)[0] is None
    assert look(40, {7}, MemoryError, too_long)[0] == [7]


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_an_error_that_passes_condemns_no_event(n):
    failures = iter([True])
    assert look(n, set(), ValueError, lambda run, bad: next(failures, False))[0] is None


def test_an_event_is_condemned_for_what_it_does_alone():
    for n in (1, 2, 3, 64, 100):
        alone = set()

        def fails(run, bad, alone=alone):
            if run & bad:
                alone |= run if len(run) == 1 else set()
            return bool(run & bad)

        for bad in range(n):
            found, _ = look(n, {bad}, fails=fails)
            assert found == [bad]
        assert alone == set(range(n))


def test_when_all_fail_it_is_the_model():
    with pytest.raises(BlockHeldError, match="nearly all"):
        look(1_000, set(range(1_000)))
    with pytest.raises(BlockHeldError, match="nearly all"):
        look(1_000, set(range(1_000)) - {500})
    assert look(1_000, set(range(200)))[0] == list(range(200))  # most of the others are good


@pytest.mark.parametrize("blocks, trips", [
    ([(0, IN_A_ROW)], True), ([(0, IN_A_ROW - 1)], False), ([(0, 20), (0, 20)], True), ([(0, 20), (5, 5), (0, 20)], False),
    ([(0, 20), (0, 0), (0, 20)], True), ([(1, 99)], True), ([(100, 900)], False), ([(1000, 10)], False),
])  # fmt: skip
def test_the_breaker_trips_when_next_to_none_is_accepted(blocks, trips):
    breaker = Breaker()
    assert [breaker.trips(*block) for block in blocks][-1] is trips


# --- in a route


class Failing:
    """A net that fails on rows of events whose text has the word; counts its runs."""

    def __init__(self, net, raises):
        self._net, self._raises = net, raises
        self.runs = 0
        self.bad = None

    def __getattr__(self, name):
        return getattr(self._net, name)

    def featurize(self, columns, buffer):
        text = columns.columns["text"]
        rows = [text.data[a:b].tobytes() for a, b in zip(text.indptr, text.indptr[1:], strict=False)]
        self.bad = any(b"kaput" in row for row in rows)
        return self._net.featurize(columns, buffer)

    def score(self, features):
        self.runs += 1
        if self.bad:
            raise self._raises
        return self._net.score(features)


def failing_route(raises=None):
    stages = scorer().stages
    net = Failing(stages.net, raises or ScoreError("ONNX Runtime failed"))
    return Route(TOPICS, replace(stages, net=net), tenant="user"), net


def block(values, keys=None, stamp=0, partition=0):
    indptr = np.cumsum([0, *map(len, values)], dtype=np.int64)
    batch = encode_records(
        "e", partition, np.frombuffer(b"".join(values), np.uint8), indptr, np.full(len(values), stamp), keys=keys
    )
    stamp_producer(batch.data, 0, 0, 0)
    return [FetchedPartition("e", partition, 0, len(values), batch.data.data)]


@pytest.mark.parametrize(
    "raises", [ScoreError("no"), MemoryError(), ValueError("the text was kaput"), RecursionError()]
)
def test_an_event_that_the_model_fails_on_is_a_dead_letter_and_the_others_are_scored(raises, capsys):
    values = [event(n, f"a nice day {n}") for n in range(100)]
    values[63] = json.dumps({"id": "bad", "text": "kaput", "user": "u"}).encode()
    route, net = failing_route(raises)
    answer = route.answer(block(values))
    assert np.flatnonzero(answer.status).tolist() == [63]
    assert answer.status[63] == Status.MODEL_FAILED
    scores = [record for batch in answer.batches if batch.topic == "s" for record in records_of(batch)]
    assert [int(record.header(b"farthing.offset")) for record in scores] == [n for n in range(100) if n != 63]
    (letter,) = [record for batch in answer.batches if batch.topic == "d" for record in records_of(batch)]
    assert letter.key_and_value.endswith(values[63])
    assert letter.header(b"farthing.error.reason") == b"model_failed"
    assert letter.header(b"farthing.error.stage") == b"score"
    assert answer.usage[0, :2].tolist() == [99, 1]
    assert net.runs <= 1 + math.ceil(math.log2(100)) + 1 + (not isinstance(raises, ScoreError))
    assert "kaput" not in capsys.readouterr().out


def test_scores_are_the_same_beside_an_event_that_fails():
    values = [event(n, f"a nice day {n}") for n in range(50)]
    plain = Route(TOPICS, scorer().stages).answer(block(values))
    route, _ = failing_route()
    beside = route.answer(block([*values[:20], event("bad", "kaput"), *values[20:]]))
    expected, found = ([record.key_and_value for record in records_of(answer.batches[0])] for answer in (plain, beside))
    assert found == expected


def test_a_model_that_fails_on_everything_answers_nothing_and_recovers():
    route, _ = failing_route()
    with pytest.raises(BlockHeldError, match="the model fails on nearly all"):
        route.answer(block([event(n, "kaput") for n in range(500)]))
    for _ in range(3):  # few events at a time, as long as none is good
        with pytest.raises(BlockHeldError, match="model_failed"):
            for n in range(IN_A_ROW):
                route.answer(block([event(n, "kaput")]))
    assert route.answer(block([event(1, "kaput"), event(2, "fine")])).status.tolist() == [Status.MODEL_FAILED, 0]
    assert route.answer(block([event(1, "kaput")])).status.tolist() == [Status.MODEL_FAILED]


def test_a_model_that_fails_on_long_runs_only_holds_the_block():
    route, net = failing_route(MemoryError())
    answers = iter([True])

    def score(features):
        if next(answers, False):
            raise MemoryError
        return scorer().stages.net.score(features)

    net.score = score
    with pytest.raises(BlockHeldError, match="is memory short"):
        route.answer(block([event(n, "fine") for n in range(100)]))


@pytest.mark.parametrize("n", [1, 2, 100])
@pytest.mark.parametrize("raises", [RuntimeError("busy"), ScoreError("ONNX Runtime failed")])
def test_a_model_that_fails_once_costs_no_event(n, raises):
    route, net = failing_route()
    answers = iter([True])

    def score(features):
        if next(answers, False):
            raise raises
        return scorer().stages.net.score(features)

    net.score = score
    values = [event(k, "fine") for k in range(n)]
    with pytest.raises(BlockHeldError, match="the model fails on a block and not on its parts"):
        route.answer(block(values))
    assert not route.answer(block(values)).status.any()


def test_events_without_keys_are_no_reason_to_fill_the_dead_letters_of_a_compacted_sink():
    route = Route(TOPICS, scorer().stages)
    route.limits_of = lambda topic: TopicLimits(compacted=topic == "s")
    few = route.answer(block([event(n, "fine") for n in range(5)]))
    assert set(few.status.tolist()) == {Status.NULL_KEY}
    with pytest.raises(BlockHeldError, match=r"null_key.*s is compacted; set its cleanup\.policy"):
        route.answer(block([event(n, "fine") for n in range(100)]))


def test_only_a_line_of_code_and_a_type_are_said_of_errors_that_are_not_ours():
    assert module.say(ValueError("secret text")) == "ValueError"
    assert module.say(ScoreError("ONNX Runtime failed")) == "ONNX Runtime failed"

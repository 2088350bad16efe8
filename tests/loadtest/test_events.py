"""The events of the load test: the same for the same seed, skewed, and malformed exactly as often as stated."""

import gzip
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loadtest.events import MALFORMED, TASKS, from_file, made_up

from farthing import Scorer
from farthing.blocks import Status
from farthing.errors import ConfigError

SIZES = {"moderation": (2_000, 60, 600), "rerank": (60, 600, 30_000), "bidding": (400, 400, 2_000)}  # n, mean bytes


def messages(pool):
    return [message for batch in pool.batches for message in batch.messages]


@pytest.fixture(scope="module")
def scorers():
    return {task: Scorer.load(task, verify=False) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_events_and_another_gives_others(task):
    n, least, most = SIZES[task]
    one, again, other = (made_up(task, n, batch_events=20, malformed_share=0.1, seed=s) for s in (3, 3, 4))
    assert one == again
    assert messages(one) != messages(other)
    assert least < one.mean_bytes < most


@pytest.mark.parametrize("task", TASKS)
def test_exactly_the_stated_share_becomes_dead_letters(task, scorers):
    n, _, _ = SIZES[task]
    pool = made_up(task, n, batch_events=20, malformed_share=0.25)
    assert pool.malformed == n // 4 > len(MALFORMED)
    values = [value for value, _ in messages(pool)]
    status = scorers[task].score_events(values).status
    assert int((status != Status.OK).sum()) == pool.malformed


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("task", TASKS)
def test_no_spoilt_event_can_be_scored(task, kind, scorers):
    good = messages(made_up(task, 3, batch_events=3))
    spoilt = [MALFORMED[kind](value, task) for value, _ in good]
    assert (scorers[task].score_events([value for value, _ in good]).status == Status.OK).all()
    assert (scorers[task].score_events(spoilt).status != Status.OK).all()


@pytest.mark.parametrize("task", TASKS)
def test_a_few_keys_have_most_events(task):
    keys = Counter(key for _, key in messages(made_up(task, 2_000, batch_events=100)))
    assert None not in keys
    busiest = sum(count for _, count in keys.most_common(max(len(keys) // 10, 1)))
    assert busiest > 0.3 * 2_000


def test_candidates_are_skewed():
    counts = sorted(
        len(json.loads(value)["candidates"]) for value, _ in messages(made_up("rerank", 200, batch_events=1))
    )
    assert counts[0] < 12 and counts[-1] > 60 and 15 <= counts[100] <= 26


@given(st.integers(1, 500), st.integers(1, 60), st.floats(0, 1))
def test_a_pool_is_whole_batches_with_the_nearest_number_of_malformed_events(n, batch_events, share):
    pool = made_up("moderation", n, batch_events=batch_events, malformed_share=share)
    assert {len(batch) for batch in pool.batches} == {batch_events}
    assert n <= len(pool) < n + batch_events
    assert abs(pool.malformed - len(pool) * share) <= 0.5
    for batch in pool.batches:
        assert batch.value_bytes == sum(len(value) for value, _ in batch.messages if value is not None)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_files_lines_are_sent_as_they_stand(tmp_path, suffix):
    lines = [b'{"id":%d,"who":"w%d","text":"caf\xc3\xa9"}' % (n, n % 2) for n in range(5)] + [b"{not JSON"]
    path = tmp_path / f"events.{suffix}"
    path.write_bytes((gzip.compress if suffix.endswith("gz") else bytes)(b"\r\n\n".join(lines)))
    pool = from_file(path, "moderation", batch_events=4, key_field="who")
    assert [value for value, _ in messages(pool)] == [*lines, *lines[:2]]
    assert [key for _, key in messages(pool)] == [b"w0", b"w1", b"w0", b"w1", b"w0", None, b"w0", b"w1"]
    assert pool.malformed == 0
    assert from_file(path, "moderation", batch_events=4, malformed_share=0.5).malformed == 4


@pytest.mark.parametrize(
    ("content", "name"), [(b"", "none.jsonl"), (b"PK\x03\x04", "wrong.jsonl.gz"), (None, "missing.jsonl")]
)
def test_a_file_without_events_is_refused_with_its_name(tmp_path, content, name):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        from_file(tmp_path / name, "moderation", batch_events=1)


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"batch_events": 0}, {"malformed_share": 1.5}, {"malformed_share": -0.1}, {"task": "telepathy"}]
)
def test_what_makes_no_sense_is_refused(wrong):
    arguments = {"task": "moderation", "n": 10, "batch_events": 5, **wrong}
    with pytest.raises(ConfigError):
        made_up(**arguments)

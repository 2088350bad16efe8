"""Answers to the events of a later log say which one it is, and those of the first log say nothing."""

from dataclasses import replace

import numpy as np

from farthing.blocks import FetchedPartition, RecordBlock, RenderedValues, Segment, Status
from farthing.wire import (
    DEAD_LOG_HEADER,
    LOG_HEADER,
    Arena,
    TopicLimits,
    decode,
    encode_dead,
    encode_scores,
    source_offsets,
)

LOGS = (0, 3, 1)


def block(n_each=4):
    records = RecordBlock.of_values([b"x%d" % k for k in range(n_each * len(LOGS))])
    segments = tuple(
        Segment("e", place, place * n_each, (place + 1) * n_each, 0, n_each, log=log) for place, log in enumerate(LOGS)
    )
    return replace(records, segments=segments)


def logs_of(batches, header):
    found = {}
    for batch in batches:
        part = FetchedPartition("s", batch.partition, 0, batch.record_count, memoryview(batch.data))
        found.setdefault(batch.partition, []).extend(source_offsets(decode([part], Arena()), header).tolist())
    return found


def test_scores():
    records = block()
    rows = np.array([0, 2, 3, 4, 5, 9, 11])
    values = RenderedValues(rows, np.zeros(len(rows), np.uint8), np.arange(len(rows) + 1))
    batches = encode_scores(records, values, topic="s")
    assert logs_of(batches, LOG_HEADER) == {0: [-1, -1, -1], 1: [3, 3], 2: [1, 1]}


def test_dead_letters_cut_or_not():
    records = block()
    status = np.full(len(records), Status.SYNTAX, np.uint8)
    for most in (180, 320, 1_000):  # the reason and the place alone, cut, whole
        batches = encode_dead(records, status, topic="d", model="m", limits=TopicLimits(max_message_bytes=most))
        assert logs_of(batches, DEAD_LOG_HEADER) == {0: [-1] * 4, 1: [3] * 4, 2: [1] * 4}


def test_the_first_log_changes_no_byte():
    records = replace(block(), segments=tuple(replace(s, log=0) for s in block().segments))
    values = RenderedValues(np.arange(12), np.zeros(12, np.uint8), np.arange(13))
    assert all(LOG_HEADER not in batch.data.tobytes() for batch in encode_scores(records, values, topic="s"))

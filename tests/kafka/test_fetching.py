"""One Fetch request: what is asked under the settings, and what an answer's rows mean."""

from types import SimpleNamespace

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.protocol.fetch import FetchRequest

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings
from farthing.kafka.fetching import Fetching


class Frames:
    """Notes the request and answers with ``rows`` of the topic "t", or raises."""

    def __init__(self, *rows, trouble=None):
        self.rows, self.trouble = rows, trouble

    async def fetch(self, node, request, timeout_s):
        self.node, self.request, self.timeout_s = node, request, timeout_s
        if self.trouble is not None:
            raise self.trouble
        return SimpleNamespace(topics=[("t", list(self.rows))])


@pytest.mark.parametrize(("level", "number"), [("read_committed", 1), ("read_uncommitted", 0)])
async def test_a_request_says_what_the_settings_say(level, number):
    settings = KafkaSettings(
        isolation_level=level, fetch_max_bytes=1 << 20, max_partition_fetch_bytes=1 << 17, fetch_max_wait_ms=7,
        request_timeout_ms=9_000,
    )  # fmt: skip
    frames = Frames()
    assert await Fetching(frames, settings).ask(3, {("t", 0): 5, ("u", 1): 6, ("t", 2): 7}) == []
    assert frames.node == 3
    assert frames.timeout_s > 9
    topics = [("t", [(0, 5, 1 << 17), (2, 7, 1 << 17)]), ("u", [(1, 6, 1 << 17)])]
    versions = {FetchRequest.API_KEY: (0, 11)}
    expected = FetchRequest(7, 1, 1 << 20, number, topics).prepare(versions)
    assert frames.request.prepare(versions).encode() == expected.encode()


@pytest.mark.parametrize(("level", "end"), [("read_committed", 90), ("read_uncommitted", 100)])
async def test_an_answer_is_bytes_and_the_end_of_what_may_be_read(level, end):
    row = (2, 0, 100, 90, [(11, 12)], b"bytes")
    (answer,) = await Fetching(Frames(row), KafkaSettings(isolation_level=level)).ask(0, {("t", 2): 7})
    assert (answer.part.topic, answer.part.partition, answer.part.fetch_offset) == ("t", 2, 7)
    assert (answer.part.high_watermark, answer.part.data) == (100, b"bytes")
    assert answer.part.aborted == ((11, 12),)
    assert answer.readable_end == end
    assert answer.error is None


async def test_where_a_broker_says_no_last_stable_offset_the_end_is_the_high_watermark():
    rows = (0, 0, 100, b"old"), (1, 0, 100, -1, None, b"new")
    answers = await Fetching(Frames(*rows), KafkaSettings()).ask(0, {("t", 0): 7, ("t", 1): 7})
    assert [answer.readable_end for answer in answers] == [100, 100]


async def test_a_partitions_error_does_not_hide_the_others():
    rows = (0, 1, -1, -1, None, None), (1, 0, 9, 9, None, b"x")
    first, second = await Fetching(Frames(*rows), KafkaSettings()).ask(0, {("t", 0): 7, ("t", 1): 7})
    assert first.error is kafka_errors.OffsetOutOfRangeError
    assert first.part.data == b""
    assert second.error is None


@pytest.mark.parametrize("trouble", [TimeoutError(), OSError("gone"), kafka_errors.NodeNotReadyError("no")])
async def test_a_broker_that_does_not_answer_may_be_asked_again(trouble):
    with pytest.raises(BrokerError, match="fetch from broker 4") as error:
        await Fetching(Frames(trouble=trouble), KafkaSettings()).ask(4, {("t", 0): 0})
    assert error.value.retriable

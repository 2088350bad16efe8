"""One Fetch request: what is asked under the settings, and what an answer's rows mean."""

import pytest
from aiokafka import errors as kafka_errors

from farthing.errors import BrokerError
from farthing.kafka import KafkaSettings, protocol
from farthing.kafka.fetching import Fetching, LogName
from tests.kafka.protocol.messages import joined

ID = b"0123456789abcdef"


class Frames:
    """Notes the request and answers with ``rows`` of the topic "t", or raises."""

    def __init__(self, *rows, trouble=None, error_code=0, topic_id=bytes(16)):
        self.rows, self.trouble, self.error_code, self.topic_id = rows, trouble, error_code, topic_id

    async def request(self, node, api, body, timeout_s, *, at_most=99):
        self.node, self.body, self.timeout_s, self.at_most = node, body, timeout_s, at_most
        assert api is protocol.FETCH
        if self.trouble is not None:
            raise self.trouble
        by_id = self.topic_id != bytes(16)
        topic = {"topic": "" if by_id else "t", "topic_id": self.topic_id, "partitions": list(self.rows)}
        said = {"responses": [topic], "error_code": self.error_code}
        version = 13 if by_id else 11
        frame = joined(protocol.encode(api, version, said, correlation_id=1, client_id=None, kind="response"))
        return protocol.decode(api, version, memoryview(frame))


def row(number, records=b"", *, end=100, stable=-1, aborted=None, code=0, start=-1):
    return {
        "partition_index": number, "error_code": code, "high_watermark": end, "last_stable_offset": stable,
        "log_start_offset": start, "aborted_transactions": aborted, "records": records,
    }  # fmt: skip


@pytest.mark.parametrize(("level", "number"), [("read_committed", 1), ("read_uncommitted", 0)])
async def test_a_request_says_what_the_settings_say(level, number):
    settings = KafkaSettings(
        isolation_level=level, fetch_max_bytes=1 << 20, max_partition_fetch_bytes=1 << 17, fetch_max_wait_ms=7,
        request_timeout_ms=9_000,
    )  # fmt: skip
    frames = Frames()
    assert await Fetching(frames, settings).ask(3, {("t", 0): 5, ("u", 1): 6, ("t", 2): 7}) == []
    assert (frames.node, frames.at_most) == (3, 12)  # by name
    assert frames.timeout_s > 9
    head = {"max_wait_ms": 7, "min_bytes": 1, "max_bytes": 1 << 20, "isolation_level": number}
    assert head.items() <= frames.body.items()
    asked = [
        (topic["topic"], one["partition"], one["fetch_offset"], one["partition_max_bytes"], one["current_leader_epoch"])
        for topic in frames.body["topics"]
        for one in topic["partitions"]
    ]
    assert asked == [("t", 0, 5, 1 << 17, -1), ("t", 2, 7, 1 << 17, -1), ("u", 1, 6, 1 << 17, -1)]


async def test_a_topic_goes_by_its_id_where_that_is_known():
    frames = Frames(row(2, b"bytes"), topic_id=ID)
    (answer,) = await Fetching(frames, KafkaSettings(), lambda _: LogName(ID, 5)).ask(0, {("t", 2): 7})
    assert (answer.part.topic, answer.part.partition, bytes(answer.part.data)) == ("t", 2, b"bytes")
    (topic,) = frames.body["topics"]
    assert (topic["topic_id"], topic["partitions"][0]["current_leader_epoch"], frames.at_most) == (ID, 5, 99)
    strange = Frames(row(2, b"bytes"), row(3, b"bytes"), topic_id=ID)  # a partition that was not asked for
    assert len(await Fetching(strange, KafkaSettings(), lambda _: LogName(ID, 5)).ask(0, {("t", 2): 7})) == 1


async def test_where_one_id_is_not_known_topics_go_by_their_names():
    frames = Frames(row(2, b"bytes"))
    named = {"t": LogName(ID, 5), "u": LogName()}
    await Fetching(frames, KafkaSettings(), lambda partition: named[partition[0]]).ask(0, {("t", 2): 7, ("u", 0): 1})
    assert frames.at_most == 12


async def test_one_batch_can_be_asked_for_at_once():
    frames = Frames()
    await Fetching(frames, KafkaSettings()).ask(3, {("t", 0): 5}, most_bytes=1)
    assert (frames.body["max_wait_ms"], frames.body["topics"][0]["partitions"][0]["partition_max_bytes"]) == (0, 1)


async def test_an_error_of_the_whole_answer_may_pass():
    with pytest.raises(BrokerError, match="FetchSessionIdNotFound") as error:
        await Fetching(Frames(error_code=70), KafkaSettings()).ask(4, {("t", 0): 0})
    assert error.value.retriable


@pytest.mark.parametrize(("level", "end"), [("read_committed", 90), ("read_uncommitted", 100)])
async def test_an_answer_is_bytes_and_the_end_of_what_may_be_read(level, end):
    one = row(2, b"bytes", stable=90, aborted=[{"producer_id": 11, "first_offset": 12}], start=3)
    (answer,) = await Fetching(Frames(one), KafkaSettings(isolation_level=level)).ask(0, {("t", 2): 7})
    assert (answer.part.topic, answer.part.partition, answer.part.fetch_offset) == ("t", 2, 7)
    assert (answer.part.high_watermark, bytes(answer.part.data), answer.log_start) == (100, b"bytes", 3)
    assert answer.part.aborted == ((11, 12),)
    assert answer.readable_end == end
    assert answer.error is None


async def test_where_a_broker_says_no_last_stable_offset_the_end_is_the_high_watermark():
    rows = row(0, b"old"), row(1, b"new")
    answers = await Fetching(Frames(*rows), KafkaSettings()).ask(0, {("t", 0): 7, ("t", 1): 7})
    assert [answer.readable_end for answer in answers] == [100, 100]


async def test_a_partitions_error_does_not_hide_the_others():
    rows = row(0, None, code=1), row(1, b"x")
    first, second = await Fetching(Frames(*rows), KafkaSettings()).ask(0, {("t", 0): 7, ("t", 1): 7})
    assert first.error is kafka_errors.OffsetOutOfRangeError
    assert first.part.data == b""
    assert second.error is None


@pytest.mark.parametrize("trouble", [TimeoutError(), OSError("gone"), kafka_errors.NodeNotReadyError("no")])
async def test_a_broker_that_does_not_answer_may_be_asked_again(trouble):
    with pytest.raises(BrokerError, match="fetch from broker 4") as error:
        await Fetching(Frames(trouble=trouble), KafkaSettings()).ask(4, {("t", 0): 0})
    assert error.value.retriable

"""What a coordinator answers when it is asked for committed offsets."""

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from farthing.kafka.committed import ask_committed

DENIED, GROUP_DENIED = 29, 30


class Coordinator:
    """Answers with offset 5 for each partition, or with the code of its topic."""

    def __init__(self, topics, group=0):
        self.topics, self.group = topics, group

    async def request(self, _node, _api, body, _timeout_s):
        (asked,) = body(8)["groups"]
        return {"error_code": 0, "topics": [], "groups": [{
            "error_code": self.group,
            "topics": [
                {"name": topic["name"], "partitions": [
                    {"partition_index": number, "committed_offset": 5, "metadata": "m",
                     "error_code": self.topics.get(topic["name"], 0)}
                    for number in topic["partition_indexes"]
                ]}
                for topic in asked["topics"]
            ],
        }]}  # fmt: skip


async def ask(coordinator):
    return await ask_committed(coordinator, 1, "g", [("a", 0), ("b", 0), ("b", 1)], 1.0)


async def test_offsets_and_their_metadata():
    assert await ask(Coordinator({})) == {("a", 0): (5, "m"), ("b", 0): (5, "m"), ("b", 1): (5, "m")}


async def test_topics_that_may_not_be_described_are_named():
    with pytest.raises(TopicAuthorizationFailedError) as error:
        await ask(Coordinator({"b": DENIED}))
    assert error.value.args == ({"b"},)


async def test_any_other_error_comes_first():
    with pytest.raises(GroupAuthorizationFailedError):
        await ask(Coordinator({"b": DENIED}, group=GROUP_DENIED))

"""What the broker says of a user's rights: request and answer byte for byte as Kafka's schema of version 8 has them."""

import struct

import pytest
from aiokafka.errors import KafkaConnectionError

from farthing.kafka import rights
from farthing.kafka.settings import KafkaSettings

SETTINGS = KafkaSettings()


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def answer(*topics):
    """MetadataResponse v8 by hand: one broker, and of each topic its error, name and operations."""
    out = (
        struct.pack(">ii", 0, 1) + struct.pack(">i", 1) + text("host") + struct.pack(">i", 9092) + struct.pack(">h", -1)
    )
    out += text("cluster") + struct.pack(">ii", 1, len(topics))
    for error, name, operations in topics:
        out += struct.pack(">h", error) + text(name) + b"\0" + struct.pack(">i", 1)
        out += struct.pack(">hiii", 0, 0, 1, 7) + struct.pack(">ii", 1, 1) * 2 + struct.pack(">i", 0)
        out += struct.pack(">i", operations)
    return out + struct.pack(">i", rights.NOT_SAID)


class Client:
    def __init__(self, said):
        self.said, self.sent = said, None

    def get_random_node(self):
        return 1

    async def send(self, _node, request):
        built = request.prepare({3: (0, 13)})
        self.sent = built.encode()
        if isinstance(self.said, Exception):
            raise self.said
        return built.RESPONSE_TYPE.decode(self.said)


@pytest.fixture
def asked(monkeypatch):
    async def nothing(*_):
        pass

    async def ask(said, wanted):
        client = Client(said)
        for name, value in (("make_client", lambda _: client), ("connect", nothing), ("disconnect", nothing)):
            monkeypatch.setattr(rights, name, value)
        return await rights.missing_rights(SETTINGS, wanted), client.sent

    return ask


async def test_what_is_missing_is_found(asked):
    describe, read, write = 1 << 8, 1 << 3, 1 << 4
    said = answer(
        (0, "a", describe | read), (0, "b", describe | read), (0, "c", describe), (0, "d", describe | write),
        (0, "e", rights.NOT_SAID), (29, "f", 0),
    )  # fmt: skip
    wanted = {"a": "READ", "b": "WRITE", "c": "READ", "d": "WRITE", "e": "WRITE", "f": "READ"}
    missing, sent = await asked(said, wanted)
    assert missing == {"b": "WRITE", "c": "READ"}
    assert sent == struct.pack(">i", 6) + b"".join(text(name) for name in wanted) + b"\0\0\1"


@pytest.mark.parametrize("error", [NotImplementedError(), KafkaConnectionError("closed")])
async def test_a_broker_that_cannot_say_is_believed(asked, error):
    assert (await asked(error, {"a": "READ"}))[0] == {}

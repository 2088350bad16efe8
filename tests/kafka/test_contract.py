"""aiokafka's private names and wire classes that farthing.kafka uses: fails loudly when upstream moves."""

import inspect

import aiokafka
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from farthing.kafka import KafkaSettings
from farthing.kafka.producer import next_sequence


def test_the_version_is_the_one_that_was_read():
    assert aiokafka.__version__.startswith("0.14.")


def test_private_names_are_where_they_were():
    source = inspect.getsource(AIOKafkaConsumer)
    assert "self._client = AIOKafkaClient(" in source
    assert "self._coordinator = GroupCoordinator(" in source
    assert list(inspect.signature(GroupCoordinator.fetch_committed_offsets).parameters) == ["self", "partitions"]
    assert list(inspect.signature(AIOKafkaClient.send).parameters)[:3] == ["self", "node_id", "request"]
    for name in ("force_metadata_update", "add_topic", "get_random_node", "bootstrap", "close"):
        assert callable(getattr(AIOKafkaClient, name))


def test_requests_have_the_arguments_that_we_give():
    assert list(inspect.signature(FetchRequest).parameters)[:5] == [
        "max_wait_time", "min_bytes", "max_bytes", "isolation_level", "topics",
    ]  # fmt: skip
    assert list(inspect.signature(ProduceRequest).parameters) == [
        "transactional_id",
        "required_acks",
        "timeout",
        "topics",
    ]
    assert list(inspect.signature(InitProducerIdRequest).parameters) == ["transactional_id", "transaction_timeout_ms"]


def test_sequences_wrap_as_the_brokers_do():
    assert next_sequence(2**31 - 1, 1) == 0
    assert next_sequence(2**31 - 10, 100) == 90
    assert next_sequence(5, 3) == 8


def test_effective_options_lose_nothing_and_show_no_secret():
    settings = KafkaSettings(sasl_plain_password="hunter2", ssl_password="hunter2")
    options = settings.consumer_options()
    assert options["enable_auto_commit"] is False
    assert options["auto_offset_reset"] == "earliest"
    assert options["max_poll_interval_ms"] == 2**31 - 1
    assert options["rebalance_timeout_ms"] >= 25_000
    assert "hunter2" not in repr(settings)
    assert "value_deserializer" not in options

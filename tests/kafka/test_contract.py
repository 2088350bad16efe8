"""aiokafka's undocumented names that farthing.kafka uses: three modules only, and a failure when upstream moves."""

import ast
import inspect
import math
from pathlib import Path

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol.transaction import InitProducerIdRequest

import farthing
from farthing.kafka import KafkaSettings, client, frames, membership
from farthing.kafka.producer import next_sequence

PACKAGE = Path(farthing.__file__).parent
DOCUMENTED = {"aiokafka", "aiokafka.abc", "aiokafka.admin", "aiokafka.errors", "aiokafka.helpers", "aiokafka.structs"}
# Attributes of the low-level client, which aiokafka's documentation does not have.
CLIENT = {
    "bootstrap", "set_topics", "add_topic", "force_metadata_update", "get_random_node", "cluster",
    "partitions_for_topic", "leader_for_partition",
}  # fmt: skip


def undocumented(tree):
    """Give the names of aiokafka's that are not documented: imported ones, private and the client's attributes.

    A file's own private names are known by being set on ``self`` or defined there.
    """
    nodes = list(ast.walk(tree))
    own = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    }
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)} - CLIENT
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "aiokafka":
            if node.module not in DOCUMENTED:
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "aiokafka" and a.name not in DOCUMENTED)
        elif isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if node.attr in CLIENT or (private and node.attr not in own):
                yield node.attr


def test_only_three_modules_use_undocumented_names_and_list_them_at_their_head():
    used = {path: set(undocumented(ast.parse(path.read_text()))) for path in (PACKAGE / "kafka").glob("*.py")}
    heads = {Path(module.__file__): module.__doc__ for module in (client, frames, membership)}
    assert {path for path, names in used.items() if names} == set(heads)
    for path, head in heads.items():
        assert not {name for name in used[path] if f"{name}``" not in head}


@pytest.mark.parametrize(
    "broken",
    [
        "from aiokafka.conn import AIOKafkaConnection",
        "import aiokafka.protocol.fetch",
        "def f(consumer):\n    return consumer._coordinator",
        "class C:\n    def f(self):\n        self._client.force_metadata_update()",
    ],
)
def test_an_undocumented_name_is_seen(broken):
    assert set(undocumented(ast.parse(broken)))


def test_the_version_is_the_one_that_was_read():
    assert aiokafka.__version__.startswith("0.14.")


def test_private_names_are_where_they_were():
    source = inspect.getsource(AIOKafkaConsumer)
    assert "self._client = AIOKafkaClient(" in source
    assert "self._coordinator = GroupCoordinator(" in source
    assert list(inspect.signature(GroupCoordinator._do_commit_offsets).parameters) == ["self", "assignment", "offsets"]
    for name in ("check_errors", "request_rejoin", "ensure_coordinator_known", "coordinator_dead"):
        assert list(inspect.signature(getattr(GroupCoordinator, name)).parameters) == ["self"]
    source = inspect.getsource(GroupCoordinator)
    for name in ("generation", "member_id", "coordinator_id", "_coordination_task"):
        assert f"self.{name} = " in source
    # Between a commit's call and its request nothing is awaited: it goes out as the member that we have checked.
    commit = inspect.getsource(GroupCoordinator._do_commit_offsets)
    assert commit.index("self.generation,") < commit.index("await ")
    assert commit.index("self.member_id,") < commit.index("await ")
    assert list(inspect.signature(AIOKafkaClient.send).parameters)[:3] == ["self", "node_id", "request"]
    for name in ("force_metadata_update", "add_topic", "set_topics", "get_random_node", "bootstrap", "close"):
        assert callable(getattr(AIOKafkaClient, name))


def test_connections_can_be_taken_over():
    assert list(inspect.signature(AIOKafkaClient._get_conn).parameters)[:3] == ["self", "node_id", "group"]
    source = inspect.getsource(AIOKafkaConnection)
    for name in ("_read_task", "_writer", "_versions", "_last_action", "_closed_fut", "_client_id"):
        assert f"self.{name} = " in source or f", self.{name}" in source, name
    assert list(inspect.signature(AIOKafkaConnection.close).parameters) == ["self", "reason", "exc"]
    assert list(inspect.signature(AIOKafkaConnection._next_correlation_id).parameters) == ["self"]
    assert callable(AIOKafkaConnection.connected)


def test_requests_have_the_arguments_that_we_give():
    assert list(inspect.signature(InitProducerIdRequest).parameters) == ["transactional_id", "transaction_timeout_ms"]


def test_sequences_wrap_as_the_brokers_do():
    assert next_sequence(2**31 - 1, 1) == 0
    assert next_sequence(2**31 - 10, 100) == 90
    assert next_sequence(5, 3) == 8


def test_effective_options_lose_nothing_and_show_no_secret(tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    settings = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_plain_username="alice",
        sasl_plain_password_file=tmp_path / "password",
    )  # fmt: skip
    options = settings.consumer_options()
    assert options["enable_auto_commit"] is False
    assert options["auto_offset_reset"] == "earliest"
    assert options["max_poll_interval_ms"] == math.inf  # 2**31 - 1 would be 25 days
    assert options["rebalance_timeout_ms"] >= 25_000
    assert options["sasl_plain_password"] == "hunter2"
    assert "hunter2" not in repr(settings) + settings.model_dump_json()
    assert "value_deserializer" not in options

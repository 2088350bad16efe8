"""What doctor says of each thing, without a broker: pure rules over what was found."""

import asyncio
import io
import json
import os
import time
from dataclasses import replace

import pytest
from aiokafka.errors import ClusterAuthorizationFailedError, IncompatibleBrokerVersion
from rich.console import Console

from farthing.config import Settings
from farthing.doctor import bundles, machine, topics, transactions
from farthing.doctor.checks import Row, counted, failed, ok, passed, skipped, warning, within
from farthing.doctor.clock import CLOSE_MS, clock
from farthing.doctor.reaching import address, certificate
from farthing.doctor.run import say
from farthing.errors import BrokerError
from farthing.kafka.looking import NO_GROUPS, SPOKEN, SPOKEN_IN_TRANSACTIONS, BrokerLook, Cluster, GroupState
from farthing.kafka.rights import NOT_TOLD, TopicState, rights_of
from farthing.kernels.cache import KernelCache
from farthing.scoring.signature import new_key_pair, sign
from tests.column_factory import write_column_bundle
from tests.scoring.test_signature import COVERED

ALL = frozenset(["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "IDEMPOTENT_WRITE"])
ROUTE = {"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d", "max_event_bytes": 100_000}
SETTINGS = Settings.model_validate({"route": [ROUTE]})
USES = {use.topic: use for use in topics.uses(SETTINGS)}
GOOD = {name: TopicState(name, 0, 4, 3, rights=ALL) for name in USES}
CONFIGS = {"cleanup.policy": "delete", "max.message.bytes": "1048588", "min.insync.replicas": "2"}


def cluster(**changed):
    found = GOOD | {name: replace(GOOD.get(name, TopicState(name, 0)), **change) for name, change in changed.items()}
    return Cluster(3, found, ALL)


def test_every_topic_has_a_use():
    assert set(USES) == {"e", "s", "d", "farthing.usage", "farthing.heartbeats"}
    assert (USES["e"].right, USES["s"].right) == ("READ", "WRITE")


@pytest.mark.parametrize(
    ("change", "state", "found"),
    [
        ({}, "ok", "4 partitions, write allowed"),
        ({"rights": None}, "ok", "rights not told"),
        ({"error": 3, "partitions": 0}, "failed", "does not exist"),
        ({"error": 29, "partitions": 0}, "failed", "may not see it"),
        ({"partitions": 3}, "failed", "has 3 partitions, its source e has 4"),
        ({"rights": ALL - {"WRITE"}}, "failed", "may not write it"),
        ({"leaderless": (2,)}, "failed", "no broker leads partition 2"),
        ({"behind": (1, 2)}, "warning", "2 of 4 partitions have replicas that are behind"),
    ],
)
def test_a_sink(change, state, found):
    row = topics.existence(USES["s"], cluster(s=change))
    assert (row.state, row.check) == (state, "scores s")
    assert found in row.found
    assert bool(row.mend) == (state != "ok")


def test_a_topic_that_workers_make_may_be_missing():
    gone = cluster(**{"farthing.usage": {"error": 3, "partitions": 0}})
    assert topics.existence(USES["farthing.usage"], gone).state == "ok"
    row = topics.existence(USES["farthing.usage"], replace(gone, rights=ALL - {"CREATE"}))
    assert row.state == "warning" and "grant CREATE" in row.mend


@pytest.mark.parametrize(
    ("topic", "change", "state", "found"),
    [
        ("d", {}, "ok", "max.message.bytes = 1,048,588, 3 replicas"),
        ("d", {"max.message.bytes": "150000"}, "warning", "max.message.bytes = 150,000, and route.max_event_bytes"),
        ("s", {"max.message.bytes": "150000"}, "ok", "3 replicas"),
        ("s", {"cleanup.policy": "compact,delete"}, "warning", "a record without a key is refused"),
        ("s", {"min.insync.replicas": "4"}, "failed", "min.insync.replicas = 4, and 3 replicas"),
        ("s", {"min.insync.replicas": "1"}, "warning", "a lost disk loses records"),
        ("s", {"message.timestamp.before.max.ms": "3600000"}, "warning", "are refused"),
        ("s", {"message.timestamp.before.max.ms": "3600000", "message.timestamp.type": "LogAppendTime"}, "ok", ""),
        ("e", {"retention.ms": "3600000"}, "warning", "deleted after 1.0 h"),
        ("e", {"retention.ms": "-1"}, "ok", ""),
        ("farthing.usage", {}, "warning", "cleanup.policy = delete"),
        ("farthing.usage", {"cleanup.policy": "compact"}, "ok", ""),
    ],
)
def test_what_topics_accept(topic, change, state, found):
    rows = topics.limits(USES[topic], GOOD[topic], CONFIGS | change, SETTINGS)
    assert [row.state for row in rows] == [state]
    assert found in rows[0].found


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (GroupState(0, "Stable", 3, ALL), "ok"),
        (GroupState(0, "Dead", 0, None), "ok"),
        (GroupState(0, NO_GROUPS), "ok"),
        (GroupState(30), "failed"),
        (GroupState(0, "Stable", 3, frozenset(["DESCRIBE"])), "failed"),
        (GroupState(15), "failed"),
    ],
)
def test_the_group(state, expected):
    (row,) = topics.group(SETTINGS, state)
    assert row.state == expected


def test_an_id_for_the_producer_and_what_is_committed():
    assert topics.idempotence(SETTINGS, cluster())[0].state == "ok"
    none = Cluster(1, {name: replace(one, rights=frozenset(["READ"])) for name, one in GOOD.items()}, frozenset())
    assert topics.idempotence(SETTINGS, none)[0].state == "failed"
    silent = Cluster(1, {name: replace(one, rights=None) for name, one in GOOD.items()}, None)
    assert topics.idempotence(SETTINGS, silent)[0].state == "skipped"
    assert topics.committed({}, [])[0].state == "ok"
    rows = topics.committed({("e", 0): (5, "x"), ("e", 1): (5, "")}, [False, True])
    assert rows[0].state == "warning" and "the metadata of 1 " in rows[0].found


def test_who_may_not_read_the_usage_topic_is_warned():
    without = cluster(**{"farthing.usage": {"rights": ALL - {"READ"}}})
    row = topics.existence(USES["farthing.usage"], without)
    assert row.state == "warning" and "--operation Read --topic farthing.usage" in row.mend
    assert topics.existence(USES["s"], cluster(s={"rights": ALL - {"READ"}})).state == "ok"


def test_exactly_once_needs_the_requests_of_transactions():
    names = set(SPOKEN_IN_TRANSACTIONS) - set(SPOKEN)
    assert names == {"AddPartitionsToTxn", "AddOffsetsToTxn", "TxnOffsetCommit", "EndTxn"}
    assert SPOKEN_IN_TRANSACTIONS["TxnOffsetCommit"] == (28, 3, 3)
    assert SPOKEN_IN_TRANSACTIONS["InitProducerId"][0] == 22


class Asked:
    """A cluster of two brokers, of which the second coordinates the group if there are groups at all."""

    def __init__(self, topic_error, codes):
        self.topic_error, self.codes, self.made = topic_error, codes, False

    async def topics(self, _):
        return {"topics": [{"error_code": self.topic_error}], "brokers": [{"node_id": 1}, {"node_id": 2}]}

    async def coordinator(self, _):
        self.made = self.topic_error != 0
        return 2

    async def group(self, node, _):
        code = self.codes[node - 1]
        if isinstance(code, Exception):
            raise code
        return {"error_code": code, "group_state": "Stable", "members": [1], "authorized_operations": NOT_TOLD}


@pytest.mark.parametrize(
    ("topic_error", "codes", "expected"),
    [
        (0, (16, 0), GroupState(0, "Stable", 1)),
        (3, (16, 16), GroupState(0, NO_GROUPS)),
        (3, (30, 30), GroupState(30, "Stable", 1)),
        (29, (16, 0), GroupState(0, "Stable", 1)),
        (29, (OSError("it is down"), 0), GroupState(0, "Stable", 1)),
        (0, (0, 16), GroupState(15)),
    ],
)
async def test_looking_for_a_group_makes_no_topic(topic_error, codes, expected):
    look = BrokerLook(SETTINGS.kafka, timeout_s=1)
    look._asking = Asked(topic_error, codes)
    assert await look.group() == expected
    assert not look._asking.made
    assert look._coordinator == (
        None if expected.state == NO_GROUPS or expected.error == 15 else 2 if not expected.error else 1
    )


async def test_a_broker_that_is_down_is_not_one_without_groups():
    look = BrokerLook(SETTINGS.kafka, timeout_s=1)
    look._asking = Asked(29, (OSError("it is down"), 16))
    with pytest.raises(OSError, match="it is down"):
        await look.group()


class Transactional:
    """What a broker answers about transactions: a code or an error, and its setting or an error."""

    def __init__(self, code, most):
        self.code, self.most = code, most

    async def transactional_id_code(self, _):
        return raised_or(self.code)

    async def broker_config(self, _):
        return raised_or(self.most)


def raised_or(value):
    if isinstance(value, Exception):
        raise value
    return value


@pytest.mark.parametrize(
    ("code", "most", "states"),
    [
        (105, "900000", ("ok", "ok")),
        (16, "9999", ("ok", "failed")),
        (53, None, ("failed", "skipped")),
        (IncompatibleBrokerVersion("old"), ClusterAuthorizationFailedError("no"), ("skipped", "skipped")),
    ],
)
async def test_what_exactly_once_needs_beside_its_requests(code, most, states):
    look = BrokerLook(SETTINGS.kafka, timeout_s=1)
    look._asking = Transactional(code, most)
    rows = [await one(SETTINGS.kafka, look) for one in (transactions.transactional_id, transactions.longest)]
    assert tuple(row.state for (row,) in rows) == states


def test_a_ledgers_folder_is_looked_at_for_every_store(monkeypatch):
    monkeypatch.setattr(machine, "may_write", lambda folder: "ledger" not in str(folder))
    for store, state in (("rocksdb", "failed"), ("memory", "warning")):
        settings = Settings.model_validate({"route": [ROUTE], "ledger": {"store": store}})
        rows = {row.check: row for row in machine.machine(settings)}
        assert rows["ledger.data_dir"].state == state


def test_rights_are_bits():
    assert rights_of(NOT_TOLD) is None
    assert rights_of(0) == frozenset()
    assert rights_of(1 << 3 | 1 << 8 | 1 << 11) == {"READ", "DESCRIBE"}


@pytest.mark.parametrize(
    ("newest_ms", "state"), [(-3_600_000, "skipped"), (-3_000, "ok"), (0, "ok"), (20_000, "warning"), (9e9, "warning")]
)
async def test_the_clock_against_the_newest_record(newest_ms, state):
    async def newer_than(ms):
        return [("e", 1)] if ms <= newest_ms + 1_000_000 else []

    (row,) = await clock(newer_than, lambda: 1_000_000)
    assert row.state == state
    assert CLOSE_MS == 5_000
    if state == "warning":
        assert ("an hour" if newest_ms == 9e9 else "5 s") in row.found


@pytest.mark.parametrize(
    ("server", "expected"),
    [("a:1", ("a", 1)), ("a", ("a", 9092)), ("[::1]:5", ("::1", 5)), ("[::1]", ("::1", 9092)), ("10.0.0.1", ("10.0.0.1", 9092))],
)  # fmt: skip
def test_addresses(server, expected):
    assert address(server) == expected


class Handshake:
    """A TLS connection with a certificate that ends in so many days."""

    def __init__(self, days):
        self._ends = time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + 86_400 * days))

    def getpeercert(self):
        return {"notAfter": self._ends}

    def version(self):
        return "TLSv1.3"


def test_a_certificate_that_ends_soon():
    assert certificate("a:1", Handshake(90)).state == "ok"
    row = certificate("a:1", Handshake(5))
    assert row.state == "warning" and "TLSv1.3" in row.found


async def test_a_check_that_hangs_or_raises_is_a_row():
    async def hangs():
        await asyncio.Event().wait()

    async def refuses():
        raise BrokerError("no such thing; make it", retriable=False)

    async def breaks():
        raise OSError("no route")

    (row,) = await within("a", hangs, (), seconds=0.01)
    assert (row.state, row.check) == ("failed", "a") and "no answer within" in row.found
    (row,) = await within("b", refuses, ())
    assert (row.found, row.mend) == ("no such thing", "make it")
    (row,) = await within("c", breaks, (OSError,))
    assert "OSError no route" in row.found


def test_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    many = SETTINGS.model_copy(update={"worker": SETTINGS.worker.model_copy(update={"workers": 2, "threads": 4})})
    rows = {row.check: row for row in machine.machine(many)}
    assert rows["threads"].state == "warning" and "on 1" in rows["threads"].found
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert {row.check: row for row in machine.machine(SETTINGS)}["threads"].state == "ok"
    assert set(rows) >= {"cpu", "kernel cache", "descriptors", "folder for error reports", "folder for temporary files"}
    assert passed(rows.values())


def test_a_folder_is_judged_and_not_made(tmp_path):
    assert machine.may_write(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    assert not machine.may_write(tmp_path / "file")
    (tmp_path / "closed").mkdir(mode=0o500)
    assert machine.may_write(tmp_path / "closed") == (os.geteuid() == 0)


def test_what_a_bundle_s_process_says():
    (row,) = bundles.rows_of("bundle of e", "moderation", {"model": "m@1", "golden_events": 9})
    assert row == ok("bundle of e", "m@1: digests hold, and 9 known events have their scores here")
    (row,) = bundles.rows_of("bundle of e", "moderation", {"error": "tensors.npz: another digest; copy it again"})
    assert (row.state, row.mend) == ("failed", "copy it again")
    rows = bundles.rows_of("b", "m", {"model": "m@1", "golden_events": 9, "signature": [False, "not signed"]})
    assert [row.state for row in rows] == ["ok", "failed"]


async def test_a_bundle_that_is_not_there():
    (row,) = await bundles.bundle(SETTINGS.route[0].model_copy(update={"bundle": "nosuch"}))
    assert row.state == "failed" and "no bundle 'nosuch'" in row.found
    assert row.mend == "Give the folder that holds manifest.json"


def test_a_bundle_must_be_signed_where_keys_are_trusted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(KernelCache, "save_overload", KernelCache.save_overload)  # main changes it, for its process
    folder = write_column_bundle(tmp_path / "b", manifest=COVERED)

    def rows(*trusted_keys):
        wanted = {"bundle": str(folder), "fields": {}, "max_event_bytes": 1000}
        assert bundles.main([json.dumps(wanted | {"trusted_keys": [str(tmp_path / key) for key in trusted_keys]})]) == 0
        return bundles.rows_of("bundle of e", str(folder), json.loads(capsys.readouterr().out))

    private, public = new_key_pair()
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "pub.pem").write_bytes(public)
    (tmp_path / "other.pem").write_bytes(new_key_pair()[1])
    assert [row.state for row in rows()] == ["ok"]
    *_, row = rows("pub.pem")
    assert (row.state, row.check) == ("failed", "bundle of e: signature") and "must be signed" in row.found
    manifest = folder / "manifest.toml"
    manifest.with_name("manifest.toml.sig").write_bytes(sign(manifest.read_bytes(), tmp_path / "key.pem"))
    good = rows("pub.pem")
    assert [row.state for row in good] == ["ok", "ok"] and "pub.pem" in good[1].found
    *_, row = rows("other.pem")
    assert row.state == "failed" and "is no signature" in row.found
    (row,) = rows("none.pem")
    assert row.state == "failed" and row.found.startswith("model.trusted_keys: key ")


ROWS = [ok("a", "good"), warning("b [x]", "slow", "wait"), failed("c", "bad", "mend it"), skipped("d", "not asked")]


def test_a_table_in_a_terminal_and_lines_elsewhere():
    shown = io.StringIO()
    say(ROWS, Console(file=shown, force_terminal=True, width=60, no_color=True))
    assert "-> mend it" in shown.getvalue() and "b [x]" in shown.getvalue()
    plain = io.StringIO()
    say(ROWS, Console(file=plain, width=20))
    assert plain.getvalue().splitlines() == [
        "ok      a: good", "warning b [x]: slow; wait", "failed  c: bad; mend it", "skipped d: not asked",
        "4 checks: 1 ok, 1 warning, 1 failed, 1 skipped",
    ]  # fmt: skip
    assert counted(ROWS) == "1 ok, 1 warning, 1 failed, 1 skipped"
    assert not passed(ROWS) and passed(ROWS[:2] + ROWS[3:])
    assert json.loads(json.dumps([row.as_dict() for row in ROWS]))[0] == {
        "check": "a", "state": "ok", "found": "good", "mend": "",
    }  # fmt: skip
    assert Row(**ROWS[0].as_dict()) == ROWS[0]

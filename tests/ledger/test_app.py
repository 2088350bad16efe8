"""The app without a broker: what it refuses, what it keeps, and what of Faust is off."""

import importlib.util

import pytest

from farthing.config import Settings
from farthing.errors import BrokerError, ConfigError
from farthing.ledger.app import BACKLOG_MS, SILENT_S, LedgerApp
from farthing.ledger.books import Account
from farthing.ledger.run import assemble, load_book
from tests.ledger.cases import DAY, NOW, beat, record

ROUTE = {"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d"}


def settings(**sections):
    return Settings.model_validate({"kafka": {"bootstrap_servers": ["127.0.0.1:1"]}, "route": [ROUTE], **sections})


@pytest.fixture
def app():
    return LedgerApp(settings(), {"moderation"})


class Stream:
    """Stands in for Faust's stream: gives batches."""

    def __init__(self, *batches):
        self.batches = batches

    async def take(self, most, within):
        assert most > 1
        assert within > 0
        for batch in self.batches:
            assert len(batch) <= most
            yield batch


async def test_of_one_batch_each_account_is_written_once(app):
    app._restored.set()
    app.accounts = {}
    batch = [record(n, partition=n % 3).encode() for n in range(1, 31)]
    await app._post(Stream(batch))
    assert app.accounts == {account.record.key: account.encode() for account in app.ledger.accounts.values()}
    assert sorted(a.record.totals.scored for a in app.ledger.accounts.values()) == [28, 29, 30]
    assert (app.records, app.refused) == (30, 0)


async def test_what_is_not_further_on_is_not_written(app):
    app._restored.set()
    app.accounts = {}
    await app._post(Stream([record(9).encode()]))
    app.accounts = {}
    await app._post(Stream([record(9).encode(), record(8).encode()]))
    assert app.accounts == {}


async def test_heartbeats_are_kept_and_damaged_ones_refused(app):
    app._restored.set()
    app.workers = {}
    good = beat(at_ms=NOW)
    await app._beat(
        Stream([beat(at_ms=NOW - 1).encode(), good.encode(), b"[]", None, beat(sample={"m": (1,)}).encode()])
    )
    assert app.workers == {good.key: good.encode()}
    assert (app.records, app.refused) == (5, 3)


async def test_a_task_without_a_price_is_refused_until_the_ledger_is_updated(app):
    app._restored.set()
    app.accounts = {}
    await app._post(Stream([record(9, task="telepathy").encode(), record(3).encode()]))
    assert app.refused == 1
    assert len(app.accounts) == 1


async def test_minutes_are_written_once_and_only_when_the_books_are_restored(app):
    app.minutes = {}
    await app._moment()
    assert app.minutes == {}
    app.ready = True
    for _ in range(3):
        await app._moment()
    assert list(app.minutes) == [snapshot.key for snapshot in app.history.snapshots.values()]
    assert app.readiness()[0]


async def test_no_rate_is_made_of_a_backlog(app, monkeypatch):
    """What was scored while the ledger was away is read within a second: a rate over that second would be made up."""
    now_ms = [NOW]
    monkeypatch.setattr("farthing.ledger.app.time.time_ns", lambda: now_ms[0] * 1_000_000)
    app.accounts, app.workers, app.minutes = {}, {}, {}
    await app._restore()
    await app._moment()
    await app._post(Stream([record(1_000_000).encode()]))
    await app._beat(Stream([beat(at_ms=NOW - 5_000).encode()]))
    now_ms[0] += 2_000
    await app._moment()
    assert app.ledger.events_per_second(60_000) is None
    await app._beat(Stream([beat(at_ms=NOW + 2_000).encode()]))
    await app._moment()
    await app._post(Stream([record(1_000_300).encode()]))
    now_ms[0] += 3_000
    await app._moment()
    assert list(app.ledger.events_per_second(60_000).values()) == [100]


async def test_without_a_worker_the_backlog_ends_by_itself(app, monkeypatch):
    monkeypatch.setattr("farthing.ledger.app.time.time_ns", lambda: (NOW + BACKLOG_MS + 1) * 1_000_000)
    app.ready, app._restored_ms, app.minutes = True, NOW, {}
    await app._moment()
    assert len(app.ledger._moments) == 1


def test_readiness_says_when_no_broker_answers(app):
    app.ready = True
    assert app.readiness() == (True, "keeping the books")
    app._answered_s -= SILENT_S + 1
    is_ready, why = app.readiness()
    assert not is_ready
    assert "no broker has answered for 16 s" in why


class Reached:
    """Stands in for what knows how far the tables are, with topics that cannot be read at first."""

    def __init__(self, values):
        self.is_ours, self.values, self.failures = False, values, 2

    async def catch_up(self, topic, post, say):
        say("reading")
        if self.failures:
            self.failures -= 1
            raise BrokerError("the broker sends nothing", retriable=True) if self.failures else RuntimeError("a bug")
        return post(self.values.get(topic, []))


async def test_only_the_member_with_the_partitions_has_books_and_it_makes_up_for_its_tables(app, monkeypatch):
    monkeypatch.setattr("farthing.ledger.app.RESTORE_AGAIN_S", 0.01)
    known, newer, lost = record(5), record(9), record(3, partition=1)
    good = beat(at_ms=NOW)
    app.accounts = {known.key: Account.opened(known).encode(), b"damaged": b"["}
    app.workers, app.minutes = {}, {}
    usage = [(known.key, known.encode()), (newer.key, newer.encode()), (lost.key, lost.encode()), (b"x", b"[" * 9_000)]
    app.reached = Reached({"farthing.usage": usage, "farthing.heartbeats": [(good.key, good.encode())]})

    await app._recovered()
    assert app.readiness() == (False, app._why_not)
    assert "another member of the group" in app._why_not
    assert not app._restored.is_set()

    app.reached.is_ours = True
    await app._recovered()
    await app._restoring
    assert app.readiness()[0]
    assert {a.record.next_offset for a in app.ledger.accounts.values()} == {9, 3}
    assert app.accounts[lost.key] == app.ledger.accounts[lost.key].encode()
    assert app.workers == {good.key: good.encode()}
    assert app.records == 4  # what the tables had was not read again
    assert app.refusals.counts == {("accounts", "syntax"): 3, ("usage", "nesting"): 1}  # restored three times

    app.reached.is_ours = False
    await app._recovered()
    assert not app.readiness()[0]


async def test_of_a_batch_what_is_hostile_is_refused_and_the_rest_posted(app):
    app._restored.set()
    app.accounts, app.workers = {}, {}
    good = record(7)
    odd = [b"[" * 100_000, b"9" * 400, b"", None, good.encode().replace(b'"s":7', b'"s":' + b"9" * 400), b"\xff\xfe{"]
    await app._post(Stream([*odd, good.encode(), *odd]))
    await app._beat(Stream([*odd, beat().encode()]))
    assert list(app.accounts) == [good.key]
    assert len(app.workers) == 1
    assert app.refused == 3 * len(odd)


def test_what_faust_must_not_do_is_off():
    conf = assemble(settings()).app.conf
    assert conf.web_enabled is False
    assert conf.processing_guarantee.name == "AT_LEAST_ONCE"
    assert conf.autodiscover is False
    assert conf.topic_disable_leader is True
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.producer_acks == -1


async def test_faust_starts_no_web_server_even_when_its_command_asks_for_one():
    app = assemble(settings()).app
    app.conf.web_enabled = True  # what `faust worker` does
    assert list(app.boot_strategy.web_server()) == []


@pytest.mark.skipif(importlib.util.find_spec("rocksdict") is not None, reason="rocksdict is installed")
def test_rocksdb_without_its_package_is_said():
    with pytest.raises(ConfigError, match=r"needs the package rocksdict: install the extra rocksdb"):
        assemble(settings(ledger={"store": "rocksdb"}))


@pytest.mark.parametrize("name", ["usage_export", "system_prompt_file"])
def test_a_file_that_cannot_be_read_is_said(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"meter.{name}( =|:) .*none.*cannot be read"):
        load_book(settings(meter={name: tmp_path / "none"}), DAY)

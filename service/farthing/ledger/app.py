"""The ledger as a Faust app: reads usage records and heartbeats into tables that are backed by changelogs.

``farthing ledger -c farthing.toml`` runs it, and so does ``faust -A farthing.ledger.run worker`` with the settings file
named by ``FARTHING_CONFIG``.

Faust cannot be trusted with everything. It may commit past a record that is still being processed, and it acknowledges
records whose processing raised: here records are running totals, so the next one makes up for one that was skipped, and
a record that cannot be read is counted and skipped. Its own web server listens on all addresses and shows tables: it is
off, and :mod:`farthing.ledger.web` serves the pages. Keys and values are raw bytes, so no codec of Faust's reads them.
Exactly-once is not offered: it is not needed, and by Faust's open issues it would not hold.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

import faust
import structlog
from faust.app import BootStrategy

from farthing.config import Settings
from farthing.errors import ConfigError, extra
from farthing.ledger.history import History
from farthing.ledger.ledger import Ledger
from farthing.meter.records import Heartbeat, UsageRecord
from farthing.meter.tokens import TextSample

log = structlog.get_logger()
_Read = TypeVar("_Read", UsageRecord, Heartbeat)

TAKE: Final = 1_000  # most records that are posted together; only the last of each account is written
WITHIN_S: Final = 0.2
BACKLOG_MS: Final = 10_000  # how long we take records for a backlog when no worker writes a new one

# aiokafka asks for a partition's next records only when it has handed out those it has; until then it waits for the
# broker's idle partitions, with Faust for up to 1.5 s. So each fetch of a changelog may take a second, however small.
FETCH_BYTES: Final = 32 << 20


class LedgerApp:
    """The app, its three tables, and the books that are kept in step with them."""

    def __init__(self, settings: Settings, tasks: Collection[str]) -> None:
        """``tasks`` are those with a price: records of other tasks are refused until the ledger is updated."""
        self.settings = settings
        self._tasks = tasks
        self.ledger = Ledger()
        self.history = History()
        self.ready = False
        self._restored = asyncio.Event()
        self._restored_ms = 0
        self.records = 0  # read since the start
        self.refused = 0  # those of them that could not be read
        self.app: Any = _make_app(settings)
        self.accounts = self._table("accounts")
        self.workers = self._table("workers")
        self.minutes = self._table("minutes")
        self.app.agent(self._topic(settings.meter.usage_topic), name="usage")(self._post)
        self.app.agent(self._topic(settings.meter.heartbeat_topic), name="heartbeats")(self._beat)
        self.app.task(self._restore)
        self.app.timer(1.0, name="moments")(self._moment)

    def books(self) -> tuple[Ledger, History]:
        """Return the books as they are now."""
        return self.ledger, self.history

    def readiness(self) -> tuple[bool, str]:
        """Return whether the books are restored, and why not."""
        return (True, "keeping the books") if self.ready else (False, "restoring the books from their changelogs")

    def _topic(self, name: str) -> Any:
        return self.app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", partitions=1,
            compacting=True, internal=True,
        )  # fmt: skip

    def _table(self, name: str) -> Any:
        # use_partitioner: writes go by the key, not by the record being processed. There is one partition.
        return self.app.Table(name, partitions=1, key_type=bytes, value_type=bytes, use_partitioner=True)

    async def _restore(self) -> None:
        """Read the tables. Faust runs tasks once it has filled them from their changelogs; agents begin earlier."""
        began = time.monotonic()
        self.ledger = Ledger.restored(self.accounts.items(), self.workers.items())
        self.history = History.restored(iter(self.minutes.values()))
        self._restored_ms = time.time_ns() // 1_000_000
        self.ready = True
        self._restored.set()
        log.info(
            "books_restored",
            accounts=len(self.ledger.accounts),
            workers=len(self.ledger.beats),
            seconds=round(time.monotonic() - began, 2),
        )

    async def _post(self, stream: Any) -> None:
        await self._restored.wait()
        async for values in stream.take(TAKE, within=WITHIN_S):
            changed = {}
            for value in values:
                record = self._read(self._usage, value)
                account = None if record is None else self.ledger.post(record)
                if account is not None:
                    changed[account.record.key] = account
            for key, account in changed.items():
                self.accounts[key] = account.encode()

    async def _beat(self, stream: Any) -> None:
        await self._restored.wait()
        async for values in stream.take(TAKE, within=WITHIN_S):
            changed = {}
            for value in values:
                beat = self._read(_heartbeat, value)
                if beat is not None and self.ledger.beat(beat):
                    changed[beat.key] = beat
            for key, beat in changed.items():
                self.workers[key] = beat.encode()

    def _read(self, decode: Callable[[bytes], _Read], value: bytes | None) -> _Read | None:
        self.records += 1
        try:
            if value is None:
                raise ValueError("a record without a value: a count is never deleted")
            return decode(value)
        except ValueError as error:
            self.refused += 1
            log.warning("record_refused", error=str(error))
            return None

    def _usage(self, value: bytes) -> UsageRecord:
        record = UsageRecord.decode(value)
        if record.task not in self._tasks:
            raise ValueError(f"task {record.task!r} of {record.topic} is not known to this Farthing: update the ledger")
        return record

    async def _moment(self) -> None:
        if not self.ready:
            return
        now_ms = time.time_ns() // 1_000_000
        # While a backlog is read, many minutes' events are added within seconds: a rate over that would be made up.
        if self.ledger.has_heard_since(self._restored_ms) or now_ms - self._restored_ms > BACKLOG_MS:
            self.ledger.note_moment(now_ms)
        new, old = self.history.note(self.ledger, now_ms)
        if new is not None:
            self.minutes[new.key] = new.encode()
        for key in old:
            self.minutes.pop(key, None)


def _heartbeat(value: bytes) -> Heartbeat:
    beat = Heartbeat.decode(value)
    for row in beat.sample.values():
        TextSample.of_ints(row)  # raises if it is from another version
    return beat


class _Boot(BootStrategy):  # type: ignore[misc]  # Faust has no types
    """Starts everything but Faust's web server, which ``faust worker`` would start whatever the settings say."""

    enable_web = False


class _App(faust.App):  # type: ignore[misc]
    BootStrategy = _Boot


def _make_app(settings: Settings) -> Any:
    kafka = settings.kafka
    ours = settings.ledger
    options: dict[str, Any] = {}
    credentials = _credentials(kafka.client_options())
    if credentials is not None:
        options["broker_credentials"] = credentials
    return _App(
        ours.app_id,
        broker=[f"kafka://{server}" for server in kafka.bootstrap_servers],
        store=_store(ours.store),
        datadir=str(ours.data_dir),
        web_enabled=False,
        autodiscover=False,
        processing_guarantee="at_least_once",
        topic_partitions=1,
        topic_replication_factor=ours.replication_factor,
        topic_allow_declare=True,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        broker_commit_interval=1.0,
        broker_session_timeout=kafka.session_timeout_ms / 1000,
        broker_heartbeat_interval=kafka.heartbeat_interval_ms / 1000,
        broker_request_timeout=max(kafka.request_timeout_ms, kafka.session_timeout_ms + 5_000) / 1000,
        stream_wait_empty=False,
        producer_acks=-1,
        monitor=None,
        **options,
    )


def _store(name: str) -> str:
    if name == "rocksdb":
        try:
            import rocksdict  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"ledger.store = 'rocksdb' needs the package rocksdict: {extra('rocksdb')}, or use 'memory'"
            ) from error
        return "rocksdb://?driver=rocksdict"
    return "memory://"


def _credentials(options: dict[str, Any]) -> Any:
    """Return Faust's credentials for the settings; None for plain text."""
    protocol = options["security_protocol"]
    context = options.get("ssl_context")
    if "sasl_oauth_token_provider" in options:
        return faust.OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if protocol == "SSL" else None

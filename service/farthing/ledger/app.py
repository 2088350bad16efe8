"""The ledger as a Faust app: reads usage records and heartbeats into tables that are backed by changelogs.

``farthing ledger -c farthing.toml`` runs it, and so does ``faust -A farthing.ledger.run worker`` with the settings file
named by ``FARTHING_CONFIG``.

Faust cannot be trusted with everything. It may commit past a record that is still being processed, it acknowledges
records whose processing raised, and it commits records whose changelog write fails later: so at each start the books
are brought up to date from the topics themselves (:mod:`farthing.ledger.restoring`), and a record that cannot be read
is counted and skipped. It gives each member of its group an assignment, perhaps an empty one, and calls its tables
restored either way: so the books are read again after each rebalance, and only the member that has them is ready. Its
own web server listens on all addresses and shows tables: it is off, and :mod:`farthing.ledger.web` serves the pages.
Keys and values are raw bytes, so no codec of Faust's reads them. Exactly-once is not offered: it is not needed, and by
Faust's open issues it would not hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from typing import Any, Final

import faust
import structlog
from faust.app import BootStrategy
from faust.types import TP

from farthing.config import Settings
from farthing.errors import ConfigError, extra
from farthing.ledger.history import History
from farthing.ledger.ledger import Ledger
from farthing.ledger.posting import Posting, Values
from farthing.ledger.refusals import Refusals
from farthing.ledger.restoring import Records, Restoring

log = structlog.get_logger()

TAKE: Final = 1_000  # most records that are posted together; only the last of each account is written
WITHIN_S: Final = 0.2
BACKLOG_MS: Final = 10_000  # how long we take records for a backlog when no worker writes a new one
RESTORE_AGAIN_S: Final = 2.0
ASK_EVERY_S: Final = 2.0
SILENT_S: Final = 15.0
"""The ledger is not ready when no broker has answered for this long: the books that it shows may be old."""

MOST_VALUE_BYTES: Final = 900_000  # of a table's value, below the broker's limit for a record

NO_TIMESTAMP_S: Final = -0.001  # Kafka's NO_TIMESTAMP, -1 ms

# aiokafka asks for a partition's next records only when it has handed out those it has; until then it waits for the
# broker's idle partitions, with Faust for up to 1.5 s. So each fetch of a changelog may take a second, however small.
FETCH_BYTES: Final = 32 << 20


class LedgerApp:
    """The app, its three tables, and the books that are kept in step with them."""

    def __init__(self, settings: Settings, tasks: Collection[str]) -> None:
        """``tasks`` are those with a price: records of other tasks are refused until the ledger is updated."""
        self.settings = settings
        self._posting = Posting(tasks)
        self.ledger = Ledger()
        self.history = History()
        self.ready = False  # the books are here; see readiness() for whether they are kept up to date
        self._restored = asyncio.Event()
        self._restored_ms = 0
        self._restoring: asyncio.Task[None] | None = None
        self._caught_up = False
        self._why_not = "restoring the books from their changelogs"
        self._answered_s = time.monotonic()
        self.app: Any = _make_app(settings)
        self.accounts = self._table("accounts")
        self.workers = self._table("workers")
        self.minutes = self._table("minutes")
        places = [TP(settings.meter.usage_topic, 0), TP(settings.meter.heartbeat_topic, 0)]
        self.reached = Restoring(self.app, settings.kafka, self._table("reached"), places)
        self.app.sensors.add(_Sends(self.reached))
        self.app.agent(self._topic(settings.meter.usage_topic), name="usage")(self._post)
        self.app.agent(self._topic(settings.meter.heartbeat_topic), name="heartbeats")(self._beat)
        self.accounts.on_recover(self._recovered)
        self.app.task(self._listen_for_the_broker)
        self.app.timer(1.0, name="moments")(self._moment)

    @property
    def records(self) -> int:
        """How many records were read since the start."""
        return self._posting.records

    @property
    def refusals(self) -> Refusals:
        """What was refused since the start."""
        return self._posting.refusals

    @property
    def refused(self) -> int:
        """How many of the records that were read could not be."""
        return self.refusals.records

    @property
    def broker_silent_s(self) -> float:
        """Seconds since a broker last answered."""
        return time.monotonic() - self._answered_s

    def books(self) -> tuple[Ledger, History]:
        """Return the books as they are now."""
        return self.ledger, self.history

    def readiness(self) -> tuple[bool, str]:
        """Return whether the books are kept, and why not."""
        if not self.ready:
            return False, self._why_not
        silent_s = self.broker_silent_s
        if silent_s > SILENT_S:
            return False, f"no broker has answered for {silent_s:.0f} s: the books are shown as they were then"
        return True, "keeping the books"

    def _topic(self, name: str) -> Any:
        return self.app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", partitions=1,
            compacting=True, internal=True,
        )  # fmt: skip

    def _table(self, name: str) -> Any:
        # use_partitioner: writes go by the key, not by the record being processed. There is one partition.
        return self.app.Table(name, partitions=1, key_type=bytes, value_type=bytes, use_partitioner=True)

    async def _recovered(self) -> None:
        """Begin to read the books: Faust has filled its tables, after a rebalance."""
        self._restored.clear()
        if self._restoring is not None:
            self._restoring.cancel()
        if self.reached.is_ours:
            self._restoring = asyncio.create_task(self._keep_restoring())
            return
        self.ready = False
        self._why_not = (
            f"another member of the group {self.settings.ledger.app_id} keeps the books; this one takes over when that "
            "one has left"
        )
        log.info("books_are_elsewhere", note=self._why_not)

    async def _keep_restoring(self) -> None:
        while True:
            try:
                await self._restore(self.reached.catch_up)
                return
            except Exception as error:  # whatever it is: it is said, and tried again
                self._why_not = f"the books are not restored: {str(error) or repr(error)}"
                log.warning("books_not_restored", error=str(error) or repr(error), again_in_s=RESTORE_AGAIN_S)
                await asyncio.sleep(RESTORE_AGAIN_S)

    async def _restore(self, catch_up: Callable[..., Any] | None = None) -> None:
        """Read the tables, then what they lack: they may be behind the topics, or be gone."""
        began = time.monotonic()
        accounts, beats = list(self.accounts.items()), list(self.workers.items())
        minutes, refuse = list(self.minutes.values()), self.refusals.refuse
        ledger = await asyncio.to_thread(Ledger.restored, accounts, beats, refuse=refuse)
        history = await asyncio.to_thread(History.restored, minutes, refuse=refuse)
        found = {}
        if catch_up is not None:
            meter, held = self.settings.meter, dict(accounts)

            def usage(records: Records) -> int:
                # Most are known, and need not be decoded: an account's value begins with its record.
                new = [
                    value for key, value in records
                    if key not in ledger.accounts or not held.get(key, b"").startswith(b"%b\n" % (value or b""))
                ]  # fmt: skip
                return self._post_values(ledger, new, live=False)

            def heartbeats(records: Records) -> int:
                return self._beat_values(ledger, [value for _, value in records], live=False)

            for topic, read in ((meter.usage_topic, usage), (meter.heartbeat_topic, heartbeats)):
                found[topic] = await catch_up(topic, read, self._say)
                self._answered_s = time.monotonic()
        self._caught_up = catch_up is not None
        self.ledger, self.history = ledger, history
        self._restored_ms = time.time_ns() // 1_000_000
        self.ready = True
        self._restored.set()
        log.info(
            "books_restored",
            accounts=len(ledger.accounts),
            workers=len(ledger.beats),
            seconds=round(time.monotonic() - began, 2),
            **({"newer_in_topics": found} if found else {}),
        )

    def _say(self, what: str) -> None:
        self._why_not = what

    async def _post(self, stream: Any) -> None:
        await self._restored.wait()
        async for values in stream.take(TAKE, within=WITHIN_S):
            await self._restored.wait()
            self._post_values(self.ledger, values, live=True)

    def _post_values(self, ledger: Ledger, values: Values, *, live: bool) -> int:
        """Post usage records and store the accounts that changed; returns how many did."""
        changed = self._posting.post(ledger, values, live=live)
        for key, account in changed.items():
            self.accounts[key] = account.encode()
        return len(changed)

    async def _beat(self, stream: Any) -> None:
        await self._restored.wait()
        async for values in stream.take(TAKE, within=WITHIN_S):
            await self._restored.wait()
            self._beat_values(self.ledger, values, live=not self._is_backlog(time.time_ns() // 1_000_000))

    def _beat_values(self, ledger: Ledger, values: Values, *, live: bool) -> int:
        """Note heartbeats and store those that are news; returns how many are."""
        changed = self._posting.beat(ledger, values, live=live)
        for key, beat in changed.items():
            self.workers[key] = beat.encode()
        return len(changed)

    def _is_backlog(self, now_ms: int) -> bool:
        """Whether what is read now may have been written before the books were restored."""
        if self._caught_up:
            return False  # what had waited was read then; Faust may bring it again, and then it is not new
        waited = 0 <= now_ms - self._restored_ms <= BACKLOG_MS
        return waited and not self.ledger.has_heard_since(self._restored_ms)

    async def _listen_for_the_broker(self) -> None:
        """Ask the broker for the end of the usage topic again and again, and note when it answered."""
        while True:
            with contextlib.suppress(Exception):  # whatever it is: there was no answer, and readiness() says so
                await self.reached.ask()
                self._answered_s = time.monotonic()
            await asyncio.sleep(ASK_EVERY_S)

    async def _moment(self) -> None:
        if not self.ready:
            return
        now_ms = time.time_ns() // 1_000_000
        # While a backlog is read, many minutes' events are added within seconds: a rate over that would be made up.
        if not self._is_backlog(now_ms):
            self.ledger.note_moment(now_ms)
        new, old = self.history.note(self.ledger, now_ms)
        if new is not None:
            value = new.encode()
            if len(value) <= MOST_VALUE_BYTES:
                self.minutes[new.key] = value
        for key in old:
            self.minutes.pop(key, None)
        self.reached.note()


class _Sends(faust.Sensor):  # type: ignore[misc]  # Faust has no types
    """Hears of writes to the changelogs that failed."""

    def __init__(self, restoring: Restoring) -> None:
        super().__init__()
        self._restoring = restoring

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        """Pass it on."""
        self._restoring.on_lost(exc)


class _Table(faust.Table):  # type: ignore[misc]  # Faust has no types
    """A table whose changelog records have no timestamp: a broker refuses those of a clock that is ahead of its own."""

    def send_changelog(
        self, partition: Any, key: Any, value: Any, key_serializer: Any = None, value_serializer: Any = None
    ) -> Any:
        """Send as Faust does."""
        return self.changelog_topic.send_soon(
            key=key,
            value=value,
            partition=partition,
            timestamp=NO_TIMESTAMP_S,
            key_serializer=key_serializer or self.key_serializer,
            value_serializer=value_serializer or self.value_serializer,
            callback=self._on_changelog_sent,
            eager_partitioning=True,
        )


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
        Table=_Table,
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
    protocol, context = options["security_protocol"], options.get("ssl_context")
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

"""Runs ``farthing ledger``: the Faust app with its pages, from the settings to the exit."""

from __future__ import annotations

import asyncio
import datetime
import io
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from faust import Worker
from mode import Service
from prometheus_client import CollectorRegistry, generate_latest

from farthing import config
from farthing.config import Settings
from farthing.errors import BrokerError, StartError
from farthing.kafka import leave_group, wait_for_coordinator
from farthing.kafka.connecting import connecting, lacks_right
from farthing.ledger.app import LedgerApp
from farthing.ledger.figures import Figures
from farthing.ledger.first_event import first_events
from farthing.ledger.price_book import load_book
from farthing.ledger.web import Pages, require_address
from farthing.process.access import Access
from farthing.process.exits import FORCED_EXIT_CODE, exit_after, exit_now
from farthing.process.failure import last_word
from farthing.process.http import admission

log = structlog.get_logger()

LEAVE_TIMEOUT_S: Final = 3.0
EXIT_TIMEOUT_S: Final = 15.0  # a clean stop takes a second or two; without a broker it may hang


def assemble(settings: Settings) -> LedgerApp:
    """Make the app with its pages. Raises ConfigError."""
    book = load_book(settings, datetime.datetime.now(datetime.UTC).date())
    ledger = LedgerApp(settings, book.prompts.keys())
    registry = CollectorRegistry()
    registry.register(Figures(ledger, book))
    pages = Pages(
        ledger.books,
        book,
        ready=ledger.readiness,
        has_books=lambda: ledger.ready,
        metrics=lambda: generate_latest(registry),
        hosts=settings.ledger.allowed_hosts,
        first_events=first_events(settings),
    )

    class Web(Service):  # type: ignore[misc]  # mode has no types
        """Serves the pages for as long as the app runs."""

        async def on_start(self) -> None:
            """Listen."""
            host, port = await pages.listen(settings.ledger.host, settings.ledger.port, _access(settings))
            log.info("ledger_listening", url=f"{_access(settings).scheme}://{host}:{port}")

        async def on_stop(self) -> None:
            """Stop listening."""
            await pages.close()

    ledger.app.service(Web)

    async def before_shutdown(*_: object, **__: object) -> None:
        """Faust waits for brokers without a limit."""
        why = "the broker is gone, or it was just joining its group"
        exit_after(EXIT_TIMEOUT_S, FORCED_EXIT_CODE, f"the ledger did not stop within {EXIT_TIMEOUT_S:.0f} s: {why}")
        await _leave_at_once(ledger, ledger.app.crash_reason)

    ledger.app.on_before_shutdown.connect(before_shutdown, weak=False)
    return ledger


def _leave_after(worker: Any, ledger: LedgerApp) -> None:
    """End with the error of the start, if it is one: Faust itself would end as after a signal."""
    started = worker._starting_fut
    if started.done() and not started.cancelled() and isinstance(error := started.exception(), Exception):
        worker.loop.run_until_complete(_leave_at_once(ledger, error))


def run(settings: Settings) -> int:
    """Run the ledger until a signal; returns the exit code.

    Raises
    ------
    ConfigError
        A setting is not valid; nothing was started.
    StartError, BrokerError
        The address cannot be bound, ``ledger.data_dir`` cannot be written, or no broker answers within
        ``kafka.request_timeout_ms``; nothing was started. Or the user lacks a right, at the start or later.
    Exception
        A service of Faust's crashed: a bug.
    """
    ledger = assemble(settings)
    log.info("ledger_starting", note="joins its consumer group, then restores the books: up to a minute")
    # A loop of its own that is not any thread's current one: Faust needs that.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_require(settings))
    finally:
        loop.close()
    worker: Any = Worker(
        ledger.app, loglevel="WARN", quiet=True, redirect_stdouts=False, override_logging=False, stderr=io.StringIO()
    )  # mode prints a traceback of any crash to the standard error that it is given
    worker.on_worker_shutdown = partial(_leave_after, worker, ledger)
    worker.spinner = None  # it writes terminal codes even into a file
    try:
        worker.execute_from_commandline()
    except SystemExit as error:  # mode ends every run this way
        crash = worker.crash_reason or error.__context__
        if error.code and isinstance(crash, Exception):
            _raise_lack_of_right(crash, settings)
            raise crash from None
        return int(error.code or 0) if isinstance(error.code, int | None) else 1
    return 0


async def _require(settings: Settings) -> None:
    """Check before Faust starts, because it ends any start that fails with a traceback and exit code 1."""
    admission(settings.ledger.host, section="ledger", access=_access(settings))
    await require_address(settings.ledger.host, settings.ledger.port)
    _require_folder(settings.ledger.data_dir)
    await wait_for_coordinator(settings.kafka, settings.ledger.app_id)


def _access(settings: Settings) -> Access:
    ours = settings.ledger
    return Access(ours.token_file, ours.allow_anonymous, (), ours.tls_certfile, ours.tls_keyfile)


def _require_folder(folder: Path) -> None:
    """Raise StartError unless a file can be written there: Faust makes its folders with any store."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4_096)
    except OSError as error:
        raise StartError(
            f"ledger.data_dir = {str(folder)!r}: it cannot be written ({error.strerror}); make room or name another "
            "folder. The books are in Kafka, so no book is lost"
        ) from error


def __getattr__(name: str) -> Any:
    if name == "app":  # for `faust -A farthing.ledger.run worker`
        globals()["app"] = assemble(config.load(config.named_file()).settings).app
        return globals()["app"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


async def _leave_at_once(ledger: LedgerApp, error: BaseException | None = None) -> None:
    """End before the books are here: nothing was written, and Faust would wait for its group.

    ``error`` is why the start failed; None after a signal.
    """
    if ledger.ready:
        return
    if error is None:
        log.info("stopped_while_joining", note="the books had not been restored")
    member = ledger.reached.member_id
    if member:
        try:
            await leave_group(ledger.settings.kafka, ledger.settings.ledger.app_id, member, LEAVE_TIMEOUT_S)
        except BrokerError as why:
            log.warning("group_not_left", error=str(why), note="the next start waits until the session has timed out")
    exit_now(0 if error is None else _last_word(error, ledger.settings))


def _last_word(error: BaseException, settings: Settings) -> int:
    """Say why the start failed; returns the exit code."""
    try:
        _raise_lack_of_right(error, settings)
    except BrokerError as known:
        return last_word(known)
    return last_word(error)


def _raise_lack_of_right(error: BaseException, settings: Settings) -> None:
    """Raise BrokerError if what crashed Faust is a right that is missing: that is no bug."""
    if lacks_right(error):
        with connecting(settings.kafka):
            raise error

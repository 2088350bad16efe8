"""``farthing ledger``: the Faust app with its pages, from the settings to the exit."""

from __future__ import annotations

import datetime
import os
import threading
from pathlib import Path
from typing import Any, Final

import structlog
from faust import Worker
from mode import Service
from prometheus_client import CollectorRegistry, generate_latest

from farthing.config import Settings
from farthing.errors import ConfigError
from farthing.ledger.app import LedgerApp
from farthing.ledger.figures import Figures
from farthing.ledger.statement import Book
from farthing.ledger.web import Pages
from farthing.meter.calibration import read_export
from farthing.meter.facts import load_facts
from farthing.meter.prices import PriceList
from farthing.meter.prompts import load_prompts

log = structlog.get_logger()

EXIT_TIMEOUT_S: Final = 15.0  # a stop in good order takes a second or two; only without a broker does it hang
FORCED_EXIT_CODE: Final = 3


def load_book(settings: Settings, day: datetime.date) -> Book:
    """Read what dollars are made from: prices of ``day``, providers' terms, prompts, the bill.

    Raises
    ------
    ConfigError
        A file that the settings name cannot be read, or says what cannot be.
    """
    meter = settings.meter
    prices = PriceList(day, meter.price_file)
    export = _text(meter.usage_export, "meter.usage_export")
    bill = None
    if export is not None and meter.usage_export is not None:
        provider = meter.compare_with[0].partition(":")[0]
        bill = read_export(export, meter.usage_export.name, provider, prices)
    system_text = _text(meter.system_prompt_file, "meter.system_prompt_file")
    return Book(meter, prices, load_facts(meter.facts_file), load_prompts(), system_text, bill)


def _text(path: Path | None, setting: str) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} = {str(path)!r}: cannot be read ({error}); fix the path") from error


def assemble(settings: Settings) -> LedgerApp:
    """Make the app and hang its pages on it. Raises ConfigError."""
    book = load_book(settings, datetime.datetime.now(datetime.UTC).date())
    ledger = LedgerApp(settings, book.prompts.keys())
    registry = CollectorRegistry()
    registry.register(Figures(ledger, book))
    pages = Pages(
        ledger.books,
        book,
        ready=ledger.readiness,
        metrics=lambda: generate_latest(registry),
        hosts=settings.ledger.allowed_hosts,
    )

    class Web(Service):  # type: ignore[misc]  # mode has no types
        """Serves the pages for as long as the app runs."""

        async def on_start(self) -> None:
            """Listen."""
            host, port = await pages.listen(settings.ledger.host, settings.ledger.port)
            log.info("ledger_listening", url=f"http://{host}:{port}")

        async def on_stop(self) -> None:
            """Stop listening."""
            await pages.close()

    ledger.app.service(Web)
    ledger.app.on_before_shutdown.connect(_force_exit_in_time)
    return ledger


def run(settings: Settings) -> int:
    """Run the ledger until a signal; returns the exit code.

    Raises
    ------
    ConfigError
        A setting makes no sense; nothing was started.
    """
    ledger = assemble(settings)
    worker: Any = Worker(ledger.app, loglevel="WARN", quiet=True, redirect_stdouts=False, override_logging=False)
    try:
        worker.execute_from_commandline()
    except SystemExit as error:  # mode ends every run this way
        return int(error.code or 0) if isinstance(error.code, int | None) else 1
    return 0


def _force_exit_in_time(*_: object, **__: object) -> None:
    """End the process whatever hangs: Faust waits for brokers without a limit."""

    def give_up() -> None:
        log.error("exit_forced", after_s=EXIT_TIMEOUT_S)
        os._exit(FORCED_EXIT_CODE)

    timer = threading.Timer(EXIT_TIMEOUT_S, give_up)
    timer.daemon = True
    timer.start()

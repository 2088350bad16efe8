"""Runs ``farthing doctor``: every check within its time, at once where it can be, and then a table."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from farthing.config import with_file
from farthing.doctor import bundles, topics, transactions
from farthing.doctor.checks import Row, counted, failed, passed, skipped, within
from farthing.doctor.clock import clock
from farthing.doctor.machine import machine
from farthing.doctor.money import prices
from farthing.doctor.reaching import REACHING_ERRORS, login, servers, tls, versions
from farthing.errors import ConfigError
from farthing.kafka import is_only_a_mark
from farthing.kafka.looking import LOOK_ERRORS, BrokerLook, Cluster
from farthing.process.exits import exit_after
from farthing.process.output import finish, report_console, write_json
from farthing.sections import Settings
from farthing.serving.accounting import carries_a_total

REQUEST_TIMEOUT_S: Final = 4.0
ALL_TIMEOUT_S: Final = 14.0
END_TIMEOUT_S: Final = 1.0
FAILED_EXIT_CODE: Final = 3
STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


async def run(settings: Settings, *, as_json: bool, given: Path | None = None) -> int:
    """Look at everything and print it; returns 0 if nothing has failed, else 3.

    ``given`` is the settings file that mends are to name.
    """
    rows = [replace(row, mend=with_file(row.mend, given)) for row in await examine(settings)]
    say(rows, report_console(as_json=as_json))
    if as_json:
        write_json({"ok": passed(rows), "checks": [row.as_dict() for row in rows]})
    code = 0 if passed(rows) else FAILED_EXIT_CODE
    finish()
    exit_after(END_TIMEOUT_S, code, "a name server or a disk does not answer: ended without waiting for it")
    return code


async def examine(settings: Settings) -> list[Row]:
    """Run all checks; :data:`ALL_TIMEOUT_S` at most, whatever does not answer."""

    async def here() -> list[Row]:
        today = datetime.datetime.now(datetime.UTC).date()
        return await asyncio.to_thread(lambda: machine(settings) + prices(settings, today))

    keys = settings.model.trusted_keys
    bundle_checks = [
        within(f"bundle of {route.source}", partial(bundles.bundle, route, keys), (OSError,), seconds=ALL_TIMEOUT_S)
        for route in settings.route
    ]
    broker_rows, here_rows, *bundle_rows = await asyncio.gather(
        _brokers(settings), within("machine", here, (OSError,), seconds=ALL_TIMEOUT_S), *bundle_checks
    )
    found = [row for rows in bundle_rows for row in rows] or [bundles.no_route()]
    return [*broker_rows, *found, *here_rows]


async def _brokers(settings: Settings) -> list[Row]:
    try:
        kafka = settings.kafka.for_worker(0 if settings.worker.workers > 1 else None)
        look = BrokerLook(kafka, timeout_s=REQUEST_TIMEOUT_S)
    except ConfigError as error:
        found, _, mend = str(error).partition("; ")
        return [failed("client", found, mend)]
    rows: list[Row] = []
    try:
        await asyncio.wait_for(_step_by_step(settings, look, rows), ALL_TIMEOUT_S)
    except TimeoutError:
        rows.append(
            failed("brokers", f"not all answers came within {ALL_TIMEOUT_S:.0f} s", "look at the brokers' load")
        )
    finally:
        await look.close()
    return rows


async def _step_by_step(settings: Settings, look: BrokerLook, rows: list[Row]) -> None:
    """Add to ``rows`` what is found on the way to the brokers and, if there is a way, inside."""
    kafka = settings.kafka
    reached, secured = await asyncio.gather(
        within("broker", lambda: servers(kafka), REACHING_ERRORS), within("tls", lambda: tls(kafka), REACHING_ERRORS)
    )
    rows += reached + secured
    if not any(row.state == "ok" for row in reached) or not passed(secured):
        rows.append(skipped("login, topics, group", "no broker can be asked"))
        return
    rows += await login(kafka, look)
    if not passed(rows[-1:]):
        rows.append(skipped("topics, group", "no broker lets this client in"))
        return
    rows += await _inside(settings, look)


async def _inside(settings: Settings, look: BrokerLook) -> list[Row]:
    """Check what only a client that is connected can ask."""
    used = topics.uses(settings)

    async def of_topics() -> list[Row]:
        cluster = await look.cluster({use.topic for use in used})
        rows = [topics.existence(use, cluster) for use in used] + topics.idempotence(settings, cluster)
        limits, times = await asyncio.gather(
            within("limits", lambda: _limits(settings, look, cluster), LOOK_ERRORS),
            within("clock", lambda: clock(lambda ms: look.newer_than(cluster, ms), _now_ms), LOOK_ERRORS),
        )
        return rows + limits + times

    async def of_group() -> list[Row]:
        rows = topics.group(settings, await look.group())
        return rows + (await _committed(settings, look) if passed(rows) else [])

    async def of_transactions() -> list[Row]:
        if settings.kafka.delivery != "exactly_once":
            return []
        checks = (transactions.transactional_id, transactions.longest)
        return [row for rows in await asyncio.gather(*(one(settings.kafka, look) for one in checks)) for row in rows]

    checks = await asyncio.gather(
        within("versions", lambda: versions(look), LOOK_ERRORS),
        within("topics", of_topics, LOOK_ERRORS),
        within("group", of_group, LOOK_ERRORS),
        within("transactions", of_transactions, LOOK_ERRORS),
    )
    return [row for rows in checks for row in rows]


async def _limits(settings: Settings, look: BrokerLook, cluster: Cluster) -> list[Row]:
    there = [use for use in topics.uses(settings) if getattr(cluster.topics.get(use.topic), "partitions", 0)]
    configs, errors = await look.configs([use.topic for use in there]) if there else ({}, {})
    rows: list[Row] = []
    for use in there:
        if use.topic in configs:
            rows += topics.limits(use, cluster.topics[use.topic], configs[use.topic], settings)
        else:
            why = f"cannot tell: this client may not see its settings (Kafka's error {errors.get(use.topic, 0)})"
            rows.append(skipped(f"limits of {use.topic}", why, "grant DESCRIBE_CONFIGS to see them here"))
    return rows


async def _committed(settings: Settings, look: BrokerLook) -> list[Row]:
    cluster = await look.cluster({route.source for route in settings.route})
    found = await look.committed(sorted(cluster.leaders))
    good = [not text or is_only_a_mark(text) or carries_a_total(text, at) for at, text in found.values()]
    return topics.committed(found, good)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def say(rows: Sequence[Row], console: Console) -> None:
    """Print a table in a terminal, and a line for each row elsewhere."""
    if console.is_terminal:
        table = Table("", "check", "found", box=None, pad_edge=False)
        for row in rows:
            mend = f"\n[{STYLES[row.state]}]-> {escape(row.mend)}[/]" if row.mend and row.state != "ok" else ""
            table.add_row(f"[{STYLES[row.state]}]{row.state}[/]", escape(row.check), escape(row.found) + mend)
        console.print(table)
    else:
        for row in rows:
            mend = f"; {row.mend}" if row.mend else ""
            console.print(
                f"{row.state:<8}{row.check}: {row.found}{mend}", highlight=False, markup=False, soft_wrap=True
            )
    console.print(f"{len(rows)} checks: {counted(rows)}", highlight=False, soft_wrap=True)

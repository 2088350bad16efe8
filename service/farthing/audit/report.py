"""Runs ``farthing audit``: asks the ledger, reads the topics, and says whether they agree."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from farthing.audit.compare import LEDGER, Compared, LedgerCount, compare, counted_to
from farthing.audit.recount import Recount
from farthing.audit.without_ledger import Books, books_of_topic
from farthing.config import RouteSettings, Settings
from farthing.errors import ConfigError, StartError
from farthing.kafka import TopicReader
from farthing.ledger.client import ask
from farthing.process.output import report_console, safe, write_json
from farthing.sections import shared_topics

SHOWN = 20


async def run(settings: Settings, *, ledger: str | None, as_json: bool) -> int:
    """Audit every route; returns the exit code.

    It is 0 if they agree, 1 if not or if events were lost, 4 if something cannot be compared.

    Without a ledger the workers' own totals in the usage topic stand for its books. Without those either, the topics
    are recounted, and it says that there is nothing to compare them with.

    Raises
    ------
    ConfigError
        Routes share a dead-letter topic, or what answers at the address is not a ledger.
    BrokerError
        The broker cannot be reached.
    DecodeError
        A record batch cannot be read.
    """
    _require_own_topics(settings.route)
    scheme = "http" if settings.ledger.tls_certfile is None else "https"
    address = ledger or f"{scheme}://{_reachable(settings.ledger.host)}:{settings.ledger.port}"
    # The ledger comes first: what it has counted is in the topics already, however much is scored meanwhile.
    try:
        found = await asyncio.to_thread(_accounts, address, settings.ledger.token_file)
        books = Books(found, f"compared with the ledger at {address}", name=LEDGER)
    except StartError as error:
        books = await books_of_topic(settings, str(error).partition(";")[0])
    accounts = books.counts
    compared: list[Compared] = []
    for route in settings.route:
        compared += await _audit(settings, route, books)
    console = report_console(as_json=as_json)
    if accounts is None:
        _say_recount(compared, books.source, console)
    else:
        _say(compared, books.name, console)
        if books.name != LEDGER:
            console.print(books.source, style="yellow", highlight=False, markup=False)
    others = {a.topic for a in accounts or ()} - {route.source for route in settings.route}
    if others:
        said = f"not audited, no route reads it: {', '.join(sorted(others))}"
        console.print(safe(said), highlight=False, markup=False)
    if books.refused:
        console.print(f"{books.refused:,} records of the usage topic cannot be read, and are left out", style="yellow")
    if as_json:
        write_json({
            **_as_json(compared, agrees=accounts is not None), "books": books.source, "recounted_only": accounts is None
        })  # fmt: skip
    if any(one.findings or one.lost for one in compared):
        return 1
    return 4 if accounts is None or any(one.unknown for one in compared) else 0


def _accounts(address: str, token_file: Path | None) -> list[LedgerCount]:
    body = ask(address, "/api/accounts", token_file)
    try:
        return [LedgerCount.read(one) for one in body]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--ledger {address}: /api/accounts is not as this Farthing reads it ({type(error).__name__}: {error}); "
            "is that the address of a `farthing ledger` of the same version?"
        ) from error


async def _audit(settings: Settings, route: RouteSettings, books: Books) -> list[Compared]:
    accounts = None if books.counts is None else [a for a in books.counts if a.topic == route.source]
    recount = Recount(route.sink, route.dead_letters, None if accounts is None else counted_to(accounts))
    # Whatever workers read: aborted scores are none.
    kafka = settings.kafka.model_copy(update={"isolation_level": "read_committed"})
    reader = TopicReader(kafka, recount.topics)
    try:
        await reader.start()
        deleted: dict[int, str] = {}
        for (topic, partition), begin in reader.begins.items():
            if begin:
                deleted[partition] = (
                    f"{topic}[{partition}] begins at offset {begin}: retention has deleted what came before, so it "
                    "cannot be recounted; keep answers longer (retention.ms, retention.bytes) or audit sooner"
                )
        async for part in reader.read():
            await asyncio.to_thread(recount.read, part)
    finally:
        await reader.close()
    return compare(route.source, accounts, recount.outcomes, deleted, books.name)


def _require_own_topics(routes: Sequence[RouteSettings]) -> None:
    shared = shared_topics(routes)
    if shared:
        raise ConfigError(
            f"route: several routes write to {', '.join(shared)}; their letters cannot be told apart, so give each "
            "route a dead-letter topic of its own, or audit a settings file with one of them"
        )


def _reachable(host: str) -> str:
    """Return the name to connect to for an address that a server listens on."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{name}]" if ":" in name else name


def _say(compared: Sequence[Compared], books: str, console: Console) -> None:
    wrong = [one for one in compared if one.findings]
    unknown = [one for one in compared if one.unknown]
    for one in wrong[:SHOWN]:
        for finding in one.findings:
            console.print(safe(f"{_place(one)}: {finding}"), style="red", highlight=False, markup=False)
    if len(wrong) > SHOWN:
        console.print(f"and {len(wrong) - SHOWN} more partitions", style="red", highlight=False)
    for one in unknown[:SHOWN]:
        console.print(f"{_place(one)}: {one.unknown}", style="yellow", highlight=False, markup=False)
    if len(unknown) > SHOWN:
        console.print(f"and {len(unknown) - SHOWN} more partitions", style="yellow", highlight=False)
    for one in compared:
        if one.lost:
            said = f"{_place(one)}: {one.lost:,} events were deleted by retention before they were scored"
            console.print(said, style="red", highlight=False, markup=False)
    total = _totals(compared)
    if wrong:
        console.print(
            f"{books} and the topics disagree: {total['ledger_scored']:,} scored and {total['ledger_dead']:,} dead "
            f"in {books}, {total['scored']:,} and {total['dead']:,} in the topics",
            highlight=False,
        )
    else:
        agreed = _totals([one for one in compared if not one.unknown])
        partitions = len({(one.topic, one.partition) for one in compared if not one.unknown})
        console.print(
            f"{books} and the topics agree: {agreed['scored']:,} events scored and {agreed['dead']:,} dead in "
            f"{partitions} partition{'' if partitions == 1 else 's'}",
            highlight=False,
        )
    notes = (
        ("repeats", "written again after a crash or a rebalance, counted once"),
        ("later", "answers to events that the books have not reached yet"),
        ("foreign", "records that Farthing did not write"),
        ("skipped_batches", "whole batches that could not be read, no event of which was counted"),
    )
    for name, note in notes:
        if total[name]:
            console.print(f"{total[name]:,} {note}", style="dim", highlight=False)


def _say_recount(compared: Sequence[Compared], why: str, console: Console) -> None:
    total = _totals(compared)
    for one in compared:
        for finding in one.findings:
            console.print(safe(f"{_place(one)}: {finding}"), style="red", highlight=False, markup=False)
    partitions = len({(one.topic, one.partition) for one in compared})
    console.print(
        f"recounted: {total['scored']:,} events scored and {total['dead']:,} dead in {partitions} partitions, "
        f"{total['repeats']:,} written again, {total['foreign']:,} records that Farthing did not write",
        highlight=False,
    )
    console.print(f"not compared with any books: {why}", style="yellow", highlight=False, markup=False)
    note = (
        "whether events are missing cannot be told: start `farthing ledger`, give --ledger, or check meter.usage_topic"
    )
    console.print(note, style="yellow", highlight=False, markup=False)


def _place(one: Compared) -> str:
    return f"{one.topic}[{one.partition}]" + (f" (log {one.log}, the topic was created again)" if one.log else "")


def _totals(compared: Sequence[Compared]) -> Counter[str]:
    names = ("ledger_scored", "ledger_dead", "scored", "dead", "repeats", "later", "foreign", "skipped_batches", "lost")
    return Counter({name: sum(getattr(one, name) for one in compared) for name in names})


def _as_json(compared: Sequence[Compared], *, agrees: bool) -> dict[str, Any]:
    return {
        "agrees": agrees and not any(one.findings or one.unknown or one.lost for one in compared),
        **_totals(compared),
        "partitions": [one.as_dict() for one in compared],
    }

"""The books balance: two million events, a worker killed twice, the ledger killed, a usage record lost; then everything is recounted.

``pytest --campaign -s tests/campaigns/test_books_balance.py``
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from farthing.local.comments import comment_events
from tests.ledger.running import RunningLedger
from tests.meter.recount import nano_dollars, recount
from tests.serving.running import SESSION_TIMEOUT_MS, Service, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.campaign]

SLICES, SLICE = 20, 100_000
PARTITIONS = 4
BAD = [b"not JSON", b'{"id":1}', b'{"text":5,"lang":"xx"}', b"[1]"]
DROPPED = 7  # which usage record of those that pass is lost
BYTES_PER_TOKEN, SYSTEM = 4, 213
FRAMING, ANSWER = (4, 8, 12), (1, 5, 15)  # of the shipped prompt: low, middle, high
PRICES = {"openai:gpt-5-nano": ("0.05", "0.4")}  # dollars a million tokens, in and out, from the provider's page
FACTS = """
[bytes_per_token]
source = "fixed for this test"
date = 2026-11-24
"""
TOKENIZER = """
[[tokenizer]]
models = ["openai:*"]
name = "fixed"
factor = [1, 1, 1]
source = "fixed for this test"
date = 2026-11-24
certain = true
"""


@contextlib.asynccontextmanager
async def passing_on(servers, source, target, lost):
    """Copy usage records from the workers' topic to the ledger's, all but one."""
    consumer = AIOKafkaConsumer(source, bootstrap_servers=servers, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await consumer.start()
    await producer.start()
    count = 0

    async def copy():
        nonlocal count
        async for record in consumer:
            count += 1
            if count == DROPPED:
                lost.append(record.value)
                continue
            await producer.send_and_wait(target, record.value, key=record.key, partition=0)

    task = asyncio.create_task(copy())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await consumer.stop()
        await producer.stop()


def classes_of(events):
    """Size classes of the texts, four an octave, as [(calls, bytes)]: by other code than the meter's."""
    found = {}
    for value, times in events.items():
        try:
            text = json.loads(value)["text"]
            size = len(text.encode())
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        octave = max(size.bit_length() - 3, 0)
        at = octave, size >> octave
        calls, total = found.get(at, (0, 0))
        found[at] = calls + times, total + times * size
    return list(found.values())


async def test_two_million_events_balance_to_the_nano_dollar(apache_kafka, tmp_path, monkeypatch, capsys):
    facts = tmp_path / "facts.toml"
    facts.write_text(FACTS + same_for_all_scripts() + TOKENIZER)
    monkeypatch.setenv("FARTHING_METER__FACTS_FILE", str(facts))
    monkeypatch.setenv("FARTHING_METER__SYSTEM_PROMPT_TOKENS", str(SYSTEM))
    ledger = RunningLedger(apache_kafka, tmp_path)
    told = f"told.{ledger.name}"
    service = Service(
        apache_kafka, tmp_path, partitions=PARTITIONS, workers=2, route={"tenant": "lang"},
        extra=f'[meter]\nusage_topic = "{told}"\nheartbeat_topic = "{ledger.heartbeats}"\n',
        kafka={"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 1_000},
        worker={"commit_interval_ms": 1_000},
    )  # fmt: skip
    lost, killed, pool = [], [], [*comment_events(19_980, seed=7), *BAD * 5]
    await ledger.create_topics()
    await service.create_topics()
    ledger.start()
    service.start()
    began = time.monotonic()
    try:
        await service.ready()
        await ledger.ready()
        async with passing_on(service.servers, told, ledger.usage, lost):
            for number in range(SLICES):
                await service.send(pool * (SLICE // len(pool)), batch_records=1_000)
                if number in (5, 13):
                    # Scoring goes on while this is looked at: the worker dies in the middle of its work.
                    pid = service.worker_pids()[0]  # the second time it is the one started in its place
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                if number == 9:
                    ledger.kill()
                if number == 11:
                    ledger.start()
            await service.all_committed(timeout_s=240)
            assert service.stop() == 0
            await ledger.ready()
            done = SLICES * SLICE
            await eventually(
                lambda: sum(s + d for _, s, d, _ in (ledger.books() or {}).values()) == done, 120, ledger.tail
            )
        scored_s = time.monotonic() - began

        audited = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "farthing", "audit", "-c", str(service.config), "--json",
             "--ledger", f"http://127.0.0.1:{ledger.port}"],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        audit_s = time.monotonic() - began - scored_s
        assert audited.returncode == 0, audited.stderr
        said = json.loads(audited.stdout)
        times = SLICES * SLICE // len(pool)
        events = Counter(pool)
        classes = [(calls * times, size * times) for calls, size in classes_of(events)]
        scored = sum(calls for calls, _ in classes)
        assert (said["scored"], said["dead"]) == (scored, done - scored)
        assert (said["later"], said["foreign"]) == (0, 0)
        assert said["repeats"] > 0  # the kills hit work that was not committed
        assert len(lost) == 1
        assert len(set(killed)) == 2

        for model, (price_in, price_out) in PRICES.items():
            status, text = ledger.get(f"/api/statement?window=all&model={model}&mode=naive")
            assert status == 200, text
            statement = json.loads(text, parse_float=Decimal, parse_int=Decimal)
            for estimate, framing, answer in zip(("low", "mid", "high"), FRAMING, ANSWER, strict=True):
                expected = recount(classes, BYTES_PER_TOKEN, SYSTEM, framing, answer, price_in, price_out)
                assert statement["avoided_usd"][estimate] == nano_dollars(expected)
        tenants = {one["tenant"]: one["scored"] for one in statement["tenants"]}
        languages = Counter()
        for value, n in events.items():
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                body = json.loads(value)
                languages[body["lang"]] += n * times * isinstance(body["text"], str)
        assert tenants == {**{name: n for name, n in languages.items() if n}, **other(tenants)}
        with capsys.disabled():
            print(
                f"\nbooks balance: {done:,} events, {said['repeats']:,} repeats, avoided "
                f"${statement['avoided_usd']['mid']:,} on {model}; {scored_s:.0f} s, audit {audit_s:.1f} s"
            )
    finally:
        service.end()
        ledger.stop()


def same_for_all_scripts():
    """A line for each script that the meter knows: the same ratio for all."""
    from farthing.meter.facts import BytesPerToken

    names = [name for name in BytesPerToken.model_fields if name not in ("source", "date", "certain")]
    return "".join(f"{name} = [{BYTES_PER_TOKEN}, {BYTES_PER_TOKEN}, {BYTES_PER_TOKEN}]\n" for name in names)


def other(tenants):
    """What is told of events that name no tenant: dead ones only, here."""
    return {"other": 0} if "other" in tenants else {}

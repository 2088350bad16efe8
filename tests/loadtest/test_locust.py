"""Real runs of the locustfile on Apache Kafka against ``farthing serve``: every count agrees with every other."""

import asyncio
import importlib.util
import json
import signal
import urllib.request
from pathlib import Path

import pytest

from farthing.local.process import free_port

from ..serving.running import eventually
from .running import LOCUSTFILE, Run

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(
        importlib.util.find_spec("locust") is None, reason="Locust is not installed: pip install -e '.[loadtest]'"
    ),
]
LENIENT = ("--late-ms", 2_000)  # other work on the machine is not what these tests are about


@pytest.fixture
async def service(apache_kafka, make_service):
    one = make_service(apache_kafka)
    await one.create_topics()
    one.start()
    await one.ready()
    return one


async def recount(service):
    """Records of the score and the dead-letter topic, read by another client."""
    scores = sum((await service.ends(service.sink)).values())
    dead = sum((await service.ends(service.dead)).values())
    assert len(await service.read(service.sink, scores)) == scores
    assert len(await service.read(service.dead, dead)) == dead
    return scores, dead


async def test_all_counts_of_a_run_agree(service, tmp_path):
    options = ("-u", 4, "-t", "3s", "--events-per-second", 2_000, "--batch-events", 100, "--malformed-share", 0.05)
    run = Run(service, tmp_path, *options, *LENIENT, "ModerationUser")
    assert await run() == 0, run.said()
    summary, rows = run.summary, run.rows()
    told = summary["routes"][service.source]
    assert summary["passed"] and told["failed"] == told["repeated"] == told["foreign"] == 0
    sent = told["sent"]
    assert 0.5 * 3 * 4 * 2_000 < sent < 2 * 3 * 4 * 2_000
    assert sent == told["acked"] == told["scored"] + told["dead"] == sum((await service.ends(service.source)).values())
    assert abs(told["dead"] - sent * 0.05) < 100
    assert await recount(service) == (told["scored"], told["dead"])
    for outcome in ("scored", "dead"):
        await eventually(
            lambda o=outcome: service.metric("farthing_events_total", outcome=o) == told[o], 10, service.said
        )
    # Locust's own summary: one row for what was sent, two for what came back, with end-to-end latencies.
    assert int(rows["produce", service.source]["Request Count"]) == told["batches"] == sent // 100
    assert int(rows["score", service.sink]["Request Count"]) == told["scored"]
    assert int(rows["dead", service.dead]["Request Count"]) == told["dead"]
    assert int(rows["", "Aggregated"]["Request Count"]) == told["batches"]
    assert 0 < float(rows["score", service.sink]["99%"]) < 60_000
    assert 100 < float(rows["produce", service.source]["Average Content Size"]) / 100 < 300
    assert service.sink in (tmp_path / "run.html").read_text()


async def test_the_csv_has_the_last_batches_however_seldom_locust_writes_it(service, tmp_path):
    """Locust's documentation has people set that interval in their locustfile."""
    seldom = tmp_path / "seldom.py"
    seldom.write_text(
        f"import sys\n\nsys.path.insert(0, {str(LOCUSTFILE.parents[1])!r})\n"
        "import locust.stats\nfrom loadtest.locustfile import *\n\nlocust.stats.CSV_STATS_INTERVAL_SEC = 4\n"
    )
    options = ("-u", 1, "-t", "3s", "--events-per-second", 500, "--batch-events", 50, *LENIENT, "ModerationUser")
    run = Run(service, tmp_path, *options)
    run.command[run.command.index(str(LOCUSTFILE))] = str(seldom)
    assert await run() == 0, run.said()
    rows, told = run.rows(), run.summary["routes"][service.source]
    assert int(rows["produce", service.source]["Request Count"]) == told["batches"] > 10
    assert int(rows["score", service.sink]["Request Count"]) == told["scored"] > 500


async def test_a_run_fails_when_it_saturates_when_events_are_lost_and_when_the_target_is_missed(
    apache_kafka, make_service, tmp_path
):
    """Nobody scores, and one user is asked for more than a core can send. Stopped from outside, it is judged too."""
    service = make_service(apache_kafka)
    await service.create_topics()
    options = ("-u", 1, "-t", "60s", "--events-per-second", 20_000_000, "--drain-s", 0.5, "--target-p99-ms", 50)
    run = Run(service, tmp_path, *options, "--late-ms", 100, "ModerationUser")
    run.start()
    try:
        await eventually(lambda: "All users spawned" in run.log.read_text(), 60, run.said)
        await asyncio.sleep(1.5)
        run.process.send_signal(signal.SIGTERM)
        assert await run.wait() == 1, run.said()
    finally:
        run.end()
    late, lost, target = run.summary["reasons"]
    told = run.summary["routes"][service.source]
    assert "saturated" in late and "the target is 50 ms" in target
    assert f"{told['acked']} of {told['acked']} acknowledged events" in lost
    assert all(reason in run.log.read_text() for reason in (late, lost, target))
    # What it says that it sent is what is there, although it was stopped in the middle of a batch.
    assert told["sent"] == told["acked"] == sum((await service.ends(service.source)).values()) > 0


async def test_a_master_and_two_workers_agree_with_the_topics_and_the_page_shows_it(service, tmp_path):
    master_port, web_port = free_port(), free_port()
    options = (
        "-u", 4, "-t", "3s", "--events-per-second", 1_000, "--batch-events", 50, *LENIENT, "--malformed-share", 0.02,
        "ModerationUser",
    )  # fmt: skip
    master = Run(
        service, tmp_path, *options, "--master", "--master-bind-port", master_port, "--expect-workers", 2, "--autostart",
        "--autoquit", 5, "--web-host", "127.0.0.1", "--web-port", web_port, "--worker-metrics",
        f"http://127.0.0.1:{service.port}/metrics", name="master",
    )  # fmt: skip
    master.command.remove("--headless")
    workers = [Run(service, tmp_path, name=f"worker{k}") for k in range(2)]
    for worker in workers:
        worker.command = [*worker.command[:5], "--worker", "--master-port", str(master_port)]
        worker.command += ["--farthing-config", str(service.config)]

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{web_port}{path}", timeout=10) as answer:
            return answer.read().decode()

    try:
        for run in (master, *workers):
            run.start()
        await eventually(lambda: Path(f"{master.stem}.json").exists(), 90, master.said)
        dead = f"{sum(told['dead'] for told in master.summary['routes'].values()):,}"
        await eventually(lambda: dead in get("/farthing"), 4, lambda: get("/farthing"))
        page, figures = get("/"), json.loads(get("/farthing"))["figures"]
        (extended,) = json.loads(get("/stats/requests"))["extended_stats"]
        assert await master.wait() == 0, master.said()
        assert [await worker.wait() for worker in workers] == [0, 0], workers[0].said()
    finally:
        for run in (master, *workers):
            run.end()
    summary = master.summary
    told = summary["routes"][service.source]
    assert summary["passed"] and summary["generator_processes"] == 2
    assert told["sent"] == told["acked"] == sum((await service.ends(service.source)).values()) > 4_000
    assert await recount(service) == (told["scored"], told["dead"])
    rows = master.rows()
    assert int(rows["score", service.sink]["Request Count"]) == told["scored"]
    assert int(rows["produce", service.source]["Request Count"]) == told["batches"] == told["sent"] // 50
    # The tab.
    assert '"extended_tabs"' in page and '"Farthing"' in page
    assert extended["key"] == "farthing" and [row["figure"] for row in extended["data"]] == [
        row["figure"] for row in figures
    ]
    values = {row["figure"]: row["value"] for row in figures}
    assert values["Events sent"] == f"{told['sent']:,}"
    assert values["Dead letters"] == f"{told['dead']:,}" and values["Saved"] == "not connected"

"""The page's own commands: from a CSV file to scores in a topic."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from farthing.local.process import free_port

torch = pytest.importorskip("torch", reason="needs the extra distill")

pytestmark = pytest.mark.distill

MODELS = Path(__file__).parents[2] / "models"
SECTION = (MODELS / "README.md").read_text().split("## Your own task in ten minutes\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.M | re.S)
EVENTS = [
    {"id": "a", "text": "nobody can log in", "channel": "phone", "plan": "enterprise", "hours": 40},
    {"id": "b", "text": "thank you for the quick help", "channel": "chat", "plan": "free", "hours": 1},
]


def run(block, folder, environment):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def through_the_topic(servers, n):
    """Produce the events and a broken one; give what comes out, by topic."""
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for value in [*(json.dumps(event).encode() for event in EVENTS), b"{"]:
            await producer.send_and_wait("tickets", value)
    found = {"tickets.scores": [], "tickets.dead": []}
    consumer = AIOKafkaConsumer(*found, bootstrap_servers=servers, auto_offset_reset="earliest", group_id=None)
    async with consumer, asyncio.timeout(90):
        while sum(map(len, found.values())) < n:
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                found[partition.topic] += [record.value for record in records]
    return found


def test_from_a_csv_file_to_scores_in_a_topic(tmp_path, tansu):
    install, *blocks, serve = BLOCKS
    assert install.startswith("pip install -e '.[distill]' ") and "farthing serve" in serve
    (tmp_path / "models").symlink_to(MODELS)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FARTHING_KAFKA__BOOTSTRAP_SERVERS": json.dumps([tansu.bootstrap_servers]),
        "FARTHING_HTTP__PORT": str(free_port()),
    }
    run(install.split("\n", 1)[1], tmp_path, environment)  # all but pip
    shown = "".join(run(block, tmp_path, environment) for block in blocks)
    assert '"label":"urgent","model":"tickets@' in shown
    assert "channel = phone" in shown and "# tickets" in shown
    told = json.loads((tmp_path / "tickets" / "manifest.json").read_text())
    boundaries = next(f for f in told["feature_spec"]["features"] if f["kind"] == "numeric")["boundaries"]
    assert boundaries == sorted(boundaries) and len(boundaries) == 7
    assert told["evaluation"]["test"]["urgent"]["auc"]["value"] > 0.8
    *before, command = serve.strip().splitlines()
    run("\n".join(before), tmp_path, environment)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(shlex.split(command), cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            found = asyncio.run(through_the_topic(tansu.bootstrap_servers, 3))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (tmp_path / "log").read_text()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
    scores = [json.loads(value) for value in found["tickets.scores"]]
    assert sorted((s["id"], s["label"]) for s in scores) == [("a", "urgent"), ("b", "none")]  # of several partitions
    assert found["tickets.dead"] == [b"{"]

"""The command on an empty page: it is made from the settings, its event is scored, and it works as it is copied."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from farthing import Scorer
from farthing.config import RouteSettings, Settings
from farthing.ledger.first_event import event_of, first_events, sample_event
from farthing.payload import Field, FieldPlan

BUNDLES = ("moderation", "rerank", "bidding")


def settings(servers="localhost:9092", topic="events.m", **kafka):
    route = {"bundle": "moderation", "source": topic, "sink": "s", "dead_letters": "d"}
    return Settings(kafka={"bootstrap_servers": [servers], **kafka}, route=[route])


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_event_is_one_that_the_bundle_scores(bundle):
    event = sample_event(RouteSettings(bundle=bundle, source="e", sink="s", dead_letters="d"))
    (value,) = Scorer.load(bundle, verify=False).score_events([event]).values
    assert value  # a dead event has none
    assert b"'" not in event  # it stands in quotes


def test_an_event_follows_the_paths_of_the_plan():
    fields = (
        Field("id", "id", "raw"),
        Field("text", "comment.body.text", "text"),
        Field("age", "comment.age", "number"),
        Field("candidate", "found.list[*].about.title", "text"),
    )
    event = json.loads(event_of(FieldPlan(fields)))
    assert event["id"] == 1
    assert isinstance(event["comment"]["body"]["text"], str)
    assert event["comment"]["age"] == 1
    assert [list(row["about"]) for row in event["found"]["list"]] == [["title"], ["title"]]


@pytest.mark.parametrize(
    ("bundle", "fields"),
    [
        ("moderation", {"text": r"comment.the\.text"}),
        (
            "rerank",
            {"text": "found[*].body", "title": "found[*].no", "candidate_id": "found[*].id", "score": "found[*].bm25"},
        ),
    ],
)
def test_the_event_is_laid_out_as_the_route_says(bundle, fields):
    route = RouteSettings(bundle=bundle, source="e", sink="s", dead_letters="d", fields=fields)
    (value,) = Scorer.load(bundle, verify=False, fields=fields).score_events([sample_event(route)]).values
    assert value


def test_a_bundle_that_is_not_here_gets_a_text(tmp_path):
    event = sample_event(RouteSettings(bundle=str(tmp_path), source="e", sink="s", dead_letters="d"))
    assert set(json.loads(event)) == {"id", "text"}


def test_a_page_tells_no_secret_of_a_broker_with_passwords(tmp_path):
    (tmp_path / "password").write_text("canary-of-the-password")
    (first,) = first_events(
        settings(
            security_protocol="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-256", sasl_plain_username="canary-of-the-name",
            sasl_plain_password_file=str(tmp_path / "password"), allow_insecure=True,
        )
    )  # fmt: skip
    assert "canary" not in json.dumps(first.as_dict())
    assert first.command.endswith("-m farthing.ledger.first_event events.m")


@pytest.mark.kafka
@pytest.mark.parametrize("way", ["copied", "module"])
async def test_the_command_sends_the_event(way, apache_kafka, tmp_path):
    topic = f"first.{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=apache_kafka.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    (first,) = first_events(settings(apache_kafka.bootstrap_servers, topic))
    command = first.command
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if way == "module":
        command = f"python3 -m farthing.ledger.first_event {topic}"
        environment["FARTHING_CONFIG"] = str(tmp_path / "f.toml")
        (tmp_path / "f.toml").write_text(
            f'[kafka]\nbootstrap_servers = ["{apache_kafka.bootstrap_servers}"]\n'
            f'[[route]]\nbundle = "moderation"\nsource = "{topic}"\nsink = "s"\ndead_letters = "d"\n'
        )
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-c", command], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 0, done.stderr
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=apache_kafka.bootstrap_servers) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        record = await consumer.getone()
    assert record.value.decode() == first.event

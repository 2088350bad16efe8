"""``farthing doctor`` as a command: against Apache Kafka with rights and with none, and against nothing at all."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka
from tests.serving.running import Service, event

PASSWORD = "canary-51d2-secret"
JAAS = "org.apache.kafka.common.security.plain.PlainLoginModule"
PROPERTIES = {
    "auto.create.topics.enable": "true",  # it must make no topic even so
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.guarded.plain.sasl.jaas.config": f'{JAAS} required user_alice="{PASSWORD}";',
}


@pytest.fixture(scope="module")
def guarded_kafka():
    """A broker that makes topics for whoever asks, and lets alice in who may do nothing."""
    try:
        broker = ApacheKafka(listeners={"GUARDED": "SASL_PLAINTEXT"}, properties=PROPERTIES)
    except StartError as error:
        if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    with broker:
        yield broker


def farthing(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "farthing", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done


def doctor(config):
    began = time.monotonic()
    done = farthing("doctor", "-c", config, "--json")
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["ok"] == (done.returncode == 0)
    assert done.returncode in (0, 3)
    return {row["check"]: row for row in said["checks"]}, time.monotonic() - began


async def topics_of(broker):
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


@pytest.mark.kafka
async def test_a_service_in_order_one_without_topics_and_one_without_rights(guarded_kafka, tmp_path):
    service = Service(guarded_kafka, tmp_path, partitions=2)
    rows, _ = doctor(service.twin(kafka={"delivery": "exactly_once", "transaction_timeout_ms": 10_000_000}).config)
    assert "no group yet" in rows["group"]["found"]
    assert {rows[check]["state"] for check in ("group", "committed offsets", "transactional id", "versions")} == {"ok"}
    assert rows["transaction timeout"]["state"] == "failed"
    rows, _ = doctor(service.config)
    assert {rows[f"{role} {topic}"]["state"] for role, topic in roles(service)} == {"failed"}
    assert rows[f"scores {service.sink}"]["mend"] == f"run `farthing topics create -c {service.config}`"
    assert farthing("topics", "check", "-c", service.config).returncode == 1
    assert await topics_of(guarded_kafka) == set()  # nothing was made by looking

    await service.create_topics()
    service.start()
    try:
        await service.ready()
        await service.send([event(n, f"text {n}") for n in range(100)], batch_records=10)
        await service.all_committed()
        rows, _ = doctor(service.config)
        assert {check: row for check, row in rows.items() if row["state"] == "failed"} == {}
        assert "1 member," in rows["group"]["found"]
        assert "with metadata that can be read" in rows["committed offsets"]["found"]
        assert rows["clock"]["state"] == "ok"  # a heartbeat is written every second
        assert rows[f"source {service.source}"]["found"] == "2 partitions, read allowed"
        assert rows["idempotent write"]["state"] == "ok"
        assert rows[f"limits of {service.dead}"]["state"] == "warning"  # one replica, and room for short events only
        assert rows[f"bundle of {service.source}"]["state"] == "ok"
    finally:
        service.end()

    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    service.servers = guarded_kafka.addresses["GUARDED"]
    alice = service.twin(
        kafka={
            "security_protocol": "SASL_PLAINTEXT", "allow_insecure": True, "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "alice", "sasl_plain_password_file": str(secret), "delivery": "exactly_once",
        }
    )  # fmt: skip
    rows, _ = doctor(alice.config)
    assert rows["login"]["found"].startswith("connected as alice")
    for role, topic in roles(service):
        row = rows[f"{role} {topic}"]
        assert row["state"] == "failed" and "may not see it" in row["found"]
        assert f"--topic {topic}" in row["mend"]
    assert rows["transactional id"]["state"] == "failed" and "--transactional-id" in rows["transactional id"]["mend"]
    assert rows["transaction timeout"]["state"] == "skipped"
    assert rows["group"]["state"] == "failed" and f"--group {service.group}" in rows["group"]["mend"]

    secret.write_text("wrong")
    rows, seconds = doctor(alice.config)
    assert rows["login"]["state"] == "failed" and "authenticat" in rows["login"]["found"].lower()
    assert seconds < 15 + 15  # and what starting Python takes on a busy machine


def roles(service):
    return [("source", service.source), ("scores", service.sink), ("dead letters", service.dead)]


@pytest.mark.parametrize("how", ["closed", "silent", "frozen"])
def test_whatever_does_not_answer_it_ends_in_time(how, tmp_path):
    """Nobody listens; somebody listens and says nothing; a name that does not exist is like the first."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        if how != "closed":
            listening.listen(0 if how == "frozen" else 16)
        config = tmp_path / "farthing.toml"
        config.write_text(
            f'[kafka]\nbootstrap_servers = ["127.0.0.1:{port}"]\n'
            '[[route]]\nbundle = "moderation"\nsource = "e"\nsink = "s"\ndead_letters = "d"\n'
        )
        rows, seconds = doctor(config)
    failures = [row for row in rows.values() if row["state"] == "failed"]
    assert failures and all(row["mend"] for row in failures)
    assert how != "silent" or "no answer within 4 s" in rows["client"]["found"]
    assert seconds < 15 + 15


@pytest.mark.kafka
def test_a_frozen_broker(guarded_kafka, tmp_path):
    service = Service(guarded_kafka, tmp_path)
    os.kill(guarded_kafka.process.pid, signal.SIGSTOP)
    try:
        rows, seconds = doctor(service.config)
    finally:
        os.kill(guarded_kafka.process.pid, signal.SIGCONT)
    assert rows["client"]["state"] == "failed"
    assert seconds < 15 + 15

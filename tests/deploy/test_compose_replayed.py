"""compose.yaml without a container engine: its broker's settings, its topics, its worker, on this machine."""

import os
import subprocess
import sys

import pytest

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka, external_broker
from farthing.local.process import free_port

from ..serving.running import Service, event
from .test_compose import DEPLOY, SERVICES

pytestmark = pytest.mark.kafka
SETTINGS = DEPLOY / "farthing.toml"
PARTITIONS = 12


def properties():
    """Give the broker's environment as its image's start script turns it into properties, on free ports of loopback."""
    given = {k: v for k, v in SERVICES["kafka"]["environment"].items() if k != "KAFKA_HEAP_OPTS"}
    made = {key.removeprefix("KAFKA_").lower().replace("_", "."): value for key, value in given.items()}
    del made["log.dirs"]
    controller, internal, host = (f"127.0.0.1:{free_port()}" for _ in range(3))
    for name in ("controller.quorum.voters", "listeners", "advertised.listeners"):
        for listener, address in (("INTERNAL", internal), ("CONTROLLER", controller), ("HOST", host)):
            parts = [f"{listener}://{address}" if p.startswith(f"{listener}://") else p for p in made[name].split(",")]
            made[name] = ",".join(parts)
        made[name] = made[name].replace("1@localhost:9093", f"1@{controller}")
    return made, internal


@pytest.fixture(scope="module")
def broker():
    if external_broker() is not None:
        pytest.skip("a broker of the user's own has settings of its own")
    made, internal = properties()
    try:
        kafka = ApacheKafka(properties=made, heap="512m")
    except StartError as error:
        if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    kafka.port = int(internal.rsplit(":", 1)[1])  # where it is waited for
    kafka.bootstrap_servers = internal
    with kafka:
        yield kafka


@pytest.fixture
def service(broker, tmp_path):
    """A worker with compose's settings, on the topics that compose's commands make."""
    made = Service(broker, tmp_path, partitions=PARTITIONS)
    text = SETTINGS.read_text().replace("kafka:9092", broker.bootstrap_servers)
    made.config.write_text(f"{text}\n[http]\nport = {made.port}\n")
    made.source, made.sink, made.dead = "events.moderation", "scores.moderation", "events.moderation.dead"
    words = [str(made.config) if word.startswith("/etc/") else word for word in SERVICES["topics"]["command"]]
    assert words[-2:] == ["--partitions", str(PARTITIONS)]
    done = subprocess.run([sys.executable, "-m", "farthing", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count("created") == 3, done.stdout + done.stderr
    yield made
    assert made.stop() == 0


async def test_the_stack_scores(service):
    assert SERVICES["worker"]["command"][0] == "serve"
    service.start()
    await service.ready()
    await service.send([event(number, "have a nice day") for number in range(2_000)] + [b"{"] * 10)
    assert len(await service.read(service.sink, 2_000)) == 2_000
    assert len(await service.read(service.dead, 10)) == 10
    assert 'farthing_events_total{outcome="scored",route="events.moderation"} 2000.0' in service.get("/metrics")[1]

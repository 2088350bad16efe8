"""The settings file of the demo's worker and ledger."""

import os

import pytest

from farthing import config
from farthing.demo.serving import DemoTopics, Deployment
from farthing.kafka import KafkaSettings


@pytest.mark.parametrize("tenant", [None, "user"])
def test_the_worker_reads_the_kafka_settings_that_the_demo_itself_uses(tmp_path, tenant, monkeypatch):
    for name in [name for name in os.environ if name.startswith("FARTHING_")]:
        monkeypatch.delenv(name)
    kafka = KafkaSettings(
        bootstrap_servers=("a:1", "b:2"), group_id='g"1', session_timeout_ms=4_000, heartbeat_interval_ms=1_000,
        fetch_max_bytes=1 << 20, compression="lz4", allow_insecure=True,
    )  # fmt: skip
    deployment = Deployment(tmp_path, worker_port=1, ledger_port=2)
    deployment.write_settings("moderation", kafka, DemoTopics("x"), tenant)
    settings = config.load(deployment.config).settings
    assert settings.kafka == kafka
    assert settings.route[0].tenant == tenant
    assert (settings.http.port, settings.ledger.port) == (1, 2)

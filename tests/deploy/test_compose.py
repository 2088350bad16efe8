"""compose.yaml: valid, closed to the outside, hardened, and with settings that Farthing accepts."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from farthing import config

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if str(service.get("image", "")).startswith("farthing")}


def environment(service):
    return {k: v for k, v in service.get("environment", {}).items() if k.startswith("FARTHING_")}


def test_it_follows_the_compose_specification():
    place = importlib.util.find_spec("check_jsonschema").submodule_search_locations[0]
    (schema,) = Path(place).rglob("compose-spec.json")
    validator = jsonschema.validators.validator_for(json.loads(schema.read_text()))(json.loads(schema.read_text()))
    assert not [error.message for error in validator.iter_errors(yaml.safe_load(FILE.read_text()))]
    wrong = yaml.safe_load(FILE.read_text().replace("stop_grace_period:", "stop_period:"))
    assert [error.message for error in validator.iter_errors(wrong)]


def compose_client():
    """Give the words that start Docker Compose 2 or later; None where there is none."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]):
            done = subprocess.run([*words, "version", "--short"], capture_output=True, text=True, timeout=60)
            if done.returncode == 0 and int(done.stdout.strip().lstrip("v").split(".")[0]) >= 2:
                return words
    return None


def test_docker_compose_reads_it():
    client = compose_client()
    if client is None:
        pytest.skip("no Docker Compose on this machine (a client is enough; no engine is asked)")
    done = subprocess.run(
        [*client, "-f", str(FILE), "--profile", "load", "config", "--quiet"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_parts_are_there():
    assert set(SERVICES) == {"kafka", "topics", "worker", "ledger", "prometheus", "grafana", "locust"}
    assert OURS == {"topics", "worker", "ledger", "locust"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["locust"]["profiles"] == ["load"]
    assert not any("profiles" in service for name, service in SERVICES.items() if name != "locust")


def test_every_image_has_a_tag_and_kafka_is_the_one_that_tests_run_on():
    for name, service in SERVICES.items():
        image, _, tag = service["image"].partition(":")
        assert re.match(r"v?\d+\.\d+\.\d+$", tag), f"{name}: {image}:{tag}"
    tested = re.search(r"<kafka.version>(.*)</kafka.version>", (DEPLOY / "kafka" / "pom.xml").read_text())[1]
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{tested}"


def test_every_port_is_on_loopback():
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), port
    assert "ports" not in SERVICES["worker"]


def test_containers_may_do_little():
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service and service.get("network_mode") is None
        if name != "kafka":  # its start script writes to /opt/kafka/config
            assert service["read_only"] is True and service["pids_limit"] <= 256, name
        if name != "topics":
            limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
            assert "mem_limit" in service or "memory" in limits, name
            assert limits.get("pids", service.get("pids_limit")) == service.get("pids_limit"), name


def test_what_is_mounted_is_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists() and volume.endswith(":ro"), volume
            else:
                assert source in COMPOSE["volumes"], volume
        for mounted in service.get("configs", []):
            assert (DEPLOY / COMPOSE["configs"][mounted["source"]]["file"]).is_file()


def test_builds_name_stages_of_the_dockerfile():
    stages = re.findall(r"^FROM \S+ AS (\S+)", (DEPLOY / "Dockerfile").read_text(), re.M)
    for name in OURS:
        build = SERVICES[name]["build"]
        assert build["target"] in stages
        assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_commands_are_farthings():
    for name in OURS - {"locust"}:
        words = [word for word in SERVICES[name]["command"] if word.islower() and "/" not in word and word != "-c"]
        words = [word for word in words if not word.startswith("--") and not word.isdigit()]
        done = subprocess.run(
            [sys.executable, "-m", "farthing", *words, "--help"], capture_output=True, text=True, timeout=120
        )
        if words == ["ledger"] and "ledger" not in config.Settings.model_fields:
            continue  # the command comes with its settings
        assert done.returncode == 0, done.stderr


def settings_of(name, monkeypatch):
    for key in [key for key in os.environ if key.startswith("FARTHING_")]:
        monkeypatch.delenv(key)
    for key, value in environment(SERVICES[name]).items():
        monkeypatch.setenv(key, value)
    return config.load(DEPLOY / "farthing.toml").settings


def test_the_workers_settings_are_accepted(monkeypatch):
    settings = settings_of("worker", monkeypatch)
    assert settings.kafka.bootstrap_servers == ("kafka:9092",)
    assert "INTERNAL://kafka:9092" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings.http.host == "0.0.0.0" and settings.http.allow_anonymous  # Prometheus has no token
    assert [str(settings.http.port)] == SERVICES["worker"]["expose"]
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace * 1000 >= settings.worker.drain_timeout_ms + 5_000


@pytest.mark.skipif("ledger" not in config.Settings.model_fields, reason="there are no settings of a ledger")
def test_the_ledgers_settings_are_accepted(monkeypatch):
    settings = settings_of("ledger", monkeypatch)
    assert settings.ledger.host == "0.0.0.0" and settings.ledger.allow_anonymous  # it is published on loopback
    assert SERVICES["ledger"]["ports"] == [f"127.0.0.1:{settings.ledger.port}:{settings.ledger.port}"]
    assert SERVICES["ledger"]["healthcheck"]["test"][-1] == str(settings.ledger.port)


def test_prometheus_looks_for_the_services_where_they_listen():
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    found = {(s["names"][0], s["port"]) for job in scrape for s in job.get("dns_sd_configs", [])}
    assert found == {("worker", 9464), ("ledger", 9465)}


def test_locust_has_the_workers_settings_and_its_options_are_real(monkeypatch):
    service = SERVICES["locust"]
    assert service.get("configs", COMPOSE["x-farthing"]["configs"]) == SERVICES["worker"]["configs"]
    options = (DEPLOY.parent / "loadtest" / "options.py").read_text()
    for name in service["environment"]:
        assert f'env_var="{name}"' in options, name
    settings = config.load(DEPLOY / "farthing.toml").settings
    assert settings.kafka.bootstrap_servers == ("kafka:9092",)
    hosts = {re.match(r"http://(\w+):(\d+)", url).groups() for url in list(service["environment"].values())[1:]}
    assert hosts == {("worker", SERVICES["worker"]["expose"][0]), ("ledger", "9465")}

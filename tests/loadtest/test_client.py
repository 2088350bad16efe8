"""Farthing's security settings reach librdkafka, which takes them."""

import base64
import json
import time

import pytest
from loadtest.client import client_config, producer_config

from farthing.errors import ConfigError
from farthing.kafka import KafkaSettings

confluent_kafka = pytest.importorskip("confluent_kafka")

SERVERS = {"bootstrap_servers": ("127.0.0.1:1",)}


def made(config):
    """Make a producer, which reads every option."""
    confluent_kafka.Producer({**config, "log_level": 0})


def secret(folder, text):
    file = folder / "secret"
    file.write_text(text + "\n")
    return file


def test_plain():
    config = producer_config(KafkaSettings(**SERVERS), compression="none", linger_ms=5)
    assert config["security.protocol"] == "PLAINTEXT" and not any(name.startswith(("ssl", "sasl")) for name in config)
    made(config)


def test_a_password_is_read_from_its_file(tmp_path):
    settings = KafkaSettings(
        **SERVERS, security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", sasl_plain_username="u",
        sasl_plain_password_file=secret(tmp_path, "p"),
    )  # fmt: skip
    config = client_config(settings)
    assert (config["sasl.username"], config["sasl.password"]) == ("u", "p")
    made(config)


def test_a_keys_password_is_read_from_its_file(tmp_path):
    files = {"ssl_certfile": tmp_path / "c.pem", "ssl_keyfile": tmp_path / "k.pem"}
    settings = KafkaSettings(**SERVERS, security_protocol="SSL", ssl_password_file=secret(tmp_path, "p"), **files)
    assert client_config(settings)["ssl.key.password"] == "p"
    (tmp_path / "secret").unlink()
    with pytest.raises(ConfigError, match="ssl_password_file"):
        client_config(settings)


@pytest.mark.parametrize("expires", [None, 2_000_000_000])
def test_tokens_are_asked_for_when_they_are_needed(tmp_path, expires):
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({}, {"exp": expires})
    ]
    text = ".".join([*parts, "x"])
    settings = KafkaSettings(
        **SERVERS, security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_file=secret(tmp_path, text),
    )  # fmt: skip
    config = client_config(settings)
    token, until = config["oauth_cb"]("")
    assert token == text
    assert until == expires if expires else time.time() < until <= time.time() + 60
    made(config)
    secret(tmp_path, "another")
    assert config["oauth_cb"]("")[0] == "another"

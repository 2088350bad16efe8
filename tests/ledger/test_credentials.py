"""Every way to say who one is that the settings offer is one that Faust's driver takes."""

from typing import get_args

import pytest

from farthing.kafka import KafkaSettings

pytest.importorskip("faust", reason="the extra ledger is not installed")
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from farthing.ledger.app import _credentials

MECHANISMS = [m for part in get_args(KafkaSettings.model_fields["sasl_mechanism"].annotation) for m in get_args(part)]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_the_ledger_says_who_it_is_as_the_worker_does(protocol, mechanism, tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    login = {"sasl_plain_username": "u", "sasl_plain_password_file": tmp_path / "password"}
    token = {"sasl_oauth_token_file": tmp_path / "token"}
    options = KafkaSettings(
        security_protocol=protocol, allow_insecure=protocol == "SASL_PLAINTEXT", sasl_mechanism=mechanism,
        **(token if mechanism == "OAUTHBEARER" else login),
    ).client_options()  # fmt: skip
    told = credentials_to_aiokafka_auth(_credentials(options))
    assert {name: value for name, value in told.items() if value is not None} == {
        name: value for name, value in options.items() if name.startswith(("sasl", "security", "ssl"))
    }


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_without_credentials_the_protocol_alone_is_told(protocol):
    options = KafkaSettings(security_protocol=protocol).client_options()
    assert credentials_to_aiokafka_auth(_credentials(options))["security_protocol"] == protocol

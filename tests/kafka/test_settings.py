"""Every value that the Kafka settings offer is one that a client takes."""

import itertools
import shutil
import subprocess
import sys
from typing import get_args

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.conn import AIOKafkaConnection

from farthing.errors import ConfigError
from farthing.kafka import KafkaSettings
from farthing.kafka.settings import Codec, read_servers
from farthing.wire import CODEC_NAMES


def offered(name):
    """Give the values of an enumerated setting."""
    kind = KafkaSettings.model_fields[name].annotation
    values = [value for part in get_args(kind) for value in get_args(part) or (part,)]
    return [value for value in values if isinstance(value, str)]


@pytest.fixture
def password(tmp_path):
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    return path


def test_the_enumerated_settings_are_the_ones_that_are_tried_here():
    assert {name for name in KafkaSettings.model_fields if offered(name)} == {
        "delivery", "isolation_level", "auto_offset_reset", "on_new_log", "compression", "security_protocol",
        "sasl_mechanism",
    }  # fmt: skip


WAYS = [
    *itertools.product(["SASL_PLAINTEXT", "SASL_SSL"], offered("sasl_mechanism")),
    ("PLAINTEXT", None),
    ("SSL", None),
]


@pytest.mark.parametrize(("protocol", "mechanism"), WAYS)
async def test_every_way_to_say_who_one_is_makes_a_client_and_a_connection(protocol, mechanism, password):
    assert {protocol for protocol, _ in WAYS} == set(offered("security_protocol"))
    sasl = {}
    if mechanism == "OAUTHBEARER":
        sasl = {"sasl_mechanism": mechanism, "sasl_oauth_token_file": password}
    elif mechanism is not None:
        sasl = {"sasl_mechanism": mechanism, "sasl_plain_username": "u", "sasl_plain_password_file": password}
    settings = KafkaSettings(security_protocol=protocol, allow_insecure=protocol == "SASL_PLAINTEXT", **sasl)
    options = settings.client_options()
    await AIOKafkaConsumer("t", **settings.consumer_options()).stop()
    chosen = {name: value for name, value in options.items() if name.startswith(("sasl", "security"))}
    connection = AIOKafkaConnection("localhost", 9092, **chosen)
    assert connection._sasl_mechanism == mechanism
    assert options.get("sasl_plain_password") == (None if mechanism in (None, "OAUTHBEARER") else "hunter2")


@pytest.mark.parametrize("name", ["isolation_level", "auto_offset_reset"])
def test_every_level_and_reset_makes_a_consumer_of_the_group(name):
    for value in offered(name):
        assert KafkaSettings(**{name: value}).consumer_options()[name] == value


def test_every_codec_is_one_that_batches_are_written_with():
    assert get_args(Codec) == CODEC_NAMES


@pytest.mark.parametrize(
    "settings",
    [
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": "u"},
        {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_password_file": "p"},
        {"security_protocol": "SASL_SSL", "sasl_plain_username": "u", "sasl_plain_password_file": "p"},
        {"sasl_plain_password_file": "p"},
        {"security_protocol": "SSL", "sasl_mechanism": "PLAIN"},
        {"security_protocol": "SSL", "ssl_password_file": "p"},
        {"security_protocol": "SASL_PLAINTEXT", "allow_insecure": True, "ssl_cafile": "ca"},
    ],
)
def test_half_of_a_way_to_say_who_one_is_is_refused(settings):
    with pytest.raises(ValueError, match=r"not set|does not use it|need ssl_certfile"):
        KafkaSettings(**settings)


@pytest.mark.parametrize(
    "server",
    ["a:1", "a", "10.0.0.1:9092", "[::1]:9092", "b-1.x.example.com:9098", "a.b.:1", "bücher.example:1", " a:1 "],
)
def test_servers_that_are_taken(server):
    assert KafkaSettings(bootstrap_servers=(server,)).bootstrap_servers == (server.strip(),)


@pytest.mark.parametrize(
    "server",
    [
        "",
        ":9092",
        "a:",
        "a:0",
        "a:65536",
        "a:b",
        "a b:1",
        "::1",
        "[::1",
        "[1]",
        "kafka://a:1",
        "a..b:1",
        ".a:1",
        "a" * 64,
        "a\0b:1",
    ],
)
def test_servers_that_are_refused_with_a_sentence(server):
    with pytest.raises(ValueError, match="is not host:port"):
        KafkaSettings(bootstrap_servers=(server,))


def test_addresses_outside_a_file_are_read_likewise():
    assert (
        read_servers("a:1, b:2", "X") == KafkaSettings(bootstrap_servers="a:1, b:2").bootstrap_servers == ("a:1", "b:2")
    )
    with pytest.raises(ConfigError, match=r"^X = 'a:1,b:c': 'b:c' is not host:port"):
        read_servers("a:1,b:c", "X")


def test_a_secret_that_cannot_be_read_names_its_setting(tmp_path):
    settings = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_plain_username="u",
        sasl_plain_password_file=tmp_path / "none",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"kafka\.sasl_plain_password_file = .*none.*cannot be read"):
        settings.client_options()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the key of this test is made by the openssl command")
def test_a_locked_key_without_a_password_is_an_error_and_no_question_at_the_terminal(tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=a", "-passout", "pass:hunter2",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    program = (
        "from farthing.kafka import KafkaSettings\nfrom farthing.errors import ConfigError\n"
        "settings = KafkaSettings(security_protocol='SSL', ssl_certfile='cert.pem', ssl_keyfile='key.pem')\n"
        "try:\n    settings.client_options()\nexcept ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=120,
        check=True, start_new_session=True,
    )  # fmt: skip
    assert "the key's password" in done.stdout
    assert "pass phrase" not in done.stdout + done.stderr

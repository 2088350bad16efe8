"""What is found at an address before aiokafka connects: whatever is there, one sentence, in time."""

import contextlib
import socket
import ssl
import threading
import time

import pytest

from farthing.errors import BrokerError
from farthing.kafka import connecting
from farthing.kafka.connecting import reach
from farthing.kafka.diagnosis import _CORRELATION, look
from farthing.kafka.oauth import Token
from farthing.kafka.oauth_sources import FileSource
from farthing.kafka.settings import KafkaSettings
from tests.process.test_guard import certificate


@contextlib.contextmanager
def server(answer, context=None):
    """A server that passes each connection to ``answer`` and then closes it."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve():
        while not done.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection if context is None else context.wrap_socket(connection, server_side=True) as one:
                    one.settimeout(5)
                    answer(one)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        with contextlib.suppress(OSError):
            socket.create_connection(listening.getsockname()).close()
        thread.join()
        listening.close()


def says(text):
    def answer(connection):
        connection.recv(1024)
        connection.sendall(text)

    return answer


BROKER = (10).to_bytes(4, "big") + _CORRELATION.to_bytes(4, "big") + bytes(6)


def broker(connection):
    while connection.recv(1024):
        connection.sendall(BROKER)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "an HTTP server"),
        (says(b"SSH-2.0-OpenSSH\r\n"), "no Kafka broker"),
        (says(b"\x15\x03\x03\x00\x02\x02\x46"), "speaks TLS"),
        (says(b"\x7f\xff\xff\xff" * 4), "no Kafka broker"),
        (says(b"\xff\xff\xff\xff" * 4), "no Kafka broker"),
        (says(b"\x00"), "no Kafka broker"),
        (says(BROKER[:9]), "no Kafka broker"),
        (says(b""), "closed without an answer"),
        (says(BROKER), "asks for a login"),
        (lambda connection: time.sleep(2), "no answer within 1 s"),
        (broker, None),
    ],
)
def test_whatever_answers_is_one_sentence(answer, said):
    with server(answer) as address:
        began = time.monotonic()
        fault = look(address, None, protocol="PLAINTEXT", limit_s=1)
        assert time.monotonic() - began < 5
    assert (fault is None) if said is None else (said in str(fault)), fault


def test_names_and_ports_that_lead_nowhere():
    assert "nothing listens at port 9" in str(look("127.0.0.1:9", None, protocol="PLAINTEXT"))
    assert "the name 'no-such-host.invalid' is not known" in str(look("no-such-host.invalid", None, protocol="SSL"))


def test_a_name_that_is_none_is_one_sentence():
    assert "is no host name" in str(look("broker..example.com:9092", None, protocol="PLAINTEXT"))


def addresses(*places):
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]


@contextlib.contextmanager
def full():
    """A port that takes no more connections: who connects waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, contextlib.ExitStack() as waiting:
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()


def test_all_addresses_of_a_name_have_one_limit(monkeypatch):
    with full() as dead, server(broker) as good:
        host, _, port = good.rpartition(":")
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", addresses(dead, dead, dead))
            began = time.monotonic()
            assert "no answer within 1 s" in str(look("many.example:9092", None, protocol="PLAINTEXT", limit_s=1))
            assert time.monotonic() - began < 2.5
            patched.setattr(socket, "getaddrinfo", addresses(dead, dead, (host, int(port))))
            assert look("many.example:9092", None, protocol="PLAINTEXT", limit_s=3) is None


def test_a_name_server_that_is_silent_is_left_in_time(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: gate.wait(30))
    began = time.monotonic()
    assert "no answer within 1 s" in str(look("slow.example:9092", None, protocol="PLAINTEXT", limit_s=1))
    gate.set()
    assert time.monotonic() - began < 10


async def test_reaching_has_one_limit_with_the_token(monkeypatch, tmp_path):
    monkeypatch.setattr(connecting, "REACH_S", 0.2)
    settings = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_oauth_token_file=tmp_path / "hangs"
    )
    gate = threading.Event()
    monkeypatch.setattr(FileSource, "fetch", lambda _: gate.wait(5) and Token("a", None))
    began = time.monotonic()
    with pytest.raises(BrokerError, match=r"localhost:9092: no answer within 0\.2 s"):
        await connecting.reach(settings)
    assert time.monotonic() - began < 4
    gate.set()


async def test_a_slow_token_leaves_less_time_for_the_look(monkeypatch, tmp_path):
    monkeypatch.setattr(connecting, "REACH_S", 3.0)
    monkeypatch.setattr(FileSource, "fetch", lambda _: time.sleep(1) or Token("a", None))
    limits = []
    monkeypatch.setattr(connecting, "look", lambda *_, limit_s, **__: limits.append(limit_s))
    await connecting.reach(
        KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_oauth_token_file=tmp_path / "t")
    )
    assert limits[0] <= 1.5


@pytest.mark.parametrize("server", ["127.0.0.1:9", "no-such-host.invalid:9092"])
async def test_who_is_not_there_has_nothing_to_do_with_security_settings(server):
    with pytest.raises(BrokerError) as raised:
        await reach(KafkaSettings(bootstrap_servers=(server,)))
    assert "security" not in str(raised.value)


async def test_a_fault_of_the_protocol_names_the_security_settings():
    with server(says(BROKER)) as address, pytest.raises(BrokerError, match=r"see kafka\.security_protocol = PLAINTEXT"):
        await reach(KafkaSettings(bootstrap_servers=(address,)))


def test_over_tls(tmp_path):
    trusted = certificate(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with server(broker, context) as address:
        assert look(address, trusted, protocol="SSL") is None
        stranger = look(address, ssl.create_default_context(), protocol="SSL")
        assert "certificate verify failed" in stranger.what and "kafka.ssl_cafile" in stranger.remedy
        named = look(address.replace("127.0.0.1", "localhost"), trusted, protocol="SSL")
        assert "mismatch" in named.what.lower() and "issued for localhost" in named.remedy
        assert "this port speaks TLS" in str(look(address, None, protocol="PLAINTEXT"))
    with server(broker) as address:
        assert "without TLS" in str(look(address, trusted, protocol="SSL"))
    with server(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert "no TLS (SSL) connection" in str(look(address, trusted, protocol="SSL"))


async def test_one_good_server_is_enough_and_bad_ones_are_named_together():
    with server(broker) as good:
        await reach(KafkaSettings(bootstrap_servers=("127.0.0.1:9", good)))
    with pytest.raises(BrokerError) as raised:
        await reach(KafkaSettings(bootstrap_servers=("127.0.0.1:9", "127.0.0.2:9")))
    assert str(raised.value).startswith(
        "kafka.bootstrap_servers = 127.0.0.1:9, 127.0.0.2:9: nothing listens at port 9; check that a broker listens there"
    )

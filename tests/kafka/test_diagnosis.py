"""What is found at an address before aiokafka connects: whatever is there, one sentence, in time."""

import contextlib
import socket
import ssl
import threading
import time

import pytest

from farthing.errors import BrokerError
from farthing.kafka.connecting import reach
from farthing.kafka.diagnosis import _CORRELATION, look
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

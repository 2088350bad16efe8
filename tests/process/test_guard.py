"""Who may read over HTTP: names, origins, a token beyond loopback, TLS; and what every answer says to a browser."""

import asyncio
import base64
import contextlib
import datetime
import logging
import os
import ssl

import pytest
from aiohttp import ClientSession, TCPConnector
from structlog.testing import capture_logs

from farthing.errors import ConfigError
from farthing.process.access import Access
from farthing.process.probes import listen

TOKEN = "canary-5d1c-token"
EVERYONES = ("/live", "/ready")


async def ready():
    return True, "running: scoring"


async def metrics():
    return b"farthing_up 1\n"


@contextlib.asynccontextmanager
async def listening(host="127.0.0.1", **access):
    endpoint = await listen(host, 0, ready=ready, metrics=metrics, access=Access(**access))
    try:
        yield endpoint
    finally:
        await endpoint.close()


async def asked(endpoint, path, *, method="GET", scheme="http", connector=None, **headers):
    url = f"{scheme}://127.0.0.1:{endpoint.port}{path}"
    async with (
        ClientSession(connector=connector) as client,
        client.request(method, url, headers=headers) as response,
    ):
        return response.status, response.headers, await response.text()


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_with_a_token_file_only_the_probes_answer_without_the_token(host, token_file):
    async with listening(host, token_file=token_file) as endpoint:
        for path in EVERYONES:
            assert (await asked(endpoint, path))[0] == 200
        for path in ("/metrics", "/metrics/", "/", "/nothing"):
            status, headers, text = await asked(endpoint, path)
            assert status == 401
            assert headers.getall("WWW-Authenticate")[0].startswith("Bearer")
            assert "http.token_file" in text
            assert TOKEN not in text
        for wrong in (
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[:-1]}",
            "Bearer ",
            "Bearer",
            TOKEN,
            "Bearer \xff",
            "Basic !!!",
        ):
            assert (await asked(endpoint, "/metrics", Authorization=wrong))[0] == 401
        assert (await asked(endpoint, "/metrics", Authorization=f"Bearer {TOKEN}"))[::2] == (200, "farthing_up 1\n")
        for login, status in ((f"anyone:{TOKEN}", 200), (TOKEN, 401), ("anyone:", 401)):  # as a browser sends it
            encoded = base64.b64encode(login.encode()).decode()
            assert (await asked(endpoint, "/metrics", Authorization=f"Basic {encoded}"))[0] == status


async def test_beyond_loopback_without_a_token_file_only_the_probes_answer():
    with capture_logs() as logs:
        async with listening("0.0.0.0") as endpoint:
            assert (await asked(endpoint, "/ready"))[0] == 200
            status, _, text = await asked(endpoint, "/metrics", Authorization="Bearer ")
            assert status == 401
            assert "http.host = '0.0.0.0' is beyond loopback" in text
            assert "set http.token_file, or http.allow_anonymous = true" in text
    assert [line["event"] for line in logs] == ["http_needs_token"]
    async with listening("0.0.0.0", allow_anonymous=True) as endpoint:
        assert (await asked(endpoint, "/metrics"))[0] == 200
    async with listening() as endpoint:
        assert (await asked(endpoint, "/metrics"))[0] == 200


async def test_a_token_that_is_renewed_holds_from_then_on(token_file):
    async with listening(token_file=token_file) as endpoint:
        token_file.write_text("another-token-9\n")
        os.utime(token_file, ns=(1, 1))
        assert (await asked(endpoint, "/metrics", Authorization=f"Bearer {TOKEN}"))[0] == 401
        assert (await asked(endpoint, "/metrics", Authorization="Bearer another-token-9"))[0] == 200
        token_file.write_text("")
        os.utime(token_file, ns=(2, 2))
        assert (await asked(endpoint, "/metrics", Authorization="Bearer another-token-9"))[0] == 200
        assert (await asked(endpoint, "/metrics", Authorization="Bearer "))[0] == 401
        token_file.unlink()
        assert (await asked(endpoint, "/metrics", Authorization="Bearer another-token-9"))[0] == 200


@pytest.mark.parametrize("text", [None, "", "\n"])
async def test_a_token_file_without_a_token_is_refused_at_the_start(text, tmp_path):
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"http\.token_file = "):
        async with listening(token_file=file):
            pass


@pytest.mark.parametrize("path", ["/", "/live", "/ready", "/metrics", "/nothing"])
async def test_every_answer_tells_a_browser_to_keep_it_apart(path, token_file):
    async with listening() as open_one, listening(token_file=token_file) as locked:
        for endpoint, method in ((open_one, "GET"), (open_one, "POST"), (locked, "GET")):
            _, headers, _ = await asked(endpoint, path, method=method)
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert not [name for name in headers if name.startswith("Access-Control")]


UNREADABLE = [
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\x01\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b" + b"x" * 9_000 + b"\r\n\r\n",
    b"GET /live?token=%b\x01 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"%b\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n%b\r\n\r\n",
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n",
]


@pytest.mark.parametrize("sent", UNREADABLE)
async def test_a_request_that_cannot_be_read_is_quoted_nowhere(sent, caplog):
    caplog.set_level(logging.DEBUG)
    async with listening() as endpoint:
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(sent % TOKEN.encode())
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
    *_, last = answer.split(b"HTTP/1.")
    assert b" 400 Bad Request" in last
    assert b"Content-Security-Policy: default-src 'none'" in last
    assert b"X-Content-Type-Options: nosniff" in last
    formatter = logging.Formatter()
    logged = [formatter.format(record) for record in caplog.records]
    assert any("A request from 127.0.0.1 cannot be read" in line for line in logged)
    assert not [line for line in [*logged, answer.decode()] if TOKEN in line]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
async def test_nothing_but_get_and_head_is_answered(method):
    async with listening() as endpoint:
        for path in ("/", "/live", "/metrics"):
            reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            status = int((await reader.readline()).split()[1])
            assert status == 405 or (method in ("CONNECT", "BREW") and status in (400, 403))
            writer.close()


async def test_a_name_that_a_stranger_could_point_here_is_refused():
    async with listening() as on_loopback, listening("0.0.0.0", allow_anonymous=True) as beyond:
        for endpoint in (on_loopback, beyond):
            for host in ("rebound.example", "127.0.0.1.example", "localhost.example", ""):
                assert (await asked(endpoint, "/", Host=host))[0] == 403
                assert (await asked(endpoint, "/ready", Host=host))[0] == 200
            for host in ("localhost:9464", "127.0.0.1", "[::1]:9464", "10.2.3.4:9464"):
                assert (await asked(endpoint, "/", Host=host))[0] == 200
        assert (await asked(on_loopback, "/metrics", Host="rebound.example"))[0] == 403
        assert (await asked(beyond, "/metrics", Host="worker-0.farthing.svc:9464"))[0] == 200


async def test_another_origin_is_refused():
    async with listening() as endpoint:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "file://"):
            assert (await asked(endpoint, "/metrics", Origin=origin))[0] == 403
            assert (await asked(endpoint, "/live", Origin=origin))[0] == 200
        assert (await asked(endpoint, "/metrics", Origin=f"http://127.0.0.1:{endpoint.port}"))[0] == 200


def certificate(folder, name):
    """A self-signed certificate for 127.0.0.1 and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    folder.joinpath("tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    folder.joinpath("tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ssl.create_default_context(cadata=folder.joinpath("tls.crt").read_text())


async def test_a_port_with_a_certificate_speaks_tls_only_and_takes_up_a_renewed_one(tmp_path):
    first = certificate(tmp_path, "first")
    tls = {"tls_certfile": tmp_path / "tls.crt", "tls_keyfile": tmp_path / "tls.key"}
    async with listening(**tls) as endpoint:
        for path in ("/metrics", "/ready"):
            assert (await asked(endpoint, path, scheme="https", connector=TCPConnector(ssl=first)))[0] == 200
        with pytest.raises(Exception, match=r"(?i)disconnected|reset|bad"):
            await asked(endpoint, "/ready")
        second = certificate(tmp_path, "second")
        assert (await asked(endpoint, "/ready", scheme="https", connector=TCPConnector(ssl=second)))[0] == 200
        (tmp_path / "tls.key").write_text("no key\n")
        assert (await asked(endpoint, "/ready", scheme="https", connector=TCPConnector(ssl=second)))[0] == 200
    with pytest.raises(ConfigError, match=r"http\.tls_certfile = .* check paths and formats"):
        async with listening(**tls):
            pass


async def test_half_a_handshake_is_closed_in_time_and_starves_nobody(tmp_path, monkeypatch):
    from farthing.process import connections

    context = certificate(tmp_path, "server")
    async with listening(tls_certfile=tmp_path / "tls.crt", tls_keyfile=tmp_path / "tls.key") as endpoint:
        flood = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(300)]
        async with asyncio.timeout(2):
            assert (await asked(endpoint, "/ready", scheme="https", connector=TCPConnector(ssl=context)))[0] == 200
        for _, writer in flood:
            writer.close()
        monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
        writer.write(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

"""Tokens for OAUTHBEARER: from a file, from an endpoint, renewed before they expire, and never in a log."""

import base64
import contextlib
import http.server
import json
import logging
import ssl
import sys
import threading
import time
import types
import urllib.parse

import pytest
from structlog.testing import capture_logs

from farthing.errors import ConfigError
from farthing.kafka import oauth, oauth_endpoint
from farthing.kafka.oauth import Token, TokenError, TokenProvider
from farthing.kafka.oauth_endpoint import EndpointSource
from farthing.kafka.oauth_sources import AwsSource, FileSource
from farthing.kafka.settings import KafkaSettings
from tests.kafka.test_diagnosis import server
from tests.process.test_guard import certificate

SECRET = "canary-2c7e-secret: with/signs+äé"
TOKEN = "canary-77ab-token"


def web_token(life_s, now=None):
    """An unsigned JSON Web Token."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'sub': 'alice', 'exp': (now or time.time()) + life_s})}.c2lnbmVk"


class Endpoint:
    """A token endpoint; ``answers`` are (status, body) in turn, the last one for ever."""

    def __init__(self, *answers, context=None):
        self.answers, self.seen = list(answers), []
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                endpoint.seen.append((dict(self.headers), urllib.parse.parse_qs(form)))
                status, body = endpoint.answers.pop(0) if len(endpoint.answers) > 1 else endpoint.answers[0]
                if callable(body):
                    body = body()
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'' if context is None else 's'}://127.0.0.1:{self.server.server_address[1]}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def secret_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(oauth_endpoint, "RETRY_PAUSES_S", (0.01, 0.01))


GOOD = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60}


def test_the_endpoint_is_asked_with_the_id_and_the_secret_of_the_file(secret_file):
    with Endpoint((200, GOOD)) as endpoint:
        token = EndpointSource(endpoint.url, "me", secret_file, "kafka.read", None).fetch()
    assert token.text == TOKEN
    assert 50 < token.expires_at - time.time() <= 60
    ((headers, form),) = endpoint.seen
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka.read"]}
    scheme, _, login = headers["Authorization"].partition(" ")
    name, _, secret = base64.b64decode(login).decode().partition(":")
    assert (scheme, name, urllib.parse.unquote_plus(secret)) == ("Basic", "me", SECRET)


def test_what_is_written_nowhere(secret_file, caplog):
    caplog.set_level(logging.DEBUG)
    with Endpoint((200, GOOD)) as endpoint, capture_logs() as logs:
        source = EndpointSource(endpoint.url, "me", secret_file, None, None)
        provider = TokenProvider(source)
        token = source.fetch()
        said = repr([source, provider, token, vars(provider)]) + caplog.text + repr(logs)
    assert TOKEN not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {"error": "invalid_client", "error_description": TOKEN}), ["answered 401 invalid_client", "client_id"]),
        ((400, {"error": "invalid_scope"}), ["answered 400 invalid_scope", "sasl_oauth_scope"]),
        ((404, b"<html>"), ["answered 404", "token endpoint?"]),
        ((302, b""), ["answered 302", "token endpoint?"]),
        ((503, b""), ["answered 503", "ask again"]),
        ((200, b"<html>"), ["did not answer with a token"]),
        ((200, b"[" * 60_000), ["did not answer with a token"]),
        ((200, b"[]"), ["did not answer with a token"]),
        ((200, {"access_token": TOKEN, "expires_in": "soon"}), ["did not answer with a token"]),
        ((200, {"access_token": 1, "expires_in": 60}), ["no bearer token"]),
        ((200, {"access_token": TOKEN, "token_type": "mac", "expires_in": 60}), ["no bearer token"]),
        ((200, {"access_token": TOKEN + "\x01,a", "expires_in": 60}), ["no bearer token"]),
        ((200, {"access_token": TOKEN, "expires_in": 1}), ["lives for 1 s"]),
        ((200, {"access_token": TOKEN, "expires_in": -60}), ["lives for -60 s"]),
        ((200, {"access_token": TOKEN, "expires_in": 1e300}), ["lives for"]),
        ((200, b'{"access_token": "a", "expires_in": ' + b"9" * 400 + b"}"), ["did not answer with a token"]),
    ],
)
def test_an_answer_without_a_token_is_one_sentence(answer, said, secret_file):
    with Endpoint(answer) as endpoint, pytest.raises(TokenError) as raised:
        EndpointSource(endpoint.url, "me", secret_file, None, None).fetch()
    text = str(raised.value)
    assert text.startswith(f"kafka.sasl_oauth_token_url = {endpoint.url}: ")
    assert all(part in text for part in said), text
    assert "\n" not in text
    assert TOKEN not in text
    assert SECRET not in text


def test_trouble_that_passes_is_waited_for_and_a_refusal_is_not(secret_file):
    with Endpoint((503, b""), (500, b""), (200, GOOD)) as endpoint:
        assert EndpointSource(endpoint.url, "me", secret_file, None, None).fetch().text == TOKEN
    with Endpoint((401, b"")) as endpoint, pytest.raises(TokenError):
        EndpointSource(endpoint.url, "me", secret_file, None, None).fetch()
    assert len(endpoint.seen) == 1


def test_nobody_there_and_a_silent_endpoint_are_said_in_time(secret_file, monkeypatch):
    with pytest.raises(TokenError, match=r"no token endpoint answers there \(Connection refused\)"):
        EndpointSource("http://127.0.0.1:9/token", "me", secret_file, None, None).fetch()
    monkeypatch.setattr(oauth_endpoint, "TIMEOUT_S", 0.2)
    gate = threading.Event()
    with Endpoint((200, lambda: gate.wait(10) and b"")) as endpoint:
        began = time.monotonic()
        with pytest.raises(TokenError, match="no token endpoint answers there"):
            EndpointSource(endpoint.url, "me", secret_file, None, None).fetch()
        gate.set()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_endpoint_that_drips_is_left_in_time_and_its_connection_closed(start, secret_file, monkeypatch):
    monkeypatch.setattr(oauth_endpoint, "TIMEOUT_S", 0.3)
    over, left = threading.Event(), threading.Event()

    def drip(connection):
        connection.recv(1 << 16)
        with contextlib.suppress(OSError):
            connection.sendall(start)
            while not over.wait(0.02):
                connection.sendall(b" ")
            return
        left.set()

    with server(drip) as address:
        began = time.monotonic()
        with pytest.raises(TokenError, match="no token endpoint answers there"):
            EndpointSource(f"http://{address}/token", "me", secret_file, None, None).fetch()
        assert time.monotonic() - began < 5
        assert left.wait(20)
        over.set()


def test_all_tries_together_have_one_limit(secret_file, monkeypatch):
    monkeypatch.setattr(oauth_endpoint, "TIMEOUT_S", 0.4)
    monkeypatch.setattr(oauth_endpoint, "ALL_TRIES_S", 0.5)
    monkeypatch.setattr(oauth_endpoint, "RETRY_PAUSES_S", (0.01,) * 100)
    gate = threading.Event()
    with Endpoint((200, lambda: gate.wait(20) and b"")) as endpoint:
        began = time.monotonic()
        with pytest.raises(TokenError, match="no token endpoint answers there"):
            EndpointSource(endpoint.url, "me", secret_file, None, None).fetch()
        gate.set()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("url", ["https://login..example.com/token", "https://localhost/tökén"])
def test_an_address_that_cannot_be_asked_is_one_sentence(url, secret_file):
    with pytest.raises(TokenError, match=r"kafka\.sasl_oauth_token_url = .*cannot be asked .*write"):
        EndpointSource(url, "me", secret_file, None, None).fetch()
    for bad in (url, "http://127.0.0.1:99999/token"):
        with pytest.raises(ValueError, match=r"sasl_oauth_token_url is .*: write"):
            tokens(sasl_oauth_token_url=bad, **ENDPOINT)


def test_the_endpoints_certificate_is_verified(secret_file, tmp_path):
    certificate(tmp_path, "endpoint")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with Endpoint((200, GOOD), context=context) as endpoint:
        assert EndpointSource(endpoint.url, "me", secret_file, None, tmp_path / "tls.crt").fetch().text == TOKEN
        with pytest.raises(TokenError, match=r"certificate verify failed .*; set kafka\.sasl_oauth_cafile"):
            EndpointSource(endpoint.url, "me", secret_file, None, None).fetch()
    assert len(endpoint.seen) == 1
    with pytest.raises(ConfigError, match=r"kafka\.sasl_oauth_cafile = .*cannot be loaded"):
        EndpointSource(endpoint.url, "me", secret_file, None, secret_file)


def test_a_secret_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(TokenError, match=r"kafka\.sasl_oauth_client_secret_file = .*cannot be read"):
        EndpointSource("http://127.0.0.1:9/", "me", tmp_path / "none", None, None).fetch()


async def test_a_file_is_read_at_each_connection(tmp_path):
    file = tmp_path / "token"
    provider = TokenProvider(FileSource(file))
    with pytest.raises(TokenError, match=r"kafka\.sasl_oauth_token_file = .*cannot be read"):
        await provider.token()
    provider._ask_again_at = 0.0
    for text in (web_token(60), web_token(70), TOKEN):
        file.write_text(text + "\n")
        assert await provider.token() == text
    for text, said in ((web_token(-5), "has expired at 20"), ("two words", "no bearer token"), ("", "is empty")):
        file.write_text(text)
        provider._ask_again_at = 0.0
        with pytest.raises(TokenError, match=said):
            await provider.token()


class Counted:
    """A source of tokens that live for 60 s of the test's clock."""

    keeps = True

    def __init__(self):
        self.now, self.fetched, self.broken = 1_000.0, 0, False

    def fetch(self):
        if self.broken:
            raise TokenError("it is broken")
        self.fetched += 1
        return Token(f"token-{self.fetched}", self.now + 60)


def test_a_token_is_renewed_before_it_expires_and_serves_until_then_if_that_fails():
    source = Counted()
    provider = TokenProvider(source, lambda: source.now, lambda: source.now)
    assert [provider.current() for _ in range(3)] == ["token-1"] * 3
    source.now += 47
    assert provider.current() == "token-1"
    source.now += 2
    assert provider.current() == "token-2"
    source.broken = True
    source.now += 49
    assert provider.current() == "token-2"  # the endpoint is down: the old one serves
    source.now += 12
    with pytest.raises(TokenError, match="it is broken"):
        provider.current()
    source.broken = False
    with pytest.raises(TokenError, match="it is broken"):  # not asked again at once
        provider.current()
    source.now += 2
    assert provider.current() == "token-3"


def test_a_clock_that_is_put_back_does_not_prolong_a_tokens_life():
    source, steady = Counted(), types.SimpleNamespace(now=5.0)
    provider = TokenProvider(source, lambda: steady.now, lambda: source.now)
    assert provider.current() == "token-1"
    source.now -= 86_400
    steady.now += 49
    assert provider.current() == "token-2"
    source.now -= 86_400
    source.broken = True
    steady.now += 61
    with pytest.raises(TokenError, match="it is broken"):
        provider.current()


def test_a_source_that_hangs_is_left_in_time_and_others_do_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(oauth, "LONGEST_FETCH_S", 0.2)
    gate = threading.Event()

    class Hangs:
        keeps = True

        def fetch(self):
            gate.wait(30)
            return Token("a", None)

    provider = TokenProvider(Hangs())
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(TokenError, match="no token came within"):
            provider.current()
    gate.set()
    assert time.monotonic() - began < 10


def test_one_token_serves_all_connections_that_ask_at_once():
    source = Counted()
    provider = TokenProvider(source, lambda: source.now, lambda: source.now)
    threads = [threading.Thread(target=provider.current) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.fetched == 1


@pytest.mark.parametrize("text", ["a.b", "a.!!!.c", "a.bnVsbA.c", "a.eyJleHAiOiJ4In0.c", "a.eyJleHAiOnRydWV9.c", ""])
def test_what_is_no_web_token_has_no_known_end(text):
    assert oauth._expiry(text) is None or oauth._expiry(text) == 1.0


def tokens(**settings):
    return KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", **settings)


ENDPOINT = {"sasl_oauth_client_id": "me", "sasl_oauth_client_secret_file": "s"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "set one of sasl_oauth_token_file, sasl_oauth_token_url, sasl_oauth_aws_region"),
        ({"sasl_oauth_token_file": "t", "sasl_oauth_token_url": "https://x/t", **ENDPOINT}, "set one of"),
        ({"sasl_oauth_token_url": "https://x/t"}, "sasl_oauth_client_id and sasl_oauth_client_secret_file is not set"),
        ({"sasl_oauth_token_url": "http://x/t", **ENDPOINT}, "unencrypted; use https"),
        ({"sasl_oauth_token_url": "http://127.0.0.1.example/t", **ENDPOINT}, "unencrypted; use https"),
        ({"sasl_oauth_token_url": "ftp://x/t", **ENDPOINT}, "write an address such as"),
        ({"sasl_oauth_token_url": "https://u:p@x/t", **ENDPOINT}, "holds a login"),
        ({"sasl_oauth_token_file": "t", "sasl_oauth_scope": "s"}, "sasl_oauth_token_url is not"),
        ({"sasl_oauth_token_file": "t", "sasl_plain_username": "u"}, "does not use it"),
        ({"sasl_oauth_aws_region": "x y"}, "pattern"),
    ],
)
def test_settings_that_say_no_one_source_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        tokens(**settings)


def test_settings_of_a_token_without_its_mechanism_are_refused():
    with pytest.raises(ValueError, match="uses no token"):
        KafkaSettings(
            security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_plain_username="u",
            sasl_plain_password_file="p", sasl_oauth_token_file="t",
        )  # fmt: skip
    with pytest.raises(ValueError, match="security_protocol is SSL, which does not use it"):
        KafkaSettings(security_protocol="SSL", sasl_oauth_token_file="t")


def test_amazons_signer_is_an_extra_and_its_errors_are_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(ConfigError, match=r"sasl_oauth_aws_region needs the package .* extra msk"):
        tokens(sasl_oauth_aws_region="eu-central-1").client_options()
    asked = []

    class MSKAuthTokenProvider:
        @staticmethod
        def generate_auth_token(region):
            asked.append(region)
            if len(asked) > 1:
                raise RuntimeError(SECRET)
            return "c2lnbmVk", (time.time() + 900) * 1000

    signer = types.SimpleNamespace(MSKAuthTokenProvider=MSKAuthTokenProvider)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", signer)
    source = AwsSource("eu-central-1")
    token = source.fetch()
    assert (token.text, asked) == ("c2lnbmVk", ["eu-central-1"])
    assert 800 < token.expires_at - time.time() <= 900
    with pytest.raises(TokenError, match=r"no token could be signed \(RuntimeError\)") as raised:
        source.fetch()
    assert SECRET not in str(raised.value)


def test_clients_of_the_same_settings_share_a_provider(tmp_path):
    one = tokens(sasl_oauth_token_file=tmp_path / "t").client_options()["sasl_oauth_token_provider"]
    other = tokens(sasl_oauth_token_file=tmp_path / "t").client_options()["sasl_oauth_token_provider"]
    assert one is other

"""TLS, mutual TLS and SASL over TLS against Apache Kafka, with certificates made here; and what a wrong one says."""

import asyncio
import base64
import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from farthing.errors import FarthingError, StartError
from farthing.kafka.diagnosis import look
from farthing.kafka.settings import KafkaSettings
from farthing.ledger.client import ask
from farthing.local.broker import ApacheKafka
from farthing.local.process import free_port
from tests.inprocess import farthing
from tests.kafka.test_oauth import Endpoint

from .running import Service, event, offset_of

pytestmark = pytest.mark.kafka

PASSWORD = "canary-7f3a-secret"
WRONG = "wrong-9c1e-secret"
ERROR_WITHIN_S = 20  # start of the interpreter included, on a machine that is busy; 10 on one that is not
TOKEN_S = 8
SESSION_MS = 3_000  # after which the broker drops connections of the listener BRIEF that do not authenticate anew
USERS = [f'SCRAM-SHA-{bits}=[name="{user}",password="{PASSWORD}"]' for bits in (256, 512) for user in ("alice", "bob")]
JAAS = "org.apache.kafka.common.security"


def required_or_skip(reason):
    if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
        pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {reason}")
    pytest.skip(reason)


class Authority:
    """A certificate authority in a folder, by the openssl command."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.certificate = folder / f"{name}.pem"
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def issue(self, name, *, alternatives, password=None):
        """Make ``name.key`` and ``name.pem``, and ``name.chain.pem`` with both as Kafka wants them."""
        extension = self.folder / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternatives}\n")
        self._openssl(
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
            "-CAcreateserial", "-days", "2", "-extfile", extension.name, "-out", f"{name}.pem",
        )  # fmt: skip
        key = self.folder / f"{name}.key"
        chain = self.folder / f"{name}.chain.pem"
        chain.write_text(key.read_text() + (self.folder / f"{name}.pem").read_text())
        if password is not None:
            self._openssl(
                "pkcs8", "-topk8", "-v2", "aes256", "-in", key.name, "-out", f"{name}.locked.key",
                "-passout", f"pass:{password}",
            )  # fmt: skip
        return chain


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """Certificates and password files."""
    if shutil.which("openssl") is None:
        required_or_skip("the openssl command is not on the PATH: the certificates of this test are made by it")
    folder = tmp_path_factory.mktemp("secrets")
    authority = Authority(folder, "ca")
    authority.issue("server", alternatives="IP:127.0.0.1")  # not for the name localhost
    authority.issue("client", alternatives="DNS:client", password=PASSWORD)
    Authority(folder, "stranger")
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "wrong").write_text(WRONG + "\n")
    return folder


@pytest.fixture(scope="module")
def secure_kafka(secrets):
    """One broker with a listener of each kind; the plain one is for the test itself."""
    sasl = "listener.name.sasl."
    try:
        broker = ApacheKafka(
            listeners={"TLS": "SSL", "MTLS": "SSL", "SASL": "SASL_SSL", "BRIEF": "SASL_SSL", "OAUTH": "SASL_SSL"},
            format_arguments=[word for user in USERS for word in ("--add-scram", user)],
            properties={
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(secrets / "server.chain.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(secrets / "ca.pem"),
                "listener.name.mtls.ssl.client.auth": "required",
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                f"{sasl}scram-sha-512.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
                f"{sasl}scram-sha-256.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
                f"{sasl}plain.sasl.jaas.config": f'{JAAS}.plain.PlainLoginModule required user_alice="{PASSWORD}";',
                "listener.name.brief.sasl.enabled.mechanisms": "SCRAM-SHA-256",
                "listener.name.brief.scram-sha-256.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
                "listener.name.brief.scram-sha-256.connections.max.reauth.ms": str(SESSION_MS),
                "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
                "listener.name.oauth.oauthbearer.connections.max.reauth.ms": "600000",  # or the token's end, if sooner
                "listener.name.oauth.oauthbearer.sasl.jaas.config": (
                    f'{JAAS}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
                ),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:alice;User:CN=client",
            },
        )
    except StartError as error:
        required_or_skip(str(error))
    with broker:
        yield broker


class SecureService(Service):
    """A service whose own connection is a secured one; the test's is not."""

    def __init__(self, broker, folder, listener, settings, **options):
        super().__init__(broker, folder, partitions=2, **options)
        address = settings.pop("address", broker.addresses[listener])
        lines = "".join(f"{name} = {json.dumps(str(value))}\n" for name, value in settings.items())
        text = self.config.read_text().replace(self.servers, address)
        self.config.write_text(text.replace("[[route]]", lines + "[[route]]", 1))

    def run(self, *command, timeout_s=ERROR_WITHIN_S):
        if command[0] != "serve":
            return farthing(*command, "-c", self.config)
        return subprocess.run(
            [sys.executable, "-m", "farthing", *command, "-c", str(self.config)],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip


def tls(secrets):
    return "TLS", {"security_protocol": "SSL", "ssl_cafile": secrets / "ca.pem"}


def mutual(secrets):
    certificate = {"ssl_certfile": secrets / "client.pem", "ssl_keyfile": secrets / "client.locked.key"}
    return "MTLS", {**tls(secrets)[1], **certificate, "ssl_password_file": secrets / "password"}


def sasl(secrets, mechanism, password="password"):
    return "SASL", {
        "security_protocol": "SASL_SSL", "ssl_cafile": secrets / "ca.pem", "sasl_mechanism": mechanism,
        "sasl_plain_username": "alice", "sasl_plain_password_file": secrets / password,
    }  # fmt: skip


def scram(secrets):
    return sasl(secrets, "SCRAM-SHA-256")


def scram_512(secrets):
    return sasl(secrets, "SCRAM-SHA-512")


def plain(secrets):
    return sasl(secrets, "PLAIN")


def oauth(secrets, **token):
    both = {"security_protocol": "SASL_SSL", "ssl_cafile": secrets / "ca.pem", "sasl_mechanism": "OAUTHBEARER"}
    return "OAUTH", both | token


def token_file(secrets):
    (secrets / "token").write_text(unsigned_token("alice", 3_600) + "\n")
    return oauth(secrets, sasl_oauth_token_file=secrets / "token")


def unsigned_token(subject, life_s):
    """An unsecured JSON Web Token, which Kafka's own validator takes: header, claims, no signature."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    now = time.time()
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now - 1, 'exp': now + life_s})}."


OFTEN, SELDOM = (mutual, scram, token_file), (tls, scram_512, plain)


@pytest.mark.parametrize("how", [*OFTEN, *(pytest.param(how, marks=pytest.mark.campaign) for how in SELDOM)])
async def test_events_are_scored_over_a_secured_connection(how, secure_kafka, secrets, tmp_path):
    service = SecureService(secure_kafka, tmp_path, *how(secrets))
    await service.create_topics()
    service.start()
    try:
        await service.send([event(n, f"comment {n}") for n in range(20)], batch_records=5)
        checked = service.run("topics", "check", "--json")
        assert (checked.returncode, checked.stderr.count("Traceback")) == (0, 0), checked.stderr
        assert json.loads(checked.stdout.splitlines()[-1])["partitions"][service.source] == 2
        await service.ready()
        scored = await service.read(service.sink, 20)
        assert sorted(json.loads(r.value)["id"] for r in scored) == list(range(20))
        assert PASSWORD not in service.get("/metrics")[1]
    finally:
        code = service.stop()
    assert code == 0
    assert PASSWORD not in service.log.read_text()


async def test_a_connection_cut_at_its_sessions_end_is_made_again(secure_kafka, secrets, tmp_path):
    """aiokafka never authenticates anew, so every connection is cut every few seconds: that is no trouble."""
    settings = {**scram(secrets)[1], "heartbeat_interval_ms": 300, "address": secure_kafka.addresses["BRIEF"]}
    service = SecureService(secure_kafka, tmp_path, "BRIEF", settings)
    await service.create_topics()
    service.start()
    try:
        await service.ready()
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + 3 * SESSION_MS / 1000:
            await service.send([event(n, f"comment {n}") for n in range(10)], batch_records=5)
            sent += 10
            scored = await service.read(service.sink, sent)
            assert service.get("/ready")[0] == 200, service.said()
        assert (await service.check_delivery())[0] == sent == len({(r.partition, offset_of(r)) for r in scored})
        assert service.metric("farthing_rebalances_total") == 1  # the membership outlives its connections
        assert service.metric("farthing_broker_errors_total") >= 1  # they were cut
    finally:
        code = service.stop()
    assert code == 0


async def test_events_flow_on_while_short_tokens_expire(secure_kafka, secrets, tmp_path):
    """The broker closes a connection whose token has expired; by then the next token is there."""
    (secrets / "client-secret").write_text(PASSWORD)
    answers = (200, lambda: {"access_token": unsigned_token("alice", TOKEN_S), "expires_in": TOKEN_S})
    with Endpoint(answers) as endpoint:
        how = oauth(
            secrets, sasl_oauth_token_url=endpoint.url, sasl_oauth_client_id="me",
            sasl_oauth_client_secret_file=secrets / "client-secret",
        )  # fmt: skip
        service = SecureService(secure_kafka, tmp_path, how[0], {**how[1], "heartbeat_interval_ms": 300})
        await service.create_topics()
        service.start()
        try:
            await service.ready()
            began, sent = time.monotonic(), 0
            while time.monotonic() < began + 2.5 * TOKEN_S:
                await service.send([event(n, f"comment {n}") for n in range(10)], batch_records=5)
                sent += 10
                scored = await service.read(service.sink, sent)
                assert service.get("/ready")[0] == 200, service.said()
            assert (await service.check_delivery())[0] == sent == len({(r.partition, offset_of(r)) for r in scored})
            assert service.metric("farthing_rebalances_total") == 1
        finally:
            code = service.stop()
        assert code == 0
        assert 3 <= len(endpoint.seen) < 20  # one for each life, not for each connection
    said = service.log.read_text()
    assert PASSWORD not in said
    assert "eyJ" not in said  # every JSON Web Token begins so
    errors = [json.loads(line) for line in said.splitlines() if '"level": "error"' in line]
    assert {line["logger"] for line in errors} <= {"aiokafka", "aiokafka.consumer.group_coordinator"}  # reconnections


async def test_a_client_certificate_that_is_renewed_is_used_at_the_next_connection(secure_kafka, secrets, tmp_path):
    """The first one is good; at the next connection the broker sees the one that is there by then."""
    shutil.copy(secrets / "client.pem", tmp_path / "c.pem")
    shutil.copy(secrets / "client.key", tmp_path / "c.key")
    settings = KafkaSettings(
        bootstrap_servers=(secure_kafka.addresses["MTLS"],), security_protocol="SSL", ssl_cafile=secrets / "ca.pem",
        ssl_certfile=tmp_path / "c.pem", ssl_keyfile=tmp_path / "c.key",
    )  # fmt: skip
    context = settings.client_options()["ssl_context"]  # as a client keeps it

    def connect():
        return look(secure_kafka.addresses["MTLS"], context, protocol="SSL")

    assert await asyncio.to_thread(connect) is None
    expired(secrets, tmp_path)
    fault = await asyncio.to_thread(connect)
    assert fault is not None and "client certificate" in fault.what, fault
    shutil.copy(secrets / "client.key", tmp_path / "c.key")
    shutil.copy(secrets / "client.pem", tmp_path / "c.pem")
    assert await asyncio.to_thread(connect) is None


def expired(secrets, folder):
    """Overwrite ``c.pem`` and ``c.key`` with a certificate of our authority that has expired."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.load_pem_x509_certificate((secrets / "ca.pem").read_bytes())
    signer = serialization.load_pem_private_key((secrets / "ca.key").read_bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().issuer_name(authority.subject).public_key(key.public_key())
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")]))
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(2))
        .not_valid_after(now - datetime.timedelta(1)).sign(signer, hashes.SHA256())
    )  # fmt: skip
    (folder / "c.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "c.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return "MTLS", {**tls(secrets)[1], "ssl_certfile": folder / "c.pem", "ssl_keyfile": folder / "c.key"}


def wrong_password_scram(secrets):
    return *sasl(secrets, "SCRAM-SHA-256", "wrong"), r"(?i)authenticat|SASL"


def wrong_password_plain(secrets):
    return *sasl(secrets, "PLAIN", "wrong"), r"(?i)authenticat|SASL"


def mechanism_not_offered(secrets):
    return "OAUTH", sasl(secrets, "SCRAM-SHA-512")[1], r"SCRAM-SHA-512|(?i:mechanism)"


def unknown_authority(secrets):
    return "TLS", {"security_protocol": "SSL", "ssl_cafile": secrets / "stranger.pem"}, r"(?i)certificate verify failed"


def no_client_certificate(secrets):
    return "MTLS", tls(secrets)[1], r"(?i)certificate|SSL"


def wrong_host(secrets):
    return "TLS", tls(secrets)[1], r"(?i)hostname mismatch|not valid for 'localhost'"


def plaintext_to_tls(secrets):
    return "TLS", {"security_protocol": "PLAINTEXT"}, r"(?i)security settings"


def unknown_user(secrets):
    return (
        "SASL",
        sasl(secrets, "SCRAM-SHA-256")[1] | {"sasl_plain_username": "nobody"},
        r"of the user 'nobody' by SCRAM",
    )


def expired_token(secrets):
    (secrets / "old-token").write_text(unsigned_token("alice", -60))
    return *oauth(secrets, sasl_oauth_token_file=secrets / "old-token"), r"the token has expired at .*; renew it"


def refused_token(secrets):
    (secrets / "bad-token").write_text("canary.notatoken.x")
    return *oauth(secrets, sasl_oauth_token_file=secrets / "bad-token"), r"the broker refuses the token"


def expired_certificate(secrets):
    return *expired(secrets, secrets), r"refuses the client certificate.*kafka\.ssl_certfile"


def no_login(secrets):
    return "SASL", tls(secrets)[1], r"the broker asks for a login; set kafka\.security_protocol to SASL_SSL"


def no_rights(secrets):
    """Bob exists, and may do nothing."""
    wrong = sasl(secrets, "SCRAM-SHA-256")[1] | {"sasl_plain_username": "bob"}
    return "SASL", wrong, r"the broker refuses to describe them to this user \(TOPIC_AUTHORIZATION_FAILED\)"


def tls_to_plaintext(secrets):
    return "PLAINTEXT", tls(secrets)[1], r"(?i)SSL|security settings"


WRONGS = [
    wrong_password_scram, wrong_password_plain, mechanism_not_offered, unknown_authority, no_client_certificate,
    wrong_host, plaintext_to_tls, tls_to_plaintext, unknown_user, expired_token, refused_token, expired_certificate,
    no_login, no_rights,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONGS)
async def test_a_wrong_setting_is_one_clear_error_in_bounded_time(wrong, secure_kafka, secrets, tmp_path):
    listener, settings, cause = wrong(secrets)
    if wrong is wrong_host:
        settings["address"] = secure_kafka.addresses["TLS"].replace("127.0.0.1", "localhost")
    service = SecureService(secure_kafka, tmp_path, listener, settings)
    if wrong is no_rights:
        await service.create_topics()
    command = ("serve",) if wrong in (wrong_password_scram, unknown_authority, no_rights) else ("topics", "check")
    began = time.monotonic()
    done = service.run(*command)
    said = done.stderr + done.stdout
    assert done.returncode == 3, said
    assert "Traceback" not in said
    assert WRONG not in said
    (error,) = [line for line in said.splitlines() if line.startswith("farthing: ")]
    assert "kafka.bootstrap_servers = " in error or wrong is no_rights
    assert re.search(cause, error), said
    assert time.monotonic() - began < ERROR_WITHIN_S


def test_a_key_that_cannot_be_opened_is_a_configuration_error(secrets, secure_kafka, tmp_path):
    listener, settings = mutual(secrets)
    service = SecureService(secure_kafka, tmp_path, listener, settings | {"ssl_password_file": secrets / "wrong"})
    done = service.run("topics", "check")
    assert done.returncode == 2, done.stderr
    assert "kafka.ssl_keyfile" in done.stderr
    assert WRONG not in done.stderr


# --- Rights.

ACLS = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.sh"
ROWS = [line.split() for line in re.search(r"TABLE'\n(.*?)\nTABLE", ACLS.read_text(), re.DOTALL)[1].splitlines()]


class Allowed:
    """Bob as worker, ledger or auditor of a service, with the rights of acls.sh under the names of the test."""

    def __init__(self, broker, service):
        admin = pytest.importorskip("confluent_kafka.admin")
        self._kinds = admin
        self._admin = admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        self._names = {
            "events.moderation": service.source, "scores.moderation": service.sink,
            "events.moderation.dead": service.dead, "farthing": service.group,
            "farthing.usage": f"usage.{service.name}", "farthing.heartbeats": f"beats.{service.name}",
            "farthing-ledger": f"ledger-{service.name}", "farthing-ledger-": f"ledger-{service.name}-",
        }  # fmt: skip

    def name(self, written):
        return self._names[written]

    def allow(self, rows):
        k = self._kinds
        bindings = [
            k.AclBinding(
                k.ResourceType[resource.upper()], self._names[name], k.ResourcePatternType[match.upper()], "User:bob",
                "*", k.AclOperation[operation], k.AclPermissionType.ALLOW,
            )
            for operation, resource, name, match in dict.fromkeys(tuple(row[1:]) for row in rows)
        ]  # fmt: skip
        for done in self._admin.create_acls(bindings).values():
            done.result(30)

    def clear(self):
        k = self._kinds
        everything = k.AclBindingFilter(
            k.ResourceType.ANY, None, k.ResourcePatternType.ANY, "User:bob", None, k.AclOperation.ANY,
            k.AclPermissionType.ANY,
        )  # fmt: skip
        for done in self._admin.delete_acls([everything]).values():
            done.result(30)

    async def create_topics(self, service):
        await service.create_topics()
        async with service.admin() as admin:
            compacted = {"cleanup.policy": "compact"}
            names = [self._names["farthing.usage"], self._names["farthing.heartbeats"]]
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=compacted) for name in names])

    def settings(self):
        meter = f'[meter]\nusage_topic = "{self._names["farthing.usage"]}"\n'
        meter += f'heartbeat_topic = "{self._names["farthing.heartbeats"]}"\n'
        return f'{meter}[ledger]\nport = {{}}\napp_id = "{self._names["farthing-ledger"]}"\ndata_dir = "{{}}"\n'


def rows_of(user):
    return [row for row in ROWS if row[0] == user]


def as_bob(secrets):
    return sasl(secrets, "SCRAM-SHA-256")[1] | {"sasl_plain_username": "bob"}


NEEDED = [row for row in rows_of("farthing-worker") if "farthing." not in row[3] and row[1] != "DESCRIBE_CONFIGS"]
"""Without the others a worker scores: its books wait, or it assumes what topics take by default, and says so."""


@pytest.mark.parametrize("left_out", NEEDED, ids=str)
async def test_a_right_that_is_missing_is_named_at_the_start(left_out, secure_kafka, secrets, tmp_path):
    service = SecureService(secure_kafka, tmp_path, "SASL", as_bob(secrets))
    allowed = Allowed(secure_kafka, service)
    service.config.write_text(service.config.read_text() + allowed.settings().format(0, tmp_path / "ledger"))
    await allowed.create_topics(service)
    allowed.allow([row for row in rows_of("farthing-worker") if row != left_out])
    try:
        began = time.monotonic()
        done = await asyncio.to_thread(service.run, "serve", timeout_s=60)
        assert time.monotonic() - began < ERROR_WITHIN_S
    finally:
        allowed.clear()
    assert done.returncode == 3, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("farthing: ")]
    assert allowed.name(left_out[3]) in error
    assert "deploy/kafka/acls.sh" in error


def started_ledger(service):
    with (service.folder / "ledger.log").open("wb") as log:
        command = [sys.executable, "-m", "farthing", "ledger", "-c", str(service.config)]
        return subprocess.Popen(command, stdout=log, stderr=log)


def ledger_said(service):
    return (service.folder / "ledger.log").read_text()


async def keeps_books(ledger, port, events, *, timeout_s):
    """Whether the ledger counts so many events in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and ledger.poll() is None:
        with contextlib.suppress(OSError, FarthingError):
            found = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}", "/api/accounts")
            if sum(one["scored"] + one["dead"] for one in found) == events:
                return True
        await asyncio.sleep(0.3)
    return False


async def test_the_written_rights_are_enough_to_score_to_keep_the_books_and_to_audit(secure_kafka, secrets, tmp_path):
    service = SecureService(secure_kafka, tmp_path, "SASL", as_bob(secrets))
    allowed = Allowed(secure_kafka, service)
    ledger_port = free_port()
    service.config.write_text(service.config.read_text() + allowed.settings().format(ledger_port, tmp_path / "ledger"))
    await allowed.create_topics(service)
    allowed.allow(rows_of("farthing-worker"))
    service.start()
    ledger = None
    try:
        await service.ready()
        await service.send([event(n, f"comment {n}") for n in range(20)] + [b"no json"], batch_records=7)
        assert len(await service.read(service.sink, 20)) == 20
        assert len(await service.read(service.dead, 1)) == 1
        await service.all_committed()
        assert "topic_limits_unknown" not in service.log.read_text()
        allowed.clear()
        allowed.allow(rows_of("farthing-worker") + rows_of("farthing-ledger"))
        ledger = started_ledger(service)
        assert await keeps_books(ledger, ledger_port, 21, timeout_s=90), (tmp_path / "ledger.log").read_text()
        denied = await asyncio.to_thread(service.run, "audit", timeout_s=60)
        assert denied.returncode == 3, denied.stderr
        allowed.allow(rows_of("farthing-audit"))
        done = await asyncio.to_thread(service.run, "audit", "--json", timeout_s=60)
        assert done.returncode == 0, done.stderr
    finally:
        if ledger is not None:
            ledger.send_signal(signal.SIGTERM)
            ledger.wait(30)
        allowed.clear()
        service.stop()


@pytest.mark.campaign
@pytest.mark.parametrize("left_out", rows_of("farthing-ledger"), ids=str)
async def test_the_ledger_needs_each_of_its_rights(left_out, secure_kafka, secrets, tmp_path):
    service = SecureService(secure_kafka, tmp_path, "SASL", as_bob(secrets))
    allowed = Allowed(secure_kafka, service)
    ledger_port = free_port()
    service.config.write_text(service.config.read_text() + allowed.settings().format(ledger_port, tmp_path / "ledger"))
    await allowed.create_topics(service)
    allowed.allow(rows_of("farthing-worker"))
    service.start()
    ledger = None
    try:
        await service.ready()
        await service.send([event(n, f"comment {n}") for n in range(20)], batch_records=7)
        await service.all_committed()
        assert service.stop() == 0
        allowed.clear()  # the worker may read the usage, too
        allowed.allow([row for row in rows_of("farthing-ledger") if row != left_out])
        for _ in range(2):  # the first start has nothing to restore
            ledger = started_ledger(service)
            kept = await keeps_books(ledger, ledger_port, 20, timeout_s=40)
            if not kept:
                break
            ledger.send_signal(signal.SIGTERM)
            ledger.wait(60)
            if "changelog_write_lost" in ledger_said(service):
                break
        said = ledger_said(service)
        if kept:  # from the topics alone: what is lost is said
            assert "changelog_write_lost" in said and "AuthorizationFailed" in said, said
        else:
            assert ledger.wait(30) == 3, said
            assert "acls.sh" in said and "bug in Farthing" not in said, said
    finally:
        if ledger is not None and ledger.poll() is None:
            ledger.kill()
            ledger.wait(30)
        allowed.clear()
        service.stop()


# --- What must be nowhere.

DEBUG = """
import logging, os, sys
from farthing.process import logs
real = logs.configure
logs.configure = lambda **_: real(level=logging.DEBUG)
if "topics" in sys.argv:
    import farthing.serving.topics as topics
    async def look(settings):
        options = settings.kafka.client_options()
        raise RuntimeError("a bug, while options are at hand")
    topics.look = look
from farthing.__main__ import main
main()
"""


def with_token(service, token):
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.read().decode()


def process_list(pid):
    return [Path(f"/proc/{pid}/{name}").read_text() for name in ("cmdline", "environ")]


async def test_secrets_and_texts_are_in_no_log_page_metric_error_dump_or_process_list(secure_kafka, secrets, tmp_path):
    canaries = {name: f"canary-{name}-9f31" for name in ("text", "dead", "token", "passphrase")}
    (tmp_path / "token").write_text(canaries["token"])
    settings = sasl(secrets, "PLAIN")[1]
    extra = f'token_file = "{tmp_path / "token"}"\n'
    service = SecureService(secure_kafka, tmp_path, "SASL", settings, extra=extra, route={"tenant": "account"})
    await service.create_topics()
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    program = [sys.executable, "-c", DEBUG]
    texts = []
    with service.log.open("ab") as log:
        service.process = await asyncio.to_thread(
            subprocess.Popen, [*program, "serve", "-c", str(service.config)], stdout=log, stderr=log, env=environment
        )
    try:
        await service.ready()
        good = [{"id": f"{canaries['text']}-{n}", "text": canaries["text"], "account": "acme"} for n in range(5)]
        bad = [canaries["dead"].encode(), json.dumps({"id": canaries["dead"], "text": 5}).encode()]
        await service.send([json.dumps(one).encode() for one in good] + bad, batch_records=2)
        assert len(await service.read(service.sink, 5)) == 5
        assert len(await service.read(service.dead, 2)) == 2
        assert service.get("/metrics")[0] == 401
        metrics = with_token(service, canaries["token"])
        assert "farthing_" in metrics
        texts += [metrics, *(service.get(path)[1] for path in ("/", "/ready", "/live", "/metrics", "/none"))]
        texts += process_list(service.process.pid)
        for command in (("config", "show"), ("config", "show", "--json")):
            done = await asyncio.to_thread(service.run, *command)
            assert done.returncode == 0
            texts.append(done.stdout + done.stderr)
        crashed = await asyncio.to_thread(
            subprocess.run, [*program, "topics", "check", "-c", str(service.config)], env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert crashed.returncode == 70, crashed.stderr
        (dump,) = (tmp_path / "state").rglob("*.txt")
        texts += [crashed.stdout + crashed.stderr, dump.read_text()]
    finally:
        service.stop()
    texts.append(service.log.read_text())
    assert '"level": "debug"' in texts[-1]
    for canary in (PASSWORD, *canaries.values()):
        assert not [text[max(0, text.find(canary) - 200) :][:400] for text in texts if canary in text]

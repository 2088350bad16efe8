"""TLS, mutual TLS and SASL over TLS against Apache Kafka, with certificates made here; and what a wrong one says."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka

from .running import Service, event, offset_of

pytestmark = pytest.mark.kafka

PASSWORD = "canary-7f3a-secret"
WRONG = "wrong-9c1e-secret"
ERROR_WITHIN_S = 20  # start of the interpreter included
SESSION_MS = 3_000  # after which the broker drops connections of the listener BRIEF that do not authenticate anew
USER = f'[name="alice",password="{PASSWORD}"]'
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
            listeners={"TLS": "SSL", "MTLS": "SSL", "SASL": "SASL_SSL", "BRIEF": "SASL_SSL"},
            format_arguments=("--add-scram", f"SCRAM-SHA-256={USER}"),
            properties={
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(secrets / "server.chain.pem"),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(secrets / "ca.pem"),
                "listener.name.mtls.ssl.client.auth": "required",
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
                f"{sasl}scram-sha-256.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
                f"{sasl}plain.sasl.jaas.config": f'{JAAS}.plain.PlainLoginModule required user_alice="{PASSWORD}";',
                "listener.name.brief.sasl.enabled.mechanisms": "SCRAM-SHA-256",
                "listener.name.brief.scram-sha-256.sasl.jaas.config": f"{JAAS}.scram.ScramLoginModule required;",
                "listener.name.brief.scram-sha-256.connections.max.reauth.ms": str(SESSION_MS),
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


def plain(secrets):
    return sasl(secrets, "PLAIN")


@pytest.mark.parametrize("how", [tls, mutual, scram, plain])
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


def wrong_password_scram(secrets):
    return *sasl(secrets, "SCRAM-SHA-256", "wrong"), r"(?i)authenticat|SASL"


def wrong_password_plain(secrets):
    return *sasl(secrets, "PLAIN", "wrong"), r"(?i)authenticat|SASL"


def mechanism_not_offered(secrets):
    return *sasl(secrets, "SCRAM-SHA-512"), r"SCRAM-SHA-512|(?i:mechanism)"


def unknown_authority(secrets):
    return "TLS", {"security_protocol": "SSL", "ssl_cafile": secrets / "stranger.pem"}, r"(?i)certificate verify failed"


def no_client_certificate(secrets):
    return "MTLS", tls(secrets)[1], r"(?i)certificate|SSL"


def wrong_host(secrets):
    return "TLS", tls(secrets)[1], r"(?i)hostname mismatch|not valid for 'localhost'"


def plaintext_to_tls(secrets):
    return "TLS", {"security_protocol": "PLAINTEXT"}, r"(?i)security settings"


def tls_to_plaintext(secrets):
    return "PLAINTEXT", tls(secrets)[1], r"(?i)SSL|security settings"


WRONGS = [
    wrong_password_scram, wrong_password_plain, mechanism_not_offered, unknown_authority, no_client_certificate,
    wrong_host, plaintext_to_tls, tls_to_plaintext,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONGS)
def test_a_wrong_setting_is_one_clear_error_in_bounded_time(wrong, secure_kafka, secrets, tmp_path):
    listener, settings, cause = wrong(secrets)
    if wrong is wrong_host:
        settings["address"] = secure_kafka.addresses["TLS"].replace("127.0.0.1", "localhost")
    service = SecureService(secure_kafka, tmp_path, listener, settings)
    command = ("serve",) if wrong in (wrong_password_scram, unknown_authority) else ("topics", "check")
    began = time.monotonic()
    done = service.run(*command)
    said = done.stderr + done.stdout
    assert done.returncode == 3, said
    assert "Traceback" not in said
    assert WRONG not in said
    (error,) = [line for line in said.splitlines() if line.startswith("farthing: ")]
    assert "kafka.bootstrap_servers = " in error
    assert re.search(cause, error), said
    assert time.monotonic() - began < ERROR_WITHIN_S


def test_a_key_that_cannot_be_opened_is_a_configuration_error(secrets, secure_kafka, tmp_path):
    listener, settings = mutual(secrets)
    service = SecureService(secure_kafka, tmp_path, listener, settings | {"ssl_password_file": secrets / "wrong"})
    done = service.run("topics", "check")
    assert done.returncode == 2, done.stderr
    assert "kafka.ssl_keyfile" in done.stderr
    assert WRONG not in done.stderr

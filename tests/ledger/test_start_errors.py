"""A ledger that cannot start says why in one sentence, with the exit code of every start-up error; no Kafka is needed."""

import socket
import subprocess
import sys

import pytest

from farthing.errors import BrokerError, StartError
from farthing.ledger.platform import has_faust
from farthing.ledger.web import require_address
from farthing.local.process import free_port

pytestmark = pytest.mark.skipif(not has_faust(), reason="there is no Faust for this platform")


def start(folder, *, broker, port, extra="", data_dir=None, limit=None):
    """Run ``farthing ledger`` to its end: the process, and its last lines that are the command's own voice."""
    config = folder / "farthing.toml"
    config.write_text(
        f'[kafka]\nbootstrap_servers = ["127.0.0.1:{broker}"]\n{extra}'
        '[[route]]\nbundle = "moderation"\nsource = "e"\nsink = "s"\ndead_letters = "d"\n'
        f'[ledger]\nport = {port}\ndata_dir = "{data_dir or folder}"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "farthing", "ledger", "-c", str(config)],
        capture_output=True, text=True, timeout=120, check=False, preexec_fn=limit,
    )  # fmt: skip
    return done, [line for line in done.stderr.splitlines() if line.startswith("farthing: ")]


def assert_one_sentence(done, said, *words):
    assert done.returncode == StartError.exit_code == BrokerError.exit_code == 3, done.stderr
    assert len(said) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == said[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert "crash" not in done.stdout + done.stderr
    for word in words:
        assert word in said[0]


def test_no_broker(tmp_path):
    broker = free_port()
    done, said = start(tmp_path, broker=broker, port=free_port())
    assert_one_sentence(
        done, said, f"kafka.bootstrap_servers = 127.0.0.1:{broker}", "check that a broker listens there"
    )


def test_a_broker_that_does_not_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        done, said = start(
            tmp_path, broker=deaf.getsockname()[1], port=free_port(), extra="request_timeout_ms = 1000\n"
        )
    assert_one_sentence(done, said, "kafka.bootstrap_servers = 127.0.0.1", "check that a broker listens there")


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done, said = start(tmp_path, broker=free_port(), port=port)
    assert_one_sentence(done, said, f"ledger.port = {port}", "set ledger.port")


async def test_an_address_that_was_looked_at_is_free_again():
    port = free_port()
    await require_address("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(StartError, match=f"ledger.port = {port}"):
            await require_address("127.0.0.1", port)


def no_room():
    """What a full disk is like for a process: it can write to no file."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")
@pytest.mark.parametrize("why", ["no room", "a file"])
def test_a_folder_that_cannot_be_written(tmp_path, why):
    """Faust made its folders there, and failed with a traceback or later."""
    data_dir = tmp_path / "books"
    if why == "a file":
        data_dir.write_text("")
    done, said = start(tmp_path, broker=free_port(), port=free_port(), data_dir=data_dir, limit=no_room)
    assert_one_sentence(done, said, f"ledger.data_dir = {str(data_dir)!r}", "cannot be written", "no book is lost")

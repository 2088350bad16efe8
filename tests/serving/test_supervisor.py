"""When the supervisor starts a worker again and when it gives up, with workers that do as they are told."""

import asyncio
import errno
import os
import textwrap

import pytest
from structlog.testing import capture_logs

from farthing.config import Settings
from farthing.serving.supervisor import Supervisor

STUB = """
import http.server, json, os, pathlib, sys, threading, time

folder = pathlib.Path(os.environ["STUB_FOLDER"])
address_file = pathlib.Path(sys.argv[sys.argv.index("--address-file") + 1])
index = sys.argv[sys.argv.index("--worker-index") + 1]
lives = folder / f"lives-{index}"
lives.write_text(lives.read_text() + "x" if lives.exists() else "x")
life = len(lives.read_text())


class Probes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        (folder / f"asked-{index}-{life}").touch()
        token = os.environ.get("STUB_TOKEN_FILE")
        if token and self.headers["Authorization"] != "Bearer " + pathlib.Path(token).read_text():
            self.send_response(401)
        else:
            self.send_response(200 if os.environ["STUB_READY"] == "yes" else 503)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Probes)
threading.Thread(target=server.serve_forever, daemon=True).start()
temporary = address_file.with_suffix(".tmp")
temporary.write_text(json.dumps({"host": "127.0.0.1", "port": server.server_port}))
temporary.replace(address_file)
while life == 1 and index == "0" and not (folder / f"asked-{index}-{life}").exists():
    time.sleep(0.02)
if life == 1 and index == "0":
    time.sleep(0.2)  # the answer is on its way
    os._exit(3)
time.sleep(600)
"""


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Make a supervisor whose workers are the stub."""
    package = tmp_path / "stub" / "farthing"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(textwrap.dedent(STUB))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("STUB_FOLDER", str(tmp_path))

    def make(*, ready, **http):
        monkeypatch.setenv("STUB_READY", "yes" if ready else "no")
        route = {"bundle": "moderation", "source": "a", "sink": "b", "dead_letters": "c"}
        settings = Settings.model_validate({"route": [route], "worker": {"workers": 2}, "http": {"port": 0, **http}})
        return Supervisor(settings, ["serve"])

    return make


async def until(condition, timeout_s=30):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_worker_that_was_ready_is_started_again_though_nobody_asked_for_it(supervised, tmp_path):
    """It exits with the code of a failed start; only the supervisor itself has looked whether it was ready."""
    supervisor = supervised(ready=True)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: (tmp_path / "asked-0-2").exists())  # its second life
    assert not running.done()
    assert (tmp_path / "lives-1").read_text() == "x"
    supervisor._stopping.set()
    assert await asyncio.wait_for(running, 30) == 0
    assert all(child.process.returncode is not None for child in supervisor._children)


async def test_a_worker_that_cannot_start_ends_the_service_with_its_code(supervised, tmp_path):
    supervisor = supervised(ready=False)
    assert await asyncio.wait_for(supervisor.run(), 30) == 3
    assert (tmp_path / "lives-0").read_text() == "x"
    assert all(child.process.returncode is not None for child in supervisor._children)


async def test_workers_have_sessions_of_their_own(supervised, tmp_path):
    """So Ctrl-C in a terminal reaches the supervisor alone."""
    supervisor = supervised(ready=True)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: (tmp_path / "asked-1-1").exists())
    pid = supervisor._children[1].process.pid
    assert os.getpgid(pid) == pid != os.getpgid(0)
    supervisor._stopping.set()
    await asyncio.wait_for(running, 30)


async def test_a_renewed_token_is_sent_to_the_workers_from_then_on(supervised, tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("first-token")
    monkeypatch.setenv("STUB_TOKEN_FILE", str(file))
    supervisor = supervised(ready=True, token_file=file)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: (tmp_path / "asked-0-2").exists() and all(child.was_ready for child in supervisor._children))
    for token in ("second-token", "third"):
        file.with_suffix(".new").write_text(token)
        file.with_suffix(".new").replace(file)
        assert b"\nfarthing_workers 2\n" in await supervisor._metrics()
    supervisor._stopping.set()
    assert await asyncio.wait_for(running, 30) == 0


async def test_a_worker_that_could_not_be_forked_is_tried_again(supervised, tmp_path, monkeypatch):
    monkeypatch.setattr("farthing.serving.supervisor.FIRST_PAUSE_S", 0.01)
    start, failures = asyncio.create_subprocess_exec, [errno.EAGAIN, errno.ENOMEM, errno.EAGAIN]

    async def without_room(*arguments, **how):
        if arguments[arguments.index("--worker-index") + 1] == "1" and failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return await start(*arguments, **how)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", without_room)
    supervisor = supervised(ready=True)
    with capture_logs() as logged:
        running = asyncio.create_task(supervisor.run())
        await until(lambda: (tmp_path / "asked-1-1").exists())
        supervisor._stopping.set()
        assert await asyncio.wait_for(running, 30) == 0
    assert [line["error"] for line in logged if line["event"] == "worker_not_started"] == [
        str(OSError(n, os.strerror(n))) for n in (errno.EAGAIN, errno.ENOMEM, errno.EAGAIN)
    ]

"""A start is waited for as long as it gets on, and no longer."""

import asyncio
import subprocess
import sys
import textwrap

import pytest

from farthing.demo import child as child_module
from farthing.demo.child import Child
from farthing.errors import StartError
from farthing.local.process import free_port

SERVER = """
    import http.server, sys, time

    class Handler(http.server.BaseHTTPRequestHandler):
        began = time.monotonic()

        def do_GET(self):
            waited = time.monotonic() - self.began
            status, text = answer(waited)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    def answer(waited):
        {answer}

    http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


class Made(Child):
    """A process that runs a program given as text."""

    def __init__(self, folder, answer="", *, program=None):
        port = free_port()
        super().__init__("worker", [], folder / "worker.log", f"http://127.0.0.1:{port}")
        self.program = program or textwrap.dedent(SERVER).format(answer=answer, port=port)

    def start(self):
        with self._log.open("wb") as out:
            self._process = subprocess.Popen([sys.executable, "-u", "-c", self.program], stdout=out, stderr=out)


@pytest.fixture
def made(monkeypatch):
    """Makes processes that are ended with the test; quiet ones are given up after two seconds."""
    monkeypatch.setattr(child_module, "QUIET_TIMEOUT_S", 2.0)
    children = []

    def make(*arguments, **named):
        children.append(Made(*arguments, **named))
        children[-1].start()
        return children[-1]

    yield make
    for one in children:
        if one._process is not None:
            one._process.kill()
            one._process.wait(10)


def test_settings_in_the_users_shell_do_not_reach_it(tmp_path, monkeypatch):
    file = tmp_path / "farthing.toml"
    file.write_text(
        '[kafka]\nbootstrap_servers = ["here:9092"]\n'
        '[[route]]\nbundle = "moderation"\nsource = "in"\nsink = "out"\ndead_letters = "dead"\n'
    )
    monkeypatch.setenv("FARTHING_KAFKA__BOOTSTRAP_SERVERS", "elsewhere:9092")
    monkeypatch.setenv("FARTHING_ROUTE__0__SOURCE", "another")
    child = Child("worker", ["config", "show", "-c", str(file)], tmp_path / "log", "http://127.0.0.1:1")
    child.start()
    assert child._process.wait(120) == 0
    shown = (tmp_path / "log").read_text()
    assert "here:9092" in shown
    assert "elsewhere" not in shown and "another" not in shown


async def test_it_waits_as_long_as_kernels_are_compiled(made, tmp_path):
    child = made(tmp_path, "return (200, '') if waited > 6 else (503, f'joining: {int(waited * 2)} of 12')")
    heard = []
    await child.ready(heard.append)
    assert len(set(heard)) > 5


async def test_it_waits_as_long_as_the_log_grows(made, tmp_path):
    child = made(tmp_path, "print(waited); return (200, '') if waited > 6 else (503, 'joining: the same')")
    await child.ready()


@pytest.mark.skipif(sys.platform != "linux", reason="reads CPU time from /proc")
async def test_it_waits_as_long_as_a_start_computes(made, tmp_path):
    child = made(tmp_path, program="while True: pass")
    with pytest.raises(TimeoutError):  # the test's patience ends first
        await asyncio.wait_for(child.ready(), 5)


async def test_a_start_that_does_not_get_on_is_given_up(made, tmp_path):
    child = made(tmp_path, "print('the last line') if waited < 1 else None; return 503, 'joining: the group'")
    with pytest.raises(StartError, match=r"(?s)worker was not ready within \d+ s, the last \d+ s .*the last line"):
        await child.ready()


async def test_a_process_that_ends_is_said_with_its_log(made, tmp_path):
    child = made(tmp_path, program="print('no room on disk'); raise SystemExit(3)")
    with pytest.raises(StartError, match=r"(?s)ended with exit code 3.*no room on disk"):
        await child.ready()

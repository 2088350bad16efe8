"""Starts commands of ``farthing`` as processes that have imported everything already.

Most of a worker's start is imports, and the suite starts hundreds of workers. So one process
imports what they need and then does nothing but fork: what it makes are processes like any others, with a pid, signals,
streams and an exit code of their own, and ``farthing.__main__.main`` runs in them from its first line. Python's own
start is left out, and so whatever depends on it (another environment, options of the interpreter) is started afresh.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

ANSWER_S = 120  # for importing, on a busy machine
PRELOADED = {"serve": "farthing.serving.worker", "ledger": "farthing.ledger.run"}
DESCRIPTORS = 4  # standard input, output, error, and the socket for the process's end

_environment = dict(os.environ)
_servers = {}


def start(*arguments, stdout, stderr, **environment):
    """Start ``farthing ARGUMENTS`` with nothing on standard input; the result is like ``subprocess.Popen``'s."""
    module = PRELOADED.get(arguments[0])
    changed = {
        name for name, value in {**_environment, **os.environ}.items() if os.environ.get(name) != _environment.get(name)
    }
    if module is None or changed - {"PYTEST_CURRENT_TEST"} or not sys.platform.startswith("linux"):
        command, environment = [sys.executable, "-m", "farthing", *arguments], {**os.environ, **environment}
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment)
    if module not in _servers:
        _servers[module] = _Server(module)
    return _servers[module].fork(arguments, environment, stdout, stderr)


class _Server:
    """A process that forks, seen from outside. It ends with this one: it reads from a socket that is closed then."""

    def __init__(self, module):
        self._socket, other = socket.socketpair()
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", module, str(other.fileno())],
                pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, cwd=Path(__file__).parents[1],
            )  # fmt: skip
        atexit.register(self._end)

    def _end(self):
        self._socket.close()
        self._process.wait(ANSWER_S)

    def fork(self, arguments, environment, stdout, stderr):
        ended, other = socket.socketpair()
        with other, open(os.devnull, "rb") as nothing:
            descriptors = [nothing.fileno(), stdout.fileno(), stderr.fileno(), other.fileno()]
            request = json.dumps([arguments, os.getcwd(), environment]).encode()
            socket.send_fds(self._socket, [len(request).to_bytes(4) + request], descriptors)
        return Forked(ended, ["farthing", *arguments])


class Forked:
    """A process that was forked elsewhere, with the names of ``subprocess.Popen``."""

    def __init__(self, ended, args):
        self._ended = ended
        self.args = args
        self.returncode = None
        self.pid = self._number(ANSWER_S)
        assert self.pid, "the process that forks is gone"

    def _number(self, timeout_s):
        """The next number that the forking process sends; None if there is none in time."""
        if not select.select([self._ended], [], [], timeout_s)[0]:
            return None
        return int.from_bytes(self._ended.recv(4), signed=True)

    def poll(self):
        if self.returncode is None:
            self.returncode = self._number(0)
            if self.returncode is not None:
                self._ended.close()
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            select.select([self._ended], [], [], timeout)
            if self.poll() is None:
                raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


# ------------------------------------------------------------------------------------------------ the other process


def receive(channel):
    """The next request and its descriptors; None at the end."""
    head, descriptors, _, _ = socket.recv_fds(channel, 4, DESCRIPTORS)
    if not head:
        return None
    data = b""
    while len(data) < int.from_bytes(head):
        data += channel.recv(int.from_bytes(head) - len(data))
    return json.loads(data), descriptors


def serve(module, channel):
    """Fork for each request, and send each process's number and end. Returns the arguments, in a forked process alone."""
    import_module("farthing.cli")
    import_module(module)
    ends = {}
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            for pid in list(ends):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with ends.pop(pid) as end, contextlib.suppress(OSError):  # nobody waits for it any more
                        end.send(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
        if channel in ready:
            request = receive(channel)
            if request is None:
                return None
            (arguments, folder, environment), (*streams, end) = request
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (channel, woken, waker, *ends.values()):
                    other.close()
                os.close(end)
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                os.chdir(folder)
                os.environ.update(environment)
                return arguments
            for stream in streams:
                os.close(stream)
            ends[pid] = socket.socket(fileno=end)
            ends[pid].send(pid.to_bytes(4, signed=True))


if __name__ == "__main__":
    _, module, descriptor = sys.argv
    arguments = serve(module, socket.socket(fileno=int(descriptor)))
    if arguments is not None:
        from farthing.__main__ import main

        sys.argv = ["farthing", *arguments]
        main(arguments)

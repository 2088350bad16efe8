"""Runs a command of ``farthing`` in the test's own process, because starting Python takes seconds each time."""

import contextlib
import io
import os
import sys
import threading
from typing import NamedTuple
from unittest import mock

import structlog

from farthing.cli import app
from farthing.process import failure

LIMIT_S = 120


class Done(NamedTuple):
    """What became of a command, with the names of ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: str
    stderr: str


def farthing(*arguments, cwd=None, stdin=b"", **environment):
    """Run ``farthing ARGUMENTS`` in a thread of its own, where there is no event loop yet."""
    given, out, err = (io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="") for data in (stdin, b"", b""))
    ended = []

    def run():
        try:
            code = app([str(argument) for argument in arguments])
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            code = 1 if isinstance(end.code, str) else end.code
        except BaseException as error:
            code = failure.last_word(error)
        ended.append(code or 0)

    with (
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.dict(os.environ, environment),
        contextlib.chdir(cwd or os.getcwd()), mock.patch.object(sys, "stdin", given),
        mock.patch.object(structlog, "configure", lambda **_: None),  # loggers would keep it for other tests
    ):  # fmt: skip
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(LIMIT_S)
    said, complained = text_of(out), text_of(err)
    assert ended, f"farthing {arguments} did not end within {LIMIT_S} s: {said} {complained}"
    return Done(ended[0], said, complained)


def text_of(stream):
    stream.flush()
    return stream.buffer.getvalue().decode()

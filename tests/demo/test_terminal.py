"""While the demo draws nothing is echoed: the terminal of a test shows what a user's would."""

import os
import re
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("terminals of POSIX", allow_module_level=True)

import pty
import select
import signal
import termios
import time

PICTURE = """
import time, sys
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from farthing.demo.terminal import without_echo
console = Console(stderr=True)
console.print("before")
try:
    with without_echo(), Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(Panel("the picture", title="farthing demo"), refresh=True)
            time.sleep(0.1)
except KeyboardInterrupt:
    pass
console.print("after")
"""
COLUMNS = 40


def screen(output):
    """What a terminal of 40 columns shows after this output: enough of one for what rich writes."""
    rows, row, column = [[" "] * COLUMNS], 0, 0
    for match in re.finditer(r"\x1b\[([?\d;]*)([A-Za-z])|(\r)|(\n)|(.)", output, re.DOTALL):
        number, command, carriage, line, one = match.groups()
        if command == "A":
            row = max(row - int(number or 1), 0)
        elif command == "K":
            rows[row] = [" "] * COLUMNS
        elif carriage:
            column = 0
        elif line:
            row += 1
        elif one:
            if column == COLUMNS:
                row, column = row + 1, 0
            while row >= len(rows):
                rows.append([" "] * COLUMNS)
            rows[row][column] = one
            column += 1
        while row >= len(rows):
            rows.append([" "] * COLUMNS)
    return [text for text in ("".join(cells).rstrip() for cells in rows) if text]


@pytest.mark.parametrize("keys", [b"\x03", b"abc\n\n\x03"])
def test_ctrl_c_leaves_no_border_behind(keys):
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the suite runs in the background of a shell
        environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": "20", "TERM": "xterm"}
        os.execve(sys.executable, [sys.executable, "-c", PICTURE], environment)
    output, sent = b"", False
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            output += data
            if output.count(b"the picture") > 2 and not sent:
                assert not termios.tcgetattr(terminal)[3] & termios.ECHO
                sent = True
                os.write(terminal, keys)
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)
        os.close(terminal)
    assert sent
    assert screen(output.decode()) == ["before", "after"]

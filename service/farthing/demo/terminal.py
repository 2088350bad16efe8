"""The terminal while the demo draws: keys that are pressed do not show.

What a terminal echoes, ``^C`` too, moves the cursor; the picture would then be redrawn and wiped out from the wrong
line, and a part of its frame stays behind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

if sys.platform != "win32":
    import termios


@contextmanager
def without_echo() -> Iterator[None]:
    """Turn the echo off for as long as the context lasts, where standard input is our terminal; Ctrl-C still works."""
    if sys.platform == "win32":
        yield
        return
    try:
        terminal = sys.stdin.fileno()
        ours = os.tcgetpgrp(terminal) == os.getpgrp()  # a process in the background would be stopped for trying
        before = termios.tcgetattr(terminal)
    except (OSError, ValueError, AttributeError, termios.error):  # no terminal, or no standard input at all
        yield
        return
    if not ours:
        yield
        return
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    with suppress(termios.error):
        termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)  # what was typed meanwhile was for nobody

"""The last word of a process: whatever ends it becomes one sentence, an exit code and, for a bug, a file to report.

Standard library only: it must work when nothing else can be imported.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from farthing.errors import INTERNAL_EXIT_CODE, FarthingError, OutputError, StartError
from farthing.process.output import ReaderGone

INTERRUPTED_EXIT_CODE: Final = 130  # 128 + SIGINT, as shells say it
KEPT_FILES: Final = 20
_LONGEST_REASON: Final = 300
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def last_word(error: BaseException) -> int:
    """Say on standard error what ended the process, and give its exit code."""
    if any(isinstance(one, KeyboardInterrupt) for one in _with_causes(error)):
        # An import or a compilation that is interrupted may end in some other error, with this one behind it.
        return INTERRUPTED_EXIT_CODE
    if isinstance(error, ReaderGone):
        return 0  # `farthing score ... | head` has what it wanted
    if isinstance(error, FarthingError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        place = f"{error.filename}: " if error.filename else ""
        _say(f"{place}the disk is full ({error.strerror}); make room and run the command again")
        return OutputError.exit_code
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error.strerror or error):
        _say("no folder for temporary files is writable; set TMPDIR to one that is")
        return StartError.exit_code
    _say(f"something unexpected happened: {reason(error)}. This is a bug in Farthing: {report(error)}")
    return INTERNAL_EXIT_CODE


def install_hooks() -> None:
    """Report errors in threads, and those that Python cannot raise, likewise: a sentence and a file, no traceback."""

    def of_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            name = arguments.thread.name if arguments.thread is not None else "?"
            _say(f"thread {name} failed: {reason(arguments.exc_value)}. {report(arguments.exc_value)}")

    def unraisable(arguments: sys.UnraisableHookArgs) -> None:
        error = arguments.exc_value
        if error is not None and not isinstance(error, KeyboardInterrupt | BrokenPipeError):
            _say(f"an error was raised where nothing could catch it: {reason(error)}. {report(error)}")

    threading.excepthook = of_thread
    sys.unraisablehook = unraisable


def _say(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # nobody is listening: the exit code still says it
        sys.stderr.write(f"farthing: {text}\n")
        sys.stderr.flush()


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [other for other in (one.__cause__, one.__context__) if other is not None]


def reason(error: BaseException) -> str:
    """Give an exception's type and text on one line, not too long."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + " ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def report(error: BaseException) -> str:
    """Write the traceback to a file; say where, or, where none can be written, what matters most of it."""
    try:
        file = _write(error)
    except OSError as failed:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        places = ", ".join(f"{Path(f.filename).name}:{f.lineno} in {f.name}" for f in reversed(frames)) or "no frames"
        return f"please report it with this location (no file could be written: {failed.strerror or failed}): {places}"
    return f"please report it with the file {file}, which has the details"


def _write(error: BaseException) -> Path:
    lines = [
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        f"Python {sys.version.split()[0]}, {platform.platform()}",
        f"command: {' '.join(sys.argv)}",
        "",
        *(line.rstrip("\n") for line in traceback.format_exception(error)),
    ]
    text = "\n".join(lines) + "\n"
    failed = OSError(errno.ENOENT, "there is no folder for it")
    for folder in report_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _forget_old(folder)
            # Private, and under a name that nobody can guess: the folder may be shared by all users.
            descriptor, name = tempfile.mkstemp(".txt", time.strftime("farthing-error-%Y%m%dT%H%M%S-"), folder)
        except OSError as refused:
            failed = refused
            continue
        try:
            with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError as refused:
            failed = refused
            with suppress(OSError):
                os.unlink(name)
            continue
        return Path(name)
    raise failed


def report_folders() -> Iterator[Path]:
    """Give the platform's place for such files, then the folder for temporary ones; absolute ones only."""
    with suppress(RuntimeError):  # no home
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = str(Path.home() / "Library" / "Logs")
        else:
            base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        if os.path.isabs(base):
            yield Path(base) / "farthing"
    with suppress(OSError):
        yield Path(tempfile.gettempdir())


def _forget_old(folder: Path) -> None:
    """Keep the last of our files: a worker that fails at each restart must not fill the disk."""
    with suppress(OSError):
        files = sorted(folder.glob("farthing-error-*.txt"))
        for file in files[: -(KEPT_FILES - 1)]:
            with suppress(OSError):
                file.unlink()

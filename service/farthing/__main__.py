"""The door: ``python -m farthing`` and the ``farthing`` command. Whatever ends a command ends here, in one sentence."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from farthing.process.python import wrong_python


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    0 ok, 1 a check failed, 2 configuration, 3 start-up, 4 data, 70 a bug of ours, 130 interrupted.
    """

    def command() -> object:
        from farthing.cli import app

        return app(arguments if arguments is None else list(arguments))

    run(command)


def run(command: Callable[[], object]) -> NoReturn:
    """Run any command behind the door and exit: with its SystemExit's code or the int that it returns, else 0."""
    wrong = wrong_python()
    if wrong is not None:
        sys.exit(f"farthing: {wrong}")
    try:
        from farthing.process import failure, memory, output

        memory.collect_rarely()
        output.open_standard_streams()
        failure.install_hooks()
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        code = _code_of(command)
        output.finish()
    except BaseException as error:
        code = failure.last_word(error)
        with suppress(Exception):
            output.finish()
    # What Python does after this takes a moment; a second Ctrl-C ends it at once, without a word.
    with suppress(ValueError):  # not the main thread
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # whom a shell put into the background
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _code_of(command: Callable[[], object]) -> int:
    try:
        returned = command()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        returned = ended.code
    return returned if isinstance(returned, int) else 0


if __name__ == "__main__":
    main()

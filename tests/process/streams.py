"""Runs commands whose standard output is a full disk, or a pipe that nobody reads: ``python -m tests.process.streams KIND``.

Commands come as JSON on standard input, by name; each runs in a process of its own, which is forked when everything is
imported: starting Python would take longer than all else. The output is JSON: each command's exit code and what it said.
"""

import json
import os
import sys
import tempfile

from farthing import cli  # noqa: F401  # what follows is forked with it
from farthing.__main__ import main
from farthing.commands import model, score  # noqa: F401


def opened(kind):
    """A descriptor that cannot be written to."""
    if kind == "full":
        return os.open("/dev/full", os.O_WRONLY)
    read, write = os.pipe()
    os.close(read)
    return write


def run(arguments, event, kind):
    """The command's exit code and standard error. In the forked process this ends as ``farthing`` does."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as given:
        given.write(event)
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            for number, descriptor in enumerate((given.fileno(), opened(kind), said.fileno())):
                os.dup2(descriptor, number)
            main(arguments)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        return code, said.read().decode()


if __name__ == "__main__":
    commands, event = json.load(sys.stdin)
    done = {name: run(arguments, event.encode(), sys.argv[1]) for name, arguments in commands.items()}
    json.dump(done, sys.stdout)

"""A control group that gives a service the memory of its container, on systems where one may be made."""

import contextlib
import os
import uuid
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """Processes that may have so much memory together; whoever passes it is killed."""

    def __init__(self, limit):
        name = f"farthing-test-{uuid.uuid4().hex[:8]}"
        first = (ROOT / "memory").is_dir()  # version 1 of control groups
        self._folder = (ROOT / "memory" if first else ROOT) / name
        self._kills = "memory.oom_control" if first else "memory.events"
        try:
            self._folder.mkdir()
            (self._folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            pytest.skip(f"a control group with a memory limit cannot be made here: {error}")

    def enter(self):
        """Move the calling process into the group (for ``preexec_fn``)."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self):
        """How many processes were killed for want of memory."""
        lines = dict(line.split() for line in (self._folder / self._kills).read_text().splitlines())
        return int(lines["oom_kill"])

    def close(self):
        with contextlib.suppress(OSError):
            self._folder.rmdir()

"""Keeps commands from overwriting what they read: compares inputs and outputs by inode before any is opened."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from farthing.errors import ConfigError

STANDARD_OUTPUT: Final = ">"
"""Represents standard output in a list of outputs."""

Named = tuple[str, str | Path | None]
"""What messages call a file, such as ``--output``, and its path; None if it was not given."""


def keep_apart(inputs: Iterable[Named], outputs: Iterable[Named]) -> None:
    """Refuse an output that is also an input, and two outputs that are the same file.

    Files are compared by device and inode, so that links and ``/dev/stdin`` do not hide them; files that do not exist
    yet are compared by full path. A terminal or ``/dev/null`` may be used several times. ``-`` among inputs is standard
    input.

    Raises
    ------
    ConfigError
        Two are the same; the message says which, and what to do.
    """
    read = [(f"{name} {path}".strip(), what) for name, path in inputs if path and (what := _identity(path))]
    written: dict[tuple[object, ...], str] = {}
    for name, path in outputs:
        what = _identity(path) if path else None
        if what is None:
            continue
        output = "standard output" if path == STANDARD_OUTPUT else f"{name} {path}"
        source = next((other for other, its in read if its == what), None)
        if source is not None:
            raise ConfigError(f"{output}: is the same file as the input {source}, which it would destroy; name another")
        if what in written:
            raise ConfigError(f"{output}: is the same file as {written[what]}; give each output a file of its own")
        written[what] = output


def _identity(path: str | Path) -> tuple[object, ...] | None:
    """Return what all names of one file have in common; None if it may be shared or cannot be examined."""
    try:
        if path in ("-", STANDARD_OUTPUT):
            stream = sys.stdin if path == "-" else sys.stdout
            status = os.fstat(stream.fileno())
        else:
            status = os.stat(path)
    except FileNotFoundError:
        return (os.path.normcase(os.path.realpath(path)),)
    except (OSError, ValueError, AttributeError):  # no such stream, or no right to it: opening it will raise
        return None
    if stat.S_ISCHR(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return None
    return (status.st_dev, status.st_ino)

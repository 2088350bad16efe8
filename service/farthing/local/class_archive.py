"""Keeps the classes of Apache Kafka as a Java machine has loaded them, so that a node starts with less CPU.

A Java machine maps such an archive (AppCDS) into memory in place of reading, checking and linking some five thousand
classes. It is made once for a Java and a set of jars, and stands beside the folder with the jars. It is never needed:
where none can be made, and while another process makes it, nodes start without.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from farthing.errors import StartError

_failed: set[Path] = set()  # one try in a process


def class_archive(java: str, jars: Path, make: Callable[[Path], None]) -> Path | None:
    """Give the archive of these jars' classes for this Java, made if there is none.

    Parameters
    ----------
    java:
        The program.
    jars:
        The folder with the jars.
    make:
        Writes an archive to the path that it is given, or raises OSError or StartError.

    Returns
    -------
    path:
        None: start without.
    """
    try:
        file = jars.with_name(f"{jars.name}-{_key(java, jars)}.jsa")
        if file.exists():
            return file
        if file in _failed:
            return None
        with _alone(file.with_suffix(".lock")) as alone:
            if alone and not file.exists():
                _failed.add(file)
                with tempfile.TemporaryDirectory(dir=jars.parent) as folder:
                    part = Path(folder) / file.name
                    make(part)
                    part.replace(file)
    except (OSError, StartError):
        return None
    return file if file.exists() else None


def _key(java: str, jars: Path) -> str:
    """Name a Java and a set of jars. The archive itself says more, and Java ignores one that is not its own."""
    program = Path(java).resolve()
    parts = [program, program.stat().st_mtime_ns]
    with contextlib.suppress(OSError):  # every Java since 9 has it, wrappers of it may not
        parts.append((program.parents[1] / "release").read_text())
    for jar in sorted(jars.glob("*.jar")):
        parts += [jar, jar.stat().st_size, jar.stat().st_mtime_ns]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[bool]:
    """Whether no other process is in here. On Windows, where Apache Kafka is not supported, none ever is alone."""
    if os.name != "posix":
        yield False
        return
    import fcntl

    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True

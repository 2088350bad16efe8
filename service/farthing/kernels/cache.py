"""Keeps compiled kernels on disk, so that a machine compiles each only once.

This replaces numba's own cache, which considers a kernel fresh as long as its own file keeps its time and size
(although kernels of other files are compiled into it), ignores folders that it cannot write to, and lets a damaged file
or a full disk end the program.

A file has one kernel for one signature, CPU and Python, which its name identifies. It is fresh if it carries the stamp
of numba, of LLVM and of the sources that all kernels are made from; a stale or damaged one is compiled and written
again. The folders are, in this order: ``NUMBA_CACHE_DIR``, ``__pycache__`` in the package's folder, and the user's
cache folder. New files go to the first that can be written; those before it are still read, so that a container image
whose folder was filled when it was built starts fast on a read-only disk, as long as ``NUMBA_CPU_NAME`` and
``NUMBA_CPU_FEATURES`` have not changed since. If no folder can be written, kernels are compiled in memory, with one
warning.

The files are pickles: anyone who may write to such a folder can run code here.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import llvmlite
import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from farthing import __version__

_PACKAGE: Final = Path(__file__).parents[1]
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


class KernelCache(NullCache):  # type: ignore[misc]
    """The files of one kernel, with the interface that numba's dispatchers expect."""

    def __init__(self, function: Callable[..., Any]) -> None:
        name = f"{function.__module__.removeprefix('farthing.')}.{function.__qualname__}"
        self._name = re.sub(r"[^\w.]", "_", name)  # <locals>

    @property
    def cache_path(self) -> str:
        """Where new files go; empty if none can be written."""
        folder = writable_folder()
        return "" if folder is None else str(folder)

    def load_overload(self, signature: Any, target_context: Any) -> CompileResult | None:
        """Return the compiled kernel for a signature; None if it must be compiled."""
        # target_context.refresh() would also load numba's implementations. That takes half a second, only compiling
        # needs them, and the compiler refreshes by itself. A compiled kernel needs no more than the run time's symbols.
        rtsys.initialize(target_context)
        file = self._file(signature, target_context.codegen())
        for folder in _folders():
            try:
                data = (folder / file).read_bytes()
            except OSError:
                continue
            stamp, digest, payload = _split(data)
            if stamp == _stamp() and digest == hashlib.sha256(payload).digest():
                return CompileResult._rebuild(target_context, *pickle.loads(payload))
        return None

    def save_overload(self, signature: Any, compiled: CompileResult) -> None:
        """Write a kernel that was just compiled; if that fails there is one warning and never an error."""
        folder = writable_folder()
        if folder is None:
            _warn_once(
                "compiled kernels are not kept: no folder can be written "
                f"({', '.join(str(folder) for folder in _candidates())}). Missing ones are compiled at each start, for "
                "up to half a minute. Set NUMBA_CACHE_DIR to a folder that this user can write, or fill one beforehand "
                "with `farthing model warm`"
            )
            return
        payload = dumps(compiled._reduce())
        target = folder / self._file(signature, compiled.codegen)
        part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:16]}")
        try:
            part.write_bytes(_stamp() + hashlib.sha256(payload).digest() + payload)
            part.replace(target)  # atomic: a reader sees the whole file or none
        except OSError as error:
            with suppress(OSError):
                part.unlink()
            _warn_once(f"compiled kernels are not kept: {folder} cannot be written ({error.strerror})")

    def _file(self, signature: Any, codegen: Any) -> str:
        python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
        key = repr((signature, codegen.magic_tuple(), python))  # the tuple names the CPU and its features
        if numba.config.BOUNDSCHECK is not None:  # NUMBA_BOUNDSCHECK, for fuzzing: files of its own
            key += f" bounds {numba.config.BOUNDSCHECK}"
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.nbc"


def cache_folders() -> tuple[Path, ...]:
    """Return the folders that compiled kernels may be in, whether they exist or not."""
    return tuple(_candidates())


def writable_folder() -> Path | None:
    """Return the folder that compiled kernels are written to."""
    folder = _folders()[-1]
    return folder if _can_be_written(folder) else None


@cache
def _folders() -> tuple[Path, ...]:
    """Return the folders to look in, up to and including the first that can be written."""
    folders = []
    for folder in _candidates():
        folders.append(folder)
        if _can_be_written(folder):
            break
    return tuple(folders)


def _candidates() -> Iterator[Path]:
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / f"farthing-{__version__}"
    yield _PACKAGE / "__pycache__"
    own = Path(AppDirs(appname="farthing", appauthor=False).user_cache_dir)
    if own.is_absolute():  # without a home directory it would be a folder called ~ in the current one
        yield own / f"kernels-{__version__}"


@cache
def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


@cache
def _stamp() -> bytes:
    """Return a stamp of all that decides what a kernel compiles to, except its signature and the CPU."""
    text = f"{sources_digest()} {numba.__version__} {llvmlite.__version__} {numba.config.OPT}"
    return hashlib.sha256(text.encode()).digest()


@cache
def sources_digest() -> str:
    """Return the SHA-256 (hex) of the files that have kernels and of all that they import, directly or indirectly."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(_PACKAGE.rglob("*.py"))}
    compiled = [path for path, text in sources.items() if "@kernel" in text]
    for path in compiled:  # grows while it is read
        for name in re.findall(r"^from farthing\.([\w.]+) import", sources[path], re.MULTILINE):
            module = _PACKAGE.joinpath(*name.split("."))
            for file in (module.with_suffix(".py"), module / "__init__.py"):
                if file in sources and file not in compiled:
                    compiled.append(file)
    digest = hashlib.sha256()
    for path in sorted(compiled):
        digest.update(f"{path.relative_to(_PACKAGE).as_posix()}\0{sources[path]}\0".encode())
    return digest.hexdigest()


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a file into the stamp, the payload's digest and the payload."""
    return data[:_DIGEST_BYTES], data[_DIGEST_BYTES : 2 * _DIGEST_BYTES], data[2 * _DIGEST_BYTES :]


@cache
def _warn_once(text: str) -> None:
    warnings.warn_explicit(text, RuntimeWarning, "farthing", 1)  # not a line of numba's

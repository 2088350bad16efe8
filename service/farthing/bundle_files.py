"""Reads a bundle's files as if an attacker had made them: in bounded time and memory, and with one kind of error.

Only regular files inside the bundle's folder are read, each up to a size. An .npz archive is measured before anything
is unpacked: arrays that are not expected, or that would be too large, are never allocated. JSON is strict.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from farthing.errors import BundleError, FarthingError

MAX_FILE_BYTES: Final = 1 << 30
"""A larger file is refused before it is read, and so are arrays that would be larger than this once unpacked."""
_MOST_LISTED_BYTES: Final = 1 << 14  # of an archive's list of members
_CHUNK_BYTES: Final = 1 << 20
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # LZMA's dictionary may have 4 GiB
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)  # Windows has none, and no pipes in folders

Kinds = Mapping[str, tuple[type[np.generic], int]]
"""Name of an array -> its dtype and its number of axes."""


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turn whatever else the files in a bundle's folder make the code raise into a BundleError."""
    try:
        yield
    except FarthingError:
        raise
    except Exception as error:  # MemoryError and RecursionError are among them
        raise BundleError(
            f"bundle {folder}: its files cannot be used ({type(error).__name__}: {error}); get the bundle "
            "again, or build it again"
        ) from error


def read_file(file: Path, advice: str, *, at_most: int, inside: bool = True) -> bytes:
    """Read one file of a bundle.

    Parameters
    ----------
    file:
        Where it is.
    advice:
        Ends the error: what to do when it cannot be read.
    at_most:
        Bytes that it may have.
    inside:
        Refuse a link to a place outside the file's folder.

    Raises
    ------
    BundleError
        The file is missing, unreadable, too large, or not a regular file: reading a pipe could wait for ever.
    """
    try:
        _check_kind(file.stat(), at_most)  # before it is opened: opening a device may do something
        real = os.path.realpath(file, strict=True)
        if inside and not Path(real).is_relative_to(os.path.realpath(file.parent)):
            raise OSError(errno.EINVAL, f"a link to {real}, outside the folder: put the file itself there")
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | _NONBLOCK)) as opened:
            size = _check_kind(os.fstat(opened.fileno()), at_most)  # what is there now
            data = opened.read(size) or b""
            if len(data) != size or opened.read(1):
                raise OSError(errno.EAGAIN, f"changed while it was read: {size:,} bytes were announced")
        return data
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        said = error.strerror if isinstance(error, OSError) else error
        raise BundleError(f"bundle {file.parent}: cannot read {file.name}: {said}; {advice}") from error


def _check_kind(status: os.stat_result, at_most: int) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    if status.st_size > at_most:
        raise OSError(errno.EFBIG, f"has {status.st_size:,} bytes, at most {at_most:,} are allowed")
    return status.st_size


def read_arrays(data: bytes, name: str, kinds: Kinds, *, at_most: int = MAX_FILE_BYTES) -> dict[str, NDArray[Any]]:
    """Read an .npz archive, which may lack some of the arrays in ``kinds`` and has no others. Nothing is unpickled.

    Parameters
    ----------
    data, name:
        The archive, and what errors call it.
    kinds:
        The arrays that may be in it.
    at_most:
        Bytes of all arrays together.

    Raises
    ------
    BundleError
        Not such an archive.
    """
    try:
        _check_list(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, name, kinds, at_most)
            arrays = {member.filename[:-4]: _read_array(archive, member, name, kinds) for member in members}
    except BundleError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen unrelated types on damaged bytes
        raise BundleError(f"{name}: not readable: {type(error).__name__}: {error}; build the bundle again") from error
    return arrays


def _check_list(data: bytes) -> None:
    """Refuse an archive with a long list of members, each of which would become an object; NumPy writes short ones."""
    end = data[-22:]
    if end[:4] != b"PK\x05\x06" or end[-2:] != b"\0\0":
        raise ValueError("no list of members at the end of the file")
    if int.from_bytes(end[12:16], "little") > _MOST_LISTED_BYTES or data[-42:-38] == b"PK\x06\x07":
        raise ValueError("the list of members is too long")


def _check_members(members: list[zipfile.ZipInfo], name: str, kinds: Kinds, at_most: int) -> None:
    found = [member.filename for member in members]
    unknown = sorted(set(found) - {f"{kind}.npy" for kind in kinds})
    if len(set(found)) < len(found) or unknown:
        raise BundleError(
            f"{name}: holds {', '.join(unknown[:3]) or 'an array twice'}, expected {', '.join(kinds)}, each at most "
            "once; build the bundle again"
        )
    if any(member.compress_type not in _METHODS for member in members):
        raise BundleError(f"{name}: is compressed in another way than by NumPy; build the bundle again")
    unpacked = sum(member.file_size for member in members)
    if unpacked > at_most:
        raise BundleError(f"{name}: would unpack to {unpacked:,} bytes, at most {at_most:,} are allowed")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, kinds: Kinds) -> NDArray[Any]:
    """Read an array whose header states what is expected, and as many bytes as there are."""
    what = member.filename[:-4]
    dtype, ndim = kinds[what]
    with archive.open(member) as file:  # gives no more than member.file_size bytes
        version = npy.read_magic(file)
        if version != (1, 0):
            raise BundleError(f"{name}: {what} has the .npy version {version}, expected (1, 0); build the bundle again")
        shape, fortran, stated = npy.read_array_header_1_0(file)
        if stated != np.dtype(dtype) or len(shape) != ndim:
            raise BundleError(
                f"{name}: {what} is {stated} with {len(shape)} axes, expected {np.dtype(dtype)} with {ndim} axes; "
                "build the bundle again"
            )
        size = np.dtype(dtype).itemsize
        for length in shape:
            size *= length  # of any size: these are Python's integers
        left = member.file_size - file.tell()
        if min(shape) < 0 or size != left:
            raise BundleError(
                f"{name}: {what} has the shape {shape} in {left:,} bytes, which do not fit each other; build the "
                "bundle again"
            )
        array = np.empty(shape[::-1] if fortran else shape, dtype)
        content = array.reshape(-1).view(np.uint8)
        done = 0
        while chunk := file.read(_CHUNK_BYTES):
            content[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
            done += len(chunk)
    if done != size:
        raise BundleError(f"{name}: {what} has {done:,} bytes, {size:,} are announced; build the bundle again")
    return np.ascontiguousarray(array.T) if fortran else array


def read_json(data: bytes, name: str) -> dict[str, Any]:
    """Read a JSON object in UTF-8: no NaN, no infinity, no key twice in one object.

    Raises
    ------
    BundleError
        It is not such an object.
    """
    try:
        stated = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name}: not valid JSON: {error}") from error
    if not isinstance(stated, dict):
        raise BundleError(f"{name}: holds a {type(stated).__name__}, expected an object")
    return stated


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is there twice")
    return found

"""The one place that knows numba.

``@kernel`` compiles a function with the GIL released; ``@kernel(reference=f)`` also names the short pure-Python
function with the same signature and the same result that stands beside it. With ``FARTHING_NO_JIT=1`` nothing is
compiled: the references run (slow, for debugging and for tests on both paths).

Compiled code is cached on disk by numba (beside the module, else in the user's cache folder, or in
``NUMBA_CACHE_DIR``). Where none of these is writable, kernels are compiled in memory at each start, with one warning.
numba alone would take a cached kernel for fresh as long as its own file keeps its time and size, although it has
kernels of other files compiled in, and wheels may carry one time for all versions: so the source of all files that
kernels are made from is part of the stamp.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])

NO_JIT: bool = os.environ.get("FARTHING_NO_JIT", "") not in ("", "0")
"""True when references run in place of kernels."""

_cache_refused = False


@overload
def kernel(function: F) -> F: ...
@overload
def kernel(
    *, reference: Callable[..., Any] | None = None, inline: bool = False, allocates: bool = False
) -> Callable[[F], F]: ...
def kernel(
    function: F | None = None,
    *,
    reference: Callable[..., Any] | None = None,
    inline: bool = False,
    allocates: bool = False,
) -> F | Callable[[F], F]:
    """Compile ``function`` with numba in nopython mode, ``nogil``, without fast-math (floats keep IEEE 754 order).

    Parameters
    ----------
    reference:
        Runs in its place under ``FARTHING_NO_JIT=1``; without one the uncompiled function itself does.
    inline:
        Have LLVM inline the function into its callers: small ones, and those with many arguments and one caller.
    allocates:
        The function makes arrays. All others are compiled without numba's reference counts, whose atomic instructions
        per array and call cost more than what a kernel does for a small event (measured: 150 ns of 450 in parsing).

    Returns
    -------
    The compiled function. Its reference, if any, is kept as ``.reference``, the plain function as ``.py_func``.
    """

    def decorate(f: F) -> F:
        if NO_JIT:
            return f if reference is None else reference  # type: ignore[return-value]
        compiled: Any = _compile(f, inline=inline, allocates=allocates)
        compiled.reference = reference
        return compiled  # type: ignore[no-any-return]

    return decorate if function is None else decorate(function)


def _compile(f: Callable[..., Any], *, inline: bool, allocates: bool) -> Any:
    global _cache_refused
    from numba import njit

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": allocates}
    if inline:
        options["forceinline"] = True
    if not _cache_refused:
        try:
            compiled = njit(cache=True, **options)(f)
            index = compiled._cache._cache_file
            index._source_stamp = (index._source_stamp, _package_stamp(), sorted(options.items()))
            return compiled
        except RuntimeError as error:  # numba: "cannot cache function ...: no locator available"
            if "locator" not in str(error):
                raise
            _cache_refused = True
            warnings.warn(
                "no writable folder for compiled kernels: they are compiled again at each start (about 20 s). "
                "Set NUMBA_CACHE_DIR to a writable folder.",
                RuntimeWarning,
                stacklevel=4,
            )
    return njit(**options)(f)


@cache
def _package_stamp() -> str:
    """Digest the files that have kernels and, over all steps, those that they import from: 64 hexadecimal digits."""
    root = Path(__file__).parent
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))}
    compiled = [path for path, text in sources.items() if "@kernel" in text]
    for path in compiled:  # grows while it is read
        for name in re.findall(r"^from farthing\.([\w.]+) import", sources[path], re.MULTILINE):
            module = root.joinpath(*name.split("."))
            for found in (module.with_suffix(".py"), module / "__init__.py"):
                if found in sources and found not in compiled:
                    compiled.append(found)
    digest = hashlib.sha256()
    for path in sorted(compiled):
        digest.update(f"{path.relative_to(root).as_posix()}\0{sources[path]}\0".encode())
    return digest.hexdigest()


def _memcpy() -> Any:
    """Make the intrinsic behind :func:`copy_bytes`: LLVM's memcpy between two contiguous uint8 arrays."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, data, start, size = arguments
        target = context.make_array(signature.args[0])(context, builder, out)
        source = context.make_array(signature.args[2])(context, builder, data)
        to = builder.gep(target.data, [at])
        from_ = builder.gep(source.data, [start])
        cgutils.raw_memcpy(builder, to, from_, size, ir.Constant(ir.IntType(64), 1))
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def memcpy(_typing: Any, out: Any, at: Any, data: Any, start: Any, size: Any) -> Any:
        return types.none(out, types.intp, data, types.intp, types.intp), generate

    return memcpy


def _load() -> Any:
    """Make :func:`load_u64`: one little-endian load of eight bytes that need not be aligned."""
    import sys

    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        wide = ir.IntType(64)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), wide.as_pointer())
        word = builder.load(place, align=1)
        return word if sys.byteorder == "little" else builder.bswap(word)

    @intrinsic  # type: ignore[untyped-decorator]
    def load_u64(_typing: Any, data: Any, at: Any) -> Any:
        return types.uint64(data, types.intp), generate

    return load_u64


def _trailing_zeros() -> Any:
    """Make :func:`trailing_zeros`: LLVM's cttz."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    @intrinsic  # type: ignore[untyped-decorator]
    def trailing_zeros(_typing: Any, word: Any) -> Any:
        return types.int64(types.uint64), generate

    return trailing_zeros


def _store() -> Any:
    """Make :func:`store_u64`: one little-endian store of eight bytes that need not be aligned."""
    import sys

    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        word = arguments[2] if sys.byteorder == "little" else builder.bswap(arguments[2])
        builder.store(word, place, align=1)
        return context.get_dummy_value()

    @intrinsic  # type: ignore[untyped-decorator]
    def store_u64(_typing: Any, out: Any, at: Any, word: Any) -> Any:
        return types.none(out, types.intp, types.uint64), generate

    return store_u64


def _load_byte() -> Any:
    """Make :func:`load_u8`: one byte, without the test for a negative index that NumPy's indexing asks for."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.zext(builder.load(builder.gep(array.data, [arguments[1]])), ir.IntType(64))

    @intrinsic  # type: ignore[untyped-decorator]
    def load_u8(_typing: Any, data: Any, at: Any) -> Any:
        return types.int64(data, types.intp), generate

    return load_u8


if NO_JIT:

    def trailing_zeros(word: Any) -> int:
        """Count the zero bits of a uint64 below its lowest one; 64 when there is none."""
        number = int(word)
        return 64 if number == 0 else (number & -number).bit_length() - 1

    def store_u64(out: Any, at: int, word: Any) -> None:
        """Set ``out[at:at+8]`` (uint8) to a uint64, little-endian; the caller checks bounds."""
        out[at : at + 8].view("<u8")[0] = word

    def load_u8(data: Any, at: int) -> int:
        """Give ``data[at]`` (uint8) as an int; the caller checks bounds."""
        return int(data[at])

    def load_u64(data: Any, at: int) -> Any:
        """Give ``data[at:at+8]`` (uint8) as a little-endian uint64; the caller checks bounds."""
        return data[at : at + 8].view("<u8")[0]

    def copy_bytes(out: Any, at: int, data: Any, start: int, stop: int) -> int:
        """Copy ``data[start:stop]`` to ``out[at:]`` (contiguous uint8, no overlap); returns the position after it."""
        out[at : at + stop - start] = data[start:stop]
        return at + stop - start

else:
    _copy = _memcpy()
    load_u64 = _load()
    load_u8 = _load_byte()
    store_u64 = _store()
    trailing_zeros = _trailing_zeros()

    @kernel(inline=True)
    def copy_bytes(out: Any, at: int, data: Any, start: int, stop: int) -> int:
        """Copy ``data[start:stop]`` to ``out[at:]`` (contiguous uint8, no overlap); returns the position after it.

        Unlike a loop it is one memcpy; like all kernels it does not check bounds: the caller must.
        """
        _copy(out, at, data, start, stop - start)
        return at + stop - start

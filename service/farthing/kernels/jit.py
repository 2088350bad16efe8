"""The decorators that turn functions into kernels.

``@kernel`` compiles a function that runs with the GIL released; ``@kernel(reference=f)`` also names the short
pure-Python function beside it, with the same signature and the same result. ``@stage(reference=f)`` does that for a
Python function around several kernels. With ``FARTHING_NO_JIT=1`` nothing is compiled and the references run instead
(slow; for debugging, and for tests of both paths). The body of a kernel never runs uncompiled, because its integers
would not wrap as the machine's do: a kernel that is only part of others needs no reference, and then refuses to run.

:mod:`farthing.kernels.cache` keeps compiled code on disk. :func:`watch_compilation` reports kernels that are not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])

NO_JIT: bool = os.environ.get("FARTHING_NO_JIT", "") not in ("", "0")
"""True when references run in place of kernels."""


_names: set[str] = set()


def kernel_count() -> int:
    """Count the kernels of all imported modules: a start compiles at most this many, and usually fewer."""
    return len(_names)


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
        Is called instead under ``FARTHING_NO_JIT=1``. A kernel that only other kernels call needs none.
    inline:
        Have LLVM inline the function into its callers: for small ones, and those with many arguments and one caller.
    allocates:
        The function makes arrays. All others are compiled without numba's reference counts, whose atomic instructions
        per array and call cost more than the work of a kernel on a small event (measured: 150 ns of 450 in parsing).

    Returns
    -------
    The compiled function. Its reference, if any, is kept as ``.reference``, the plain function as ``.py_func``.
    """

    def decorate(f: F) -> F:
        if NO_JIT:
            return refusal(f) if reference is None else reference  # type: ignore[return-value]
        compiled: Any = _compile(f, inline=inline, allocates=allocates)
        compiled.reference = reference
        return compiled  # type: ignore[no-any-return]

    return decorate if function is None else decorate(function)


def stage(*, reference: Callable[..., Any]) -> Callable[[F], F]:
    """Name the reference of a Python function that calls kernels; it is called instead under ``FARTHING_NO_JIT=1``."""

    def decorate(f: F) -> F:
        if NO_JIT:
            return reference  # type: ignore[return-value]
        f.reference = reference  # type: ignore[attr-defined]
        return f

    return decorate


def refusal(f: F) -> F:
    """Return a replacement for a function that only compiled kernels can call: it raises an error that says so."""

    @wraps(f)
    def refuse(*_arguments: Any, **_named: Any) -> Any:
        raise RuntimeError(
            f"{f.__module__}.{f.__name__} has no reference: only compiled kernels can call it; unset FARTHING_NO_JIT"
        )

    return refuse  # type: ignore[return-value]


def _compile(f: Callable[..., Any], *, inline: bool, allocates: bool) -> Any:
    from numba import njit, types

    from farthing.kernels.cache import KernelCache

    _names.add(f"{f.__module__}.{f.__qualname__}")
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": allocates}
    options["no_cfunc_wrapper"] = True  # it would be for callers in C, and there are none
    if inline:
        options["forceinline"] = True
    compiled = njit(**options)(f)
    compiled._cache = KernelCache(f)  # what njit(cache=True) would do with numba's own
    find = compiled.get_call_template

    def without_literals(arguments: Any, named: Any) -> Any:
        return find(tuple(map(types.unliteral, arguments)), named)

    # Otherwise numba would compile a kernel anew for each constant that another passes to it; LLVM folds them anyway.
    compiled.get_call_template = without_literals
    return compiled


@contextmanager
def watch_compilation(tell: Callable[[str], None]) -> Iterator[None]:
    """Call ``tell`` with the name of each kernel that any thread compiles meanwhile; not for those read from disk.

    It is called before the kernel is compiled, in the thread that compiles it, and must not raise.
    """
    if NO_JIT:
        yield
        return
    from numba.core import event

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, started: Any) -> None:
            function = started.data["dispatcher"].py_func
            if function.__module__.startswith("farthing."):  # not numba's own
                tell(f"{function.__module__.removeprefix('farthing.')}.{function.__name__}")

        def on_end(self, ended: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield

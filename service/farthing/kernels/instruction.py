"""Makes machine instructions that numba cannot express out of LLVM's, so that kernels can call them like functions.

::

    @instruction("int64", "array", "intp")
    def load_u8(ir, builder, data, at):
        return builder.zext(builder.load(builder.gep(data, [at])), ir.IntType(64))

The compiler runs the decorated function once for each call of the instruction in a kernel's code: it gets llvmlite's
module ``ir``, a builder and LLVM values, and returns an LLVM value. The caller checks bounds. Under
``FARTHING_NO_JIT=1`` nothing is compiled, and the reference is called instead.
"""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from typing import Any

from farthing.kernels.jit import NO_JIT, refusal

_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_ALWAYS = {"aarch64": ("neon",), "arm64": ("neon",)}  # whatever features are named
_X86_LEVELS = {"x86-64-v2": ("sse4.2",), "x86-64-v3": ("sse4.2", "avx2"), "x86-64-v4": ("sse4.2", "avx2")}


def target_has(feature: str) -> bool:
    """Whether kernels are compiled for processors with a feature (LLVM's name for it); False if none are compiled.

    The features are those of this processor, unless ``NUMBA_CPU_FEATURES`` is set, as in an image for many machines:
    then they are those that it names with a plus, and those of ``NUMBA_CPU_NAME`` if that is a level of x86-64.
    """
    if NO_JIT:
        return False
    if feature in _ALWAYS.get(platform.machine(), ()):
        return True
    from llvmlite import binding
    from numba import config

    if config.CPU_FEATURES is None:
        return bool(binding.get_host_cpu_features().get(feature))
    return f"+{feature}" in config.CPU_FEATURES.split(",") or feature in _X86_LEVELS.get(config.CPU_NAME or "", ())


def instruction(
    returns: str, *arguments: str, reference: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Make an instruction from a function that generates its code.

    Parameters
    ----------
    returns:
        numba's name for the type of the result; ``none`` for an instruction that only writes.
    arguments:
        The same for each argument; ``array`` is a contiguous array, which the function gets as a pointer to its first
        element.
    reference:
        Is called instead under ``FARTHING_NO_JIT=1``. An instruction that only kernels call needs none.
    """

    def decorate(generate: Callable[..., Any]) -> Any:
        if NO_JIT:
            return refusal(generate) if reference is None else reference
        return _intrinsic(generate, returns, arguments)

    return decorate


def _intrinsic(generate: Callable[..., Any], returns: str, arguments: tuple[str, ...]) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        places = [
            context.make_array(kind)(context, builder, value).data if name == "array" else value
            for name, kind, value in zip(arguments, signature.args, values, strict=True)
        ]
        result = generate(ir, builder, *places)
        return context.get_dummy_value() if returns == "none" else result

    def typed(_typing: Any, *given: Any) -> Any:
        kinds = zip(arguments, given, strict=True)
        return getattr(types, returns)(
            *(kind if name == "array" else getattr(types, name) for name, kind in kinds)
        ), lower

    typed.__name__ = generate.__name__
    typed.__doc__ = generate.__doc__
    names = ["typing", *list(inspect.signature(generate).parameters)[2:]]  # numba asks; it would make a tuple of *given
    typed.__signature__ = inspect.Signature([inspect.Parameter(name, _POSITIONAL) for name in names])  # type: ignore[attr-defined]
    return intrinsic(typed)

"""Pieces that vector instructions are made of, in LLVM's own vector types, which it turns into each processor's.

They are for functions that :func:`farthing.kernels.instruction.instruction` decorates: such a function gets ``ir`` (a
module of llvmlite), a builder and LLVM values, and so do these. Nothing here names a processor. Floats keep IEEE 754:
no step is contracted or reordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def place(builder: Any, array: Any, at: Any, kind: Any) -> Any:
    """Return a pointer to values of type ``kind`` that begin at element ``at`` of an array."""
    return builder.bitcast(builder.gep(array, [at]), kind.as_pointer())


def load(builder: Any, array: Any, at: Any, kind: Any, align: int) -> Any:
    """Load a vector of type ``kind`` from ``array[at:]``; ``align`` is an element's size in bytes."""
    return builder.load(place(builder, array, at, kind), align=align)


def store(builder: Any, value: Any, array: Any, at: Any, align: int) -> None:
    """Store a vector to ``array[at:]``; ``align`` is an element's size in bytes."""
    builder.store(value, place(builder, array, at, value.type), align=align)


def every_lane(ir: Any, builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector with one value in every lane."""
    kind, i32 = ir.VectorType(value.type, lanes), ir.IntType(32)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(i32, 0))
    return pick(ir, builder, one, [0] * lanes)


def constant(ir: Any, kind: Any, number: float, lanes: int) -> Any:
    """Return a vector with one number in every lane."""
    return ir.Constant(ir.VectorType(kind, lanes), [number] * lanes)


def pick(ir: Any, builder: Any, value: Any, places: Sequence[int]) -> Any:
    """Return the lanes of a vector at these places, in this order."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def call(ir: Any, builder: Any, name: str, value: Any) -> Any:
    """Call LLVM's function of one float, such as ``nearbyint``, lane by lane."""
    kind = value.type
    suffix = f"v{kind.count}{kind.element.intrinsic_name}"
    whole = f"llvm.{name}.{suffix}"
    function = builder.module.globals.get(whole) or ir.Function(builder.module, ir.FunctionType(kind, [kind]), whole)
    return builder.call(function, [value])


def within(ir: Any, builder: Any, value: Any, low: float, high: float) -> Any:
    """Clip floats that are no NaN: ``min(max(value, low), high)``."""
    kind, lanes = value.type.element, value.type.count
    bottom, top = constant(ir, kind, low, lanes), constant(ir, kind, high, lanes)
    value = builder.select(builder.fcmp_ordered(">", value, bottom), value, bottom)
    return builder.select(builder.fcmp_ordered("<", value, top), value, top)

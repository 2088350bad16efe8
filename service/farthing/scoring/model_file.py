"""Parses an ONNX file as if an attacker had made it: in bounded time and memory, and with one kind of error.

Two bytes of a file can become an object of a hundred, so the parts of a file are counted before it is parsed. A model
that is small as a file can also ask for tensors of any size, so their sizes are worked out before it is run.

Source: https://protobuf.dev/programming-guides/encoding/ (the wire format).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from farthing.errors import BundleError

MOST_PARTS: Final = 1 << 22
"""Messages, strings and runs of numbers in one file: a forest of four million nodes is still parsed."""
_DEEPEST: Final = 64
_VARINT, _EIGHT_BYTES, _COUNTED, _FOUR_BYTES = 0, 1, 2, 5
_MOST_ELEMENTS: Final = 1 << 28  # of one tensor


def read_model(data: bytes, name: str, *, most_parts: int = MOST_PARTS) -> onnx.ModelProto:
    """Parse a model; ``name`` is what errors call it.

    Raises
    ------
    BundleError
        Not an ONNX model, or one with more than ``most_parts`` messages, strings and runs of numbers.
    """
    try:
        parts = _count_parts(data, most_parts)
        if parts > most_parts:
            raise BundleError(f"{name}: has more than {most_parts:,} parts; export a smaller model")
        return onnx.load_model_from_string(data)
    except BundleError:
        raise
    except Exception as error:  # protobuf raises types of its own, and others
        raise BundleError(f"{name}: not an ONNX model: {error}; export the model again") from error


def array_of(tensor: onnx.TensorProto, name: str) -> NDArray[Any]:
    """Return a tensor's values.

    Raises
    ------
    BundleError
        Its type, shape and data do not fit each other.
    """
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception as error:  # KeyError, TypeError, ValueError and more, by what is wrong
        raise BundleError(
            f"{name}: tensor {tensor.name} has the type {tensor.data_type} and the shape {list(tensor.dims)[:8]}, "
            f"which do not fit its data ({error}); build the model again"
        ) from error


def check_sizes(model: onnx.ModelProto, name: str, *, rows: int) -> None:
    """Refuse a model with a tensor that would be very large for ``rows`` rows, as far as the shapes can be worked out.

    Raises
    ------
    BundleError
        The message names the tensor.
    """
    try:
        values = shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    except Exception:  # ONNX Runtime works the shapes out as well, and says what is wrong with them
        values = model.graph.value_info
    for value in (*values, *model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        known = [dim.dim_value for dim in dims if dim.WhichOneof("value") == "dim_value"]
        elements = math.prod(known) * (rows if len(known) < len(dims) else 1)
        if min(known, default=0) < 0 or elements > _MOST_ELEMENTS:
            raise BundleError(
                f"{name}: tensor {value.name} would have {elements:,} elements, at most {_MOST_ELEMENTS:,} are allowed"
            )


def _count_parts(data: bytes, most: int) -> int:
    """Count the messages, strings and runs of numbers of a serialized model, up to a little more than ``most``.

    Raises ValueError.
    """
    parts, at, end = 0, 0, len(data)
    outer: list[tuple[int, Any]] = []  # end and type of the messages around this one
    kind: Any = onnx.ModelProto.DESCRIPTOR
    while parts <= most:
        if at >= end:
            if at > end:
                raise ValueError("a part ends beyond the part around it")
            if not outer:
                break
            end, kind = outer.pop()
            continue
        start = at
        tag, at = _varint(data, at, end)
        field, wire = kind.fields_by_number.get(tag >> 3), tag & 7
        if wire == _COUNTED:
            size, at = _varint(data, at, end)
            if field is not None and field.message_type is not None:
                parts += 1
                if len(outer) >= _DEEPEST:
                    raise ValueError(f"parts are nested more than {_DEEPEST} deep")
                if at + size > end:
                    raise ValueError("a part ends beyond the part around it")
                outer.append((end, kind))
                end, kind = at + size, field.message_type
            else:
                parts += field is None or field.type in (field.TYPE_STRING, field.TYPE_BYTES)
                at += size
        elif wire in (_VARINT, _EIGHT_BYTES, _FOUR_BYTES):
            parts += 1
            # Only the tags that ONNX writes have a pattern: it takes longer to compile than a number to read.
            if field is not None and at - start == (tag.bit_length() + 6) // 7:
                at = _after_run(wire, data[start:at], data, start, end)
            else:
                at = _after_number(wire, data, at, end)
        else:
            raise ValueError(f"unknown wire type {wire}")
    return parts


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; returns it and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut off or too long")


def _after_number(wire: int, data: bytes, at: int, end: int) -> int:
    if wire == _VARINT:
        return _varint(data, at, end)[1]
    at += 8 if wire == _EIGHT_BYTES else 4
    if at > end:
        raise ValueError("a number is cut off or too long")
    return at


@lru_cache(256)  # three for each number of a field: there are some 20
def _run(wire: int, tag: bytes) -> re.Pattern[bytes]:
    """Match fields that have this tag, one after another: lists of numbers are written like that, millions of them."""
    value = {_VARINT: rb"[\x80-\xff]{0,9}[\x00-\x7f]", _EIGHT_BYTES: b".{8}", _FOUR_BYTES: b".{4}"}[wire]
    return re.compile(b"(?:" + re.escape(tag) + value + b")++", re.DOTALL)


def _after_run(wire: int, tag: bytes, data: bytes, start: int, end: int) -> int:
    found = _run(wire, tag).match(data, start, end)
    if found is None:
        raise ValueError("a number is cut off or too long")
    return found.end()

"""A bundle's ``golden.npz``: fixed events and the results that the model must give for them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.bundle_files import read_arrays
from farthing.errors import BundleError
from farthing.scoring.manifest import GOLDEN, LARGEST


@dataclass(frozen=True, slots=True)
class Golden:
    """Events and the results that the model must give: integers bit for bit, scores of other runtimes within 1e-6."""

    values: Bytes  # (n_bytes,) event values, one after another
    values_indptr: Int64s  # (n+1,)
    status: Bytes  # (n,) Status
    accumulators: Int32s  # (n_rows, dim)
    logits: Int32s  # (n_rows, n_heads)
    scores: NDArray[np.float32]  # (n_rows, n_heads)
    labels: Bytes  # (n_rows,)
    prices_micros: Int64s | None = None  # (n_rows,) for bidding only, at time 0 and pacing 1
    order: Int64s | None = None  # (n_rows,) rows in the order of the ranking, where the task ranks

    def __len__(self) -> int:
        return len(self.values_indptr) - 1

    @classmethod
    def from_npz(cls, data: bytes) -> Golden:
        """Read ``golden.npz``. No object is unpickled.

        Raises
        ------
        BundleError
            Not an .npz file, or an array is missing or of another type.
        """
        held = read_arrays(data, GOLDEN, _GOLDEN_ARRAYS, at_most=LARGEST[GOLDEN])
        for name, (dtype, ndim) in _GOLDEN_ARRAYS.items():
            if name not in held and name not in _OPTIONAL_ARRAYS:
                raise BundleError(f"{GOLDEN}: {name} is nothing, expected {np.dtype(dtype)} with {ndim} axes")
        golden = cls(**held)
        golden._check_lengths()
        return golden

    def _check_lengths(self) -> None:
        """Raise BundleError unless events lie within the values, one after another, and the arrays belong together."""
        bounds = self.values_indptr
        if not len(bounds) or bounds[0] != 0 or bounds[-1] != len(self.values) or (bounds[1:] < bounds[:-1]).any():
            raise BundleError(f"{GOLDEN}: values_indptr does not divide values into events; build the bundle again")
        optional = [len(array) for array in (self.prices_micros, self.order) if array is not None]
        rows = {len(self.accumulators), len(self.logits), len(self.scores), len(self.labels), *optional}
        if len(self.status) != len(self) or len(rows) != 1:
            raise BundleError(f"{GOLDEN}: the arrays have different lengths; build the bundle again")

    def to_npz(self) -> bytes:
        """Write ``golden.npz``: the same bytes for the same arrays."""
        file = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _GOLDEN_ARRAYS}
        np.savez_compressed(file, **{name: value for name, value in arrays.items() if value is not None})
        return file.getvalue()


_GOLDEN_ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "values": (np.uint8, 1),
    "values_indptr": (np.int64, 1),
    "status": (np.uint8, 1),
    "accumulators": (np.int32, 2),
    "logits": (np.int32, 2),
    "scores": (np.float32, 2),
    "labels": (np.uint8, 1),
    "prices_micros": (np.int64, 1),
    "order": (np.int64, 1),
}
_OPTIONAL_ARRAYS = frozenset(["prices_micros", "order"])

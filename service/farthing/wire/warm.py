"""Compiles the kernels that only large batches need, before the first of them comes."""

from __future__ import annotations

import numpy as np

from farthing.blocks import FetchedPartition
from farthing.wire.arena import Arena
from farthing.wire.decode import decode_whole
from farthing.wire.encode import encode_records
from farthing.wire.limits import Limits


def warm_pieces() -> None:
    """Read small batches in pieces, of the codecs that have kernels of their own."""
    data, indptr = np.full(2000, 32, np.uint8), np.array([0, 1000, 2000], np.int64)
    for compression in ("snappy", "lz4"):
        batch = encode_records("warm", 0, data, indptr, np.zeros(2, np.int64), compression=compression)
        for _ in decode_whole(FetchedPartition("warm", 0, 0, 2, batch.data.data), Arena(), Limits(1, 1 << 20)):
            pass

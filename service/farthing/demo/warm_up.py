"""The demo's own kernels, run once before its first event: a first start compiles them while the worker starts."""

from __future__ import annotations

import numpy as np

from farthing.audit.offset_set import OffsetSet
from farthing.blocks import FetchedPartition
from farthing.demo.events import MadeUpComments
from farthing.demo.tally import Tally
from farthing.wire import OFFSET_HEADER, Arena, decode, encode_records, source_offsets


def load_kernels() -> None:
    """Run the demo's kernels once, so that the first events do not wait for them: those that the worker needs last.

    A first start compiles them, in this process while the worker compiles the others.
    """
    source_offsets(decode([_made_up()], Arena()), OFFSET_HEADER)
    OffsetSet().add(np.zeros(1, np.int64))


def load_parser() -> None:
    """Run the tally's kernels once; the worker has compiled them."""
    Tally("warm-up", "").read(_made_up(), 0)


def _made_up() -> FetchedPartition:
    events = MadeUpComments().take(8)
    batch = encode_records("warm-up", 0, events.data, events.indptr, np.zeros(8, np.int64))
    return FetchedPartition("warm-up", 0, 0, 8, bytes(batch.data))

"""Memory that a process keeps: freed arrays are used again instead of going back to the system.

A worker frees and asks for the same few megabytes several hundred times a second. glibc gives large blocks back at
once, and the kernel hands them out again page by page, each cleared and faulted in: measured on a virtual machine,
that was a fifth of a worker's CPU. So blocks are kept. What a worker holds is bounded by its largest blocks, which
``fetch_max_bytes`` and ``max_event_bytes`` bound.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Final

# <malloc.h> of glibc
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_KEEP_BYTES: Final = 1 << 30
_MMAP_BYTES: Final = 32 << 20  # the most that glibc takes; larger arrays still come and go page by page
_GROW_BYTES: Final = 16 << 20
_RARELY: Final = (50_000, 20, 20)  # the collector's thresholds


def keep_freed_memory() -> bool:
    """Ask glibc to keep freed memory for this process; False where the C library is another (nothing is changed).

    Call it before threads are started, so that there is one arena for all.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    options = (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_THRESHOLD, _MMAP_BYTES),
        (_M_TRIM_THRESHOLD, _KEEP_BYTES),
        (_M_TOP_PAD, _GROW_BYTES),
    )
    return all([mallopt(name, value) == 1 for name, value in options])


def collect_rarely() -> None:
    """Make garbage collections rarer, and let the end of the process do without any.

    What a block leaves behind is freed by reference counts; cycles come from errors and rebalances only. To be called
    before the imports: what they make stays, and the collector would go through it again and again.
    """
    gc.set_threshold(*_RARELY)
    atexit.register(gc.freeze)


def settle_collector() -> None:
    """Exclude all that exists now from garbage collection, and make collections rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_RARELY)

"""Memory that ends where the process may not read: a kernel that reads or writes one byte too far dies of SIGSEGV."""

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE
_PROT_NONE = 0


class Guarded:
    """Room for up to ``capacity`` bytes, between two pages that cannot be touched."""

    def __init__(self, capacity):
        self.room = -(-capacity // PAGE) * PAGE
        self._map = mmap.mmap(-1, self.room + 2 * PAGE)
        at = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for page in (at, at + PAGE + self.room):
            if protect(page, PAGE, _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._bytes = np.frombuffer(self._map, np.uint8)[PAGE : PAGE + self.room]

    def at_the_end(self, size):
        """Bytes that end where the guard begins."""
        return self._bytes[self.room - size :]

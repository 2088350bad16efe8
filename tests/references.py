"""A kernel and its reference on the same input: ``from tests.references import same``."""

import numpy as np


def both(kernel, *arguments):
    """Run a kernel and its reference, each on copies; gives what each returned and its arrays after the call."""
    runs = []
    for function in (kernel, kernel.reference):
        copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        returned = function(*copies)
        runs.append((returned, [a for a in copies if isinstance(a, np.ndarray)]))
    return runs


def same(kernel, *arguments):
    """Assert that a kernel and its reference return the same and leave the same bits in every array."""
    (found, ours), (expected, theirs) = both(kernel, *arguments)
    assert found == expected
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one.tobytes() == other.tobytes(), f"array {place}"
    return found, ours

"""What is taken for a damaged answer, and what is only a log that ends before our position."""

import numpy as np

from farthing.blocks import FetchedPartition
from farthing.kafka.held import CUT_TIMES, HeldPartitions


def part(position, high_watermark, n_bytes):
    return FetchedPartition("t", 0, position, high_watermark, np.zeros(n_bytes, np.uint8).tobytes())


def test_nothing_new_is_well_wherever_the_log_ends():
    held = HeldPartitions()
    assert held.what_is_wrong(part(10, 10, 0), 10) is None
    assert held.what_is_wrong(part(10, 0, 0), 10) is None  # deleted and created again: looked into elsewhere


def test_offsets_beyond_the_logs_end_are_wrong():
    held = HeldPartitions()
    assert held.what_is_wrong(part(10, 12, 200), 12) is None
    assert "claim offsets up to 12" in held.what_is_wrong(part(10, 12, 200), 13)


def test_a_batch_that_is_cut_again_and_again_is_wrong():
    held = HeldPartitions()
    found = [held.what_is_wrong(part(10, 12, 50), 10) for _ in range(CUT_TIMES)]
    assert found[:-1] == [None] * (CUT_TIMES - 1)
    assert "no whole batch" in found[-1]

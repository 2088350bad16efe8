"""What is taken for a damaged answer, what only came early, and what is only a log that ends before our position."""

from farthing.blocks import FetchedPartition
from farthing.kafka.held import CUT_TIMES, EARLY_TIMES, HeldPartitions


def part(*, high_watermark, position=10, records=b"batches"):
    return FetchedPartition("events", 0, position, high_watermark, records)


def test_records_appended_while_the_broker_reads_hold_nothing():
    held = HeldPartitions()
    for _ in range(50):  # the watermark of the answer lies behind its records, and reaches them by the next one
        assert held.comes_early(part(high_watermark=20), following=25)
        assert not held.comes_early(part(high_watermark=30), following=25)
        assert held.what_is_wrong(part(high_watermark=30), following=25) is None
    assert not held.reasons


def test_batches_beyond_the_log_again_and_again_are_wrong():
    held = HeldPartitions()
    early = [held.comes_early(part(high_watermark=20), following=1 << 40) for _ in range(EARLY_TIMES + 2)]
    assert early == [True] * (EARLY_TIMES - 1) + [False] * 3
    assert "beyond the log's end" in held.what_is_wrong(part(high_watermark=20), following=1 << 40)
    held.clear()
    assert held.comes_early(part(high_watermark=20), following=1 << 40)


def test_nothing_new_is_well_wherever_the_log_ends():
    held = HeldPartitions()
    assert held.what_is_wrong(part(high_watermark=10, records=b""), 10) is None
    assert held.what_is_wrong(part(high_watermark=0, records=b""), 10) is None  # made anew: looked into elsewhere


def test_offsets_beyond_the_logs_end_are_wrong():
    held = HeldPartitions()
    assert held.what_is_wrong(part(high_watermark=12, records=bytes(200)), 12) is None
    assert "claim offsets up to 12" in held.what_is_wrong(part(high_watermark=12, records=bytes(200)), 13)


def test_a_batch_that_is_cut_again_and_again_is_wrong():
    held = HeldPartitions()
    found = [held.what_is_wrong(part(high_watermark=12, records=bytes(50)), 10) for _ in range(CUT_TIMES)]
    assert found[:-1] == [None] * (CUT_TIMES - 1)
    assert "no whole batch" in found[-1]

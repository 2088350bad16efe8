"""What a broker sends a little early is fetched again; what lies beyond the log's end every time is held."""

from farthing.blocks import FetchedPartition
from farthing.kafka.held import EARLY_TIMES, HeldPartitions


def part(high_watermark, fetch_offset=10):
    return FetchedPartition("events", 0, fetch_offset, high_watermark, b"batches")


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

"""The plain definition of a block's usage, beside the kernel that counts it."""

from farthing.meter.usage import SizeCount, UsageTotals, size_class


def totals_of_block(prompt_bytes, *, dead, rows, payload_bytes):
    """Count one block: ``prompt_bytes`` of each scored event, and what the refused ones and the rows come to."""
    calls = {}
    for size in map(int, prompt_bytes):
        count, total = calls.get(size_class(size), (0, 0))
        calls[size_class(size)] = SizeCount(count + 1, total + size)
    return UsageTotals(len(prompt_bytes), dead, rows, payload_bytes, calls)

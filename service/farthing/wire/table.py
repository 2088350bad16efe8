"""The table that batch headers are read into: int64 (n_batches, N_COLUMNS), one row per batch."""

from __future__ import annotations

from typing import Final

# Columns of the table.
START: Final = 0  # of the records, in the arena's buffer
STOP: Final = 1
BASE_OFFSET: Final = 2
LAST_OFFSET_DELTA: Final = 3
ATTRIBUTES: Final = 4
BASE_TIMESTAMP: Final = 5
MAX_TIMESTAMP: Final = 6
PRODUCER_ID: Final = 7
COUNT: Final = 8
KEEP: Final = 9  # 1: deliver its records; 0: a control batch, an aborted one, or one before the fetch offset
N_COLUMNS: Final = 10

# What is wrong with a batch.
FINE: Final = 0
BAD_LENGTH: Final = 1
BAD_MAGIC: Final = 2
BAD_CRC: Final = 3
BAD_COUNT: Final = 4
BAD_CODEC: Final = 5
BAD_RECORD: Final = 6

# How far a piece of a batch was read.
ALL: Final = 0  # every record, and the bytes end there
MORE: Final = 1  # the next record is incomplete
FULL: Final = 2  # there is no place for more records
BAD: Final = 3

MAX_INT64: Final = (1 << 63) - 1  # the largest possible offset

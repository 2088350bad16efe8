"""The columns that travel from stage to stage: the only types that the pure rooms share.

::

    fetch -> decode -> parse -> featurize -> score -> decide -> render -> encode -> produce -> commit
    FetchedPartition   FieldColumns       ScoreBlock      RenderedValues     OutputBatch
             RecordBlock       FeatureBlock      DecisionBlock (RankingBlock, BidBlock)

An *event* is the value of one Kafka record; a *row* is what the model scores once (moderation: one row per event;
rerank: one per candidate; bidding: one per impression). All blocks are frozen; arrays are written by the stage that
makes them and only read afterwards. Ragged data is ``start``/``stop`` (n,) where it is a view into received bytes, and
``data`` with ``indptr`` (n+1,) where we wrote it. What an array in a block means is defined here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from farthing.errors import DecodeError

Bytes = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


class Status(IntEnum):
    """What became of one event: 0 means scored, all others are reasons for a dead letter.

    Values are stable: they travel in metrics (``reason`` label, by lower-cased name) and in dead-letter headers.
    """

    OK = 0
    NULL_VALUE = 1  # a Kafka tombstone: there is nothing to parse
    TOO_LARGE = 2  # value longer than max_event_bytes
    EMPTY_VALUE = 3  # zero bytes, or white space only
    BYTE_ORDER_MARK = 4  # starts with a UTF-8, UTF-16 or UTF-32 byte order mark
    INVALID_UTF8 = 5  # anywhere in the value, known fields or not
    LONE_SURROGATE = 6  # a \\uD800..\\uDFFF escape without its partner
    CONTROL_CHARACTER = 7  # a raw byte below 0x20 inside a string
    SYNTAX = 8  # not JSON (RFC 8259) for any other reason; NaN and Infinity among them
    NUMBER_OVERFLOW = 9  # a number too large for a double
    TRAILING_BYTES = 10  # something after the end of the value
    TOO_DEEP = 11  # nested deeper than 64
    NOT_AN_OBJECT = 12  # valid JSON, but no object at the top or on the way to a required field, or no array of rows
    MISSING_FIELD = 13  # a required field is absent
    NULL_FIELD = 14  # a required field is null
    WRONG_TYPE = 15  # a required field has another type than the plan's
    TOO_MANY_ROWS = 16  # an array longer than the plan allows
    NO_ROWS = 17  # the array whose elements are the rows has none
    NON_FINITE = 18  # the model gave NaN or infinity
    RECORD_TOO_LARGE = 19  # the record is longer than a block may be: only its first bytes were read
    MODEL_FAILED = 20  # the model, or the code around it, fails on this event and not on its neighbours
    SCORE_TOO_LARGE = 21  # the score record would be larger than the sink's max.message.bytes
    NULL_KEY = 22  # the event has no key, and the sink is compacted
    SINK_REFUSED = 23  # the broker refuses this score for another reason


N_STATUSES: Final = max(Status) + 1  # length of an array that is indexed by Status


class Presence(IntEnum):
    """Whether an event has a field: missing and null are different things."""

    MISSING = 0
    NULL = 1
    PRESENT = 2
    WRONG_TYPE = 3  # another type than the plan's (for a required field outside the array, that refuses the event)


class Outcome(IntEnum):
    """What became of one impression, or of a whole bid request: 0 means a bid, all others are reasons for none.

    Values are stable: they are the labels of a bidding bundle, travel in metrics (by lower-cased name) and, as
    OpenRTB's ``nbr``, in the responses.
    """

    BID = 0
    EXPIRED = 1  # the event's timestamp plus its tmax is in the past
    CURRENCY_NOT_ACCEPTED = 2  # ``cur`` does not list the campaign's
    BLOCKED_ADVERTISER = 3  # ``badv`` lists the campaign's domain
    NO_IMPRESSION_ID = 4  # missing, or not a string: a bid could not name the impression
    OTHER_FORMAT = 5  # the impression offers none of the formats that the campaign has a creative for
    PRIVATE_AUCTION = 6  # ``pmp.private_auction`` = 1: bids on deals only, and the campaign has none
    UNREADABLE_FLOOR = 7  # ``bidfloor`` is not a number
    FLOOR_CURRENCY = 8  # ``bidfloorcur`` is not the campaign's, and there is no exchange rate
    BELOW_FLOOR = 9
    NO_PRICE = 10  # the price rounds down to nothing


@dataclass(frozen=True, slots=True)
class FetchedPartition:
    """What one fetch returned for one partition, as the broker sent it.

    ``data`` has whole record batches, then perhaps the first part of another, which is left for the next fetch. It may
    be a view of the whole response, and then keeps it alive. ``aborted`` lists (producer_id, first_offset), as Kafka's
    Fetch response does. ``log`` rises from 0 each time that the topic is made anew.
    """

    topic: str
    partition: int
    fetch_offset: int
    high_watermark: int
    data: bytes | memoryview
    aborted: tuple[tuple[int, int], ...] = ()
    log: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """One partition's share of a block: rows ``start`` to ``stop`` of its columns.

    ``next_offset`` is the offset to commit when every row is answered: from the last whole batch's header, not from
    the last record (compaction and control batches leave gaps), unless a piece of a batch was read. ``fault`` is set
    when the bytes after the rows cannot be read; its ``next_offset``, where known, is that after the batch.
    """

    topic: str
    partition: int
    start: int
    stop: int
    first_offset: int  # the fetch offset: where the segment begins
    next_offset: int
    fault: DecodeError | None = None
    log: int = 0


@dataclass(frozen=True, slots=True)
class CutRecord:
    """What is known of a record that is too long to be held in memory. In the columns its value is null."""

    row: int
    start: int  # in RecordBlock.buffer: the first bytes of its value, or of the record if its key is too long as well
    stop: int
    record_bytes: int
    value_bytes: int  # length and digest of what begins at ``start``
    sha256: str
    headers: tuple[int, int, str] = (0, 0, "")  # how many there were, their length and digest: none is kept


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Decoded records of one or more partitions, one after another, in one buffer.

    ``buffer`` belongs to the decoder's arena and is valid until the next block is decoded into the same arena.
    Null keys and values have start = stop = -1.
    """

    buffer: Bytes  # (n_bytes,) uncompressed record bytes
    offsets: Int64s  # (n,) Kafka offsets
    timestamps_ms: Int64s  # (n,) CreateTime or LogAppendTime, milliseconds since the epoch
    key_start: Int64s  # (n,) into buffer
    key_stop: Int64s  # (n,)
    value_start: Int64s  # (n,)
    value_stop: Int64s  # (n,)
    headers_start: Int64s  # (n,) the header array as it came, after its count
    headers_stop: Int64s  # (n,)
    header_count: Int32s  # (n,)
    segments: tuple[Segment, ...]
    cut: tuple[CutRecord, ...] = ()  # in the order of their rows

    def __len__(self) -> int:
        return len(self.offsets)

    def with_heads(self) -> RecordBlock:
        """Return the same records, for dead letters: the value of each that was cut is what is left of it."""
        if not self.cut:
            return self
        value_start, value_stop = self.value_start.copy(), self.value_stop.copy()
        for cut in self.cut:
            value_start[cut.row], value_stop[cut.row] = cut.start, cut.stop
        return replace(self, value_start=value_start, value_stop=value_stop)

    @classmethod
    def of_values(cls, values: Sequence[bytes | None]) -> RecordBlock:
        """Lay values out as the records of one block: no keys, no headers, offsets from 0; None is a tombstone."""
        n = len(values)
        lengths = np.fromiter((0 if value is None else len(value) for value in values), np.int64, n)
        null = np.fromiter((value is None for value in values), np.bool_, n)
        stop = np.cumsum(lengths)
        none, empty = np.full(n, -1, np.int64), np.zeros(n, np.int64)
        return cls(
            buffer=np.frombuffer(bytearray().join(value for value in values if value is not None), np.uint8),
            offsets=np.arange(n, dtype=np.int64),
            timestamps_ms=empty,
            key_start=none,
            key_stop=none,
            value_start=np.where(null, -1, stop - lengths),
            value_stop=np.where(null, -1, stop),
            headers_start=empty,
            headers_stop=empty,
            header_count=np.zeros(n, np.int32),
            segments=(),
        )


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Strings of one field, unescaped to UTF-8 and copied one after another."""

    presence: Bytes  # (n,) Presence
    data: Bytes  # (n_bytes,)
    indptr: Int64s  # (n+1,); an absent or null string is empty


@dataclass(frozen=True, slots=True)
class RawColumn:
    """JSON tokens of one field exactly as they came (quotes included), as views into the record buffer."""

    presence: Bytes  # (n,) Presence
    start: Int64s  # (n,) into RecordBlock.buffer; -1 when missing
    stop: Int64s  # (n,)


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """Numbers of one field as doubles."""

    presence: Bytes  # (n,) Presence
    values: NDArray[np.float64]  # (n,); NaN when missing or null


Column = TextColumn | RawColumn | NumberColumn


@dataclass(frozen=True, slots=True)
class FieldColumns:
    """The plan's fields of n events. Refused events keep their places: their fields are missing, and they have no rows.

    Columns of fields inside the plan's array have one entry per row, all others one per event.
    """

    status: Bytes  # (n,) Status
    row_indptr: Int64s  # (n+1,) events -> rows; 0, 1, 2, ... when the plan has no array
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.status)


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """Hashed feature ids of each row, as compressed sparse rows; repeats count."""

    indptr: Int64s  # (n_rows+1,)
    indices: Int32s  # (nnz,) 0 <= id < n_buckets

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclass(frozen=True, slots=True)
class NumberBlock:
    """Number columns of each row, for models that read numbers directly."""

    values: NDArray[np.float64]  # (n_rows, n_columns); NaN where there is none

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class ScoreBlock:
    """What the model returns for each row."""

    logits: Int32s  # (n_rows, n_heads) integer logits: the same on every machine; (n_rows, 0) if the model has none
    scores: NDArray[np.float32]  # (n_rows, n_heads) from 0 to 1

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """What a decision may depend on besides fields and scores. Pure rooms have no clock: the time comes from here."""

    buffer: Bytes  # of the RecordBlock that was parsed: raw columns are views into it
    timestamps_ms: Int64s  # (n,) of the events; -1: none
    now_ms: int = 0  # milliseconds since the epoch; bid responses name it
    pacing: float = 1.0  # multiplier of the campaign's bids, over 0 and at most 1; bid responses name it too


@dataclass(frozen=True, slots=True)
class DecisionBlock:
    """The decision on each event. ``status`` is final; labels index the bundle's names."""

    status: Bytes  # (n,) Status
    scores: NDArray[np.float32]  # (n_rows, n_heads)
    labels: Bytes  # (n_rows,)


@dataclass(frozen=True, slots=True)
class BidBlock:
    """The decision on each bid request: bids, or the reason for none."""

    status: Bytes  # (n,) Status
    scores: NDArray[np.float32]  # (n_rows, n_heads); the first head's is the score for a click
    labels: Bytes  # (n_rows,) Outcome of each impression
    prices_micros: (
        Int64s  # (n_rows,) millionths of the currency per thousand impressions (CPM); 0 where there is no bid
    )
    outcomes: Bytes  # (n,) Outcome of each request: BID where any impression has one, else its first impression's
    test: Bytes  # (n,) 1 where the request says test = 1: answered, never billed
    now_ms: int
    pacing: float


@dataclass(frozen=True, slots=True)
class RankingBlock(DecisionBlock):
    """Rows in order, event by event. A row's label is 0, or the reason why it could not be scored."""

    order: Int64s  # (n_rows,) row numbers: each event's rows, best first, in the places of its rows
    ids: RawColumn | None  # (n_rows,) rows' ids as they came; None when the plan has none


@dataclass(frozen=True, slots=True)
class RenderedValues:
    """Output values of the events with status OK, in order: value k belongs to event ``events[k]``."""

    events: Int64s  # (m,) row numbers in the RecordBlock, ascending
    data: Bytes  # (n_bytes,)
    indptr: Int64s  # (m+1,)

    def __len__(self) -> int:
        return len(self.events)


@dataclass(frozen=True, slots=True)
class OutputBatch:
    """One ready-made record batch v2 for one partition of one topic.

    ``data`` is uint8 (size,): the whole batch with base_offset 0 and no producer id; its CRC is right. Only the
    producer changes it: it writes producer_id, producer_epoch and base_sequence into the header, and the new CRC.
    """

    topic: str
    partition: int
    data: Bytes = field(repr=False)
    record_count: int
    max_timestamp_ms: int

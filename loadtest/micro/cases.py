"""What is timed: each stage as the pipeline calls it, and the kernels in it, on one block of events.

A kernel gets the arguments that its stage gives it: the stage runs once while they are recorded. Before anything is
timed, every stage runs on a small block with its kernels and with its references, and both must give the same bits.
"""

import importlib
from contextlib import ExitStack
from dataclasses import dataclass, fields, is_dataclass
from unittest import mock

import numpy as np

from farthing.blocks import DecisionInputs, FetchedPartition, ScoreBlock, TextColumn
from farthing.features import Featurizer
from farthing.model.scorer import Scorer
from farthing.payload import parse
from farthing.scoring.embedding_bag import accumulate, quantize_sums
from farthing.scoring.finish import finish
from farthing.scoring.graph import reference_logits
from farthing.wire import Arena, decode, encode_records, encode_scores, layout

CHECKED_EVENTS = 300
BATCH_RECORDS = 1000  # in one record batch of the producer
PARTITIONS = 4
PLACE_BYTES = 8  # an int64: a place in a buffer, an offset, a timestamp
RECORD_COLUMNS_BYTES = 8 * PLACE_BYTES + 4  # what decode writes for a record

# Modules by name: the packages call functions by the same names.
WIRE_UNREAD, WIRE_CRC, WIRE_ENCODE, WIRE_WRITE, PAYLOAD, RENDER, TEXT, TASK = (
    importlib.import_module(f"farthing.{name}")
    for name in (
        "wire.unread", "wire.crc32c", "wire.encode", "wire.write", "payload.columns", "payload.render", "features.text",
        "tasks.moderation",
    )
)  # fmt: skip

BUDGET_NS = {
    ("decode", ""): 45, ("decode", "crc32c"): 30, ("decode", "read_records"): 15, ("parse", ""): 200,
    ("featurize", ""): 200, ("score", "accumulate"): 80, ("score", "dense net"): 30, ("render", ""): 60,
    ("encode", ""): 30,
}  # fmt: skip
"""The design's targets for an event of 155 bytes; CRC and decode are one stage here."""


@dataclass(frozen=True)
class Timed:
    """One line of the table."""

    stage: str
    kernel: str  # empty: the whole stage, Python around its kernels included
    call: object
    bytes_per_event: float  # read and written, as far as they must be

    @property
    def budget_ns(self):
        return BUDGET_NS.get((self.stage, self.kernel))


class Block:
    """One block of events on its way, and what each stage made of it."""

    def __init__(self, stages, values):
        self.stages, self.n = stages, len(values)
        self.fetched = fetched(values)
        self.arena = Arena()
        self.records = self.decode()
        self.columns = self.parse()
        self.features = self.featurize()
        self.scores = self.score()
        self.decisions = self.decide()
        self.values = self.render()
        self.batches = self.encode()

    def decode(self):
        return decode(self.fetched, self.arena)

    def parse(self):
        return self.stages.parse(self.records)

    def featurize(self):
        return self.stages.featurize(self.columns, self.records)

    def score(self):
        return self.stages.score(self.features)

    def fused(self):
        return self.stages.score(self.stages.prepare(self.columns, self.records))

    def decide(self):
        inputs = DecisionInputs(self.records.buffer, self.records.timestamps_ms)
        return self.stages.decide(self.columns, self.scores, inputs)

    def render(self):
        return self.stages.render(self.records, self.columns, self.decisions)

    def encode(self):
        return encode_scores(self.records, self.values, topic="scores")


def fetched(values):
    """Lay events out as a broker would send them: record batches of some partitions."""
    parts = []
    for number, mine in enumerate(np.array_split(np.arange(len(values)), PARTITIONS)):
        data, first = [], 1_000_000 * number
        for start in range(0, len(mine), BATCH_RECORDS):
            some = [values[k] for k in mine[start : start + BATCH_RECORDS]]
            indptr = np.cumsum([0, *map(len, some)])
            times = np.full(len(some), 1_790_000_000_000)
            batch = encode_records("events", number, np.frombuffer(b"".join(some), np.uint8), indptr, times).data
            layout.put_be(batch, 0, first + start, 8)
            data.append(batch.tobytes())
        parts.append(FetchedPartition("events", number, first, 0, b"".join(data)))
    return parts


def arguments(module, kernel, run):
    """Run a stage and give the arguments of each call of one kernel, arrays as they were before it."""
    calls = []
    original = getattr(module, kernel)

    def record(*given):
        calls.append([a.copy() if isinstance(a, np.ndarray) else a for a in given])
        return original(*given)

    with mock.patch.object(module, kernel, record):
        run()
    return calls


def repeat(kernel, calls):
    """Give a function that makes the calls again."""
    if len(calls) == 1:
        return lambda: kernel(*calls[0])

    def call():
        for given in calls:
            kernel(*given)

    return call


def again(module, kernel, run):
    """Give a function that makes the calls of one kernel in a stage again."""
    return repeat(getattr(module, kernel), arguments(module, kernel, run))


def assert_equal(actual, expected, path=""):
    """Compare two blocks field by field, bit for bit."""
    if is_dataclass(actual):
        assert type(actual) is type(expected), path
        for f in fields(actual):
            one, other = getattr(actual, f.name), getattr(expected, f.name)
            if isinstance(actual, TextColumn) and f.name == "data":  # there may be room after the last string
                one, other = one[: actual.indptr[-1]], other[: expected.indptr[-1]]
            assert_equal(one, other, f"{path}.{f.name}")
    elif isinstance(actual, np.ndarray):
        assert actual.dtype == expected.dtype and actual.tobytes() == expected.tobytes(), path
    elif isinstance(actual, tuple):
        assert len(actual) == len(expected), path
        for place, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_equal(one, other, f"{path}[{place}]")
    elif isinstance(actual, dict):
        assert actual.keys() == expected.keys(), path
        for key in actual:
            assert_equal(actual[key], expected[key], f"{path}[{key!r}]")
    else:
        assert actual == expected, path


def check(stages, values):
    """Compare every stage with its references on a few events, some of them bad."""
    block = Block(stages, [*values[:CHECKED_EVENTS], b"{", b'{"text":null}', b'{"text":"","id":[1,{"a":"\\u00e9"}]}'])
    patched = {
        "decode": [(WIRE_UNREAD, name) for name in ("index_batches", "select_batches", "fit_batches", "read_records")],
        "decide": [(TASK, "decide")],
        "render": [(RENDER, "write_scores")],
        "encode": [(WIRE_ENCODE, "write_records"), (WIRE_ENCODE, "seal")],
    }
    for stage, kernels in patched.items():
        with ExitStack() as stack:
            for module, name in kernels:
                stack.enter_context(mock.patch.object(module, name, getattr(module, name).reference))
            expected = getattr(block, stage)()
        assert_equal(getattr(block, stage)(), expected, stage)
    assert_equal(block.parse(), parse.reference(block.records, stages.field_plan), "parse")
    net = stages.hashed
    expected = Featurizer.__call__.reference(net.featurizer, block.columns, block.records.buffer)
    assert_equal(block.featurize(), expected, "featurize")
    counts = np.diff(block.features.indptr).astype(np.int32)
    t, sums = net.tensors, accumulate.reference(block.features.indptr, block.features.indices, net.table)
    logits = reference_logits(t, sums, counts)
    expected = ScoreBlock(logits, finish.reference(logits, t.logit_scale, t.logit_bias))
    assert_equal(block.score(), expected, "score")
    assert_equal(block.fused(), expected, "fused")


def cases_of(stages, values):
    """Give every case, in the order of the stages, and what the block is like."""
    b, net = Block(stages, values), stages.hashed
    n, heads, dim, ids = b.n, len(stages.heads), net.tensors.dim, len(b.features.indices) / b.n
    wire = sum(len(part.data) for part in b.fetched) / n
    value = float((b.records.value_stop - b.records.value_start).sum()) / n
    text = next(float(c.indptr[-1]) / n for c in b.columns.columns.values() if isinstance(c, TextColumn))
    answer, out = float(b.values.indptr[-1]) / n, sum(len(batch.data) for batch in b.batches) / n

    indexed = arguments(WIRE_UNREAD, "index_batches", b.decode)
    spans = [(a, batch) for a in indexed for batch in _batch_spans(a[0], a[1], a[2])]
    crc = WIRE_CRC.crc32c
    t = net.tensors
    scales = (t.column_scale, t.length_divisor, np.float32(t.input_scale), t.input_zero_point)
    sums = net.accumulate(b.features)
    inputs = quantize_sums(sums, b.features.indptr, *scales)
    fused_bytes = text + 2 * PLACE_BYTES + ids * dim + 8 * heads
    parse_bytes = (
        value + 2 * PLACE_BYTES + text + 1 + PLACE_BYTES + len(stages.field_plan.fields) * (1 + 3 * PLACE_BYTES)
    )
    text_bytes = text + 2 * PLACE_BYTES + 4 * ids + PLACE_BYTES
    answer_bytes = 4 * PLACE_BYTES + 2 + 4 * heads + answer + PLACE_BYTES
    encode_bytes = 7 * PLACE_BYTES + answer + out
    record_bytes = wire - value + RECORD_COLUMNS_BYTES
    timed_cases = [
        Timed("decode", "crc32c", lambda: [crc(a[0], start, stop) for a, (start, stop) in spans], wire),
        Timed("decode", "index_batches", repeat(WIRE_UNREAD.index_batches, indexed), wire),
        Timed("decode", "read_records", again(WIRE_UNREAD, "read_records", b.decode), record_bytes),
        Timed("decode", "", b.decode, 3 * wire + RECORD_COLUMNS_BYTES),  # gathered: read and written; then read
        Timed("parse", "parse_events", again(PAYLOAD, "parse_events", b.parse), parse_bytes),
        Timed("parse", "", b.parse, parse_bytes),
        Timed("featurize", "hash_texts", again(TEXT, "hash_texts", b.featurize), text_bytes),
        Timed("featurize", "", b.featurize, text_bytes),
        Timed("score", "accumulate", lambda: net.accumulate(b.features), ids * (4 + dim) + PLACE_BYTES + 4 * dim),
        Timed("score", "quantize_sums", lambda: quantize_sums(sums, b.features.indptr, *scales), 5 * dim + PLACE_BYTES),
        Timed("score", "dense net", lambda: net.dense(inputs), dim + 4 * heads),
        Timed("score", "finish", lambda: finish(b.scores.logits, t.logit_scale, t.logit_bias), 8 * heads),
        Timed("score", "featurize and score", b.fused, fused_bytes),
        Timed("score", "", b.score, ids * (4 + dim) + PLACE_BYTES + 4 * dim + 8 * heads),
        Timed("decide", "", b.decide, 2 + PLACE_BYTES + 4 * heads + 1),
        Timed("render", "write_scores", again(RENDER, "write_scores", b.render), answer_bytes),
        Timed("render", "", b.render, answer_bytes),
        Timed("encode", "write_records", again(WIRE_ENCODE, "write_records", b.encode), encode_bytes),
        Timed("encode", "seal", again(WIRE_ENCODE, "seal", b.encode), out),
        Timed("encode", "", b.encode, encode_bytes + out),
    ]  # fmt: skip
    return timed_cases, {
        "events": n, "value_bytes": round(value, 1), "text_bytes": round(text, 1), "ids": round(ids, 1),
        "answer_bytes": round(answer, 1), "model": stages.model_id,
    }  # fmt: skip


def _batch_spans(buffer, start, stop):
    """Give where the checksummed part of each batch lies."""
    while start < stop:
        end = start + layout.LOG_OVERHEAD + int(layout.be32(buffer, start + layout.BATCH_LENGTH))
        yield start + layout.ATTRIBUTES, end
        start = end


def load(bundle):
    """Load the stages of a bundle's model."""
    return Scorer.load(bundle).stages

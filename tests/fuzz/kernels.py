"""Mutated events and record batches, by the million, through the kernels: ``python -m tests.fuzz.kernels --help``.

What is read lies right before a page that cannot be read, so that a kernel that reads too far ends the process. With
``NUMBA_BOUNDSCHECK=1`` (and a folder of its own in ``NUMBA_CACHE_DIR``) every index into an array is checked as well.
A sample is compared with the plain references, bit for bit. A seed and a number of runs give the same runs again; the
round that is running is said on standard error before it begins, so a run that ends in a signal names it.
"""

import argparse
import faulthandler
import json
import struct
import sys
import time
from pathlib import Path

import numba
import numpy as np

from farthing.blocks import RecordBlock, Segment
from farthing.payload import Field, FieldPlan, parse
from farthing.payload.rules import parse_reference
from farthing.wire import layout, table
from farthing.wire.batches import index_batches, index_batches_reference, select_batches, select_batches_reference
from farthing.wire.headers import keep_headers, keep_headers_reference
from farthing.wire.records import read_records, read_records_reference
from farthing.wire.varint import varlong
from tests.fuzz.guarded import Guarded
from tests.fuzz.mutate import mutated_many
from tests.payload.corpus import CORPUS

GOLDEN = Path(__file__).parents[1] / "golden"
ROUND = 5_000  # executions between two lines on standard error
PLANS = (
    FieldPlan((Field("id", "id", "raw"), Field("text", "text", required=True))),
    FieldPlan(
        (
            Field("q", "q", required=True), Field("t", "a.c[*].t"), Field("n", "a.c[*].n.v", "number"),
            Field("k", "a.k", "raw"), Field("r", "a.c[*].r", "raw"), Field("z", "b.z", "number"),
        ),
        max_rows=3,
    ),
)  # fmt: skip
EVENTS = (
    *(value for value in (one if isinstance(one, bytes) else one[0] for one in CORPUS) if isinstance(value, bytes)),
    b'{"id":7,"text":"na\xc3\xafve \\u00e9\\ud83d\\ude00 caf\\u00e9\\n","more":[1,-2.5e-7,{"a":[true,false,null]}]}',
    b'{"q":"x","a":{"k":[1,2],"c":[{"t":"one","n":{"v":1.5}},{"t":null,"r":{"z":[]}},{"n":{"v":1e300}}]},"b":{"z":0.1}}',
)  # fmt: skip
PRODUCERS = (
    (PLANS[0], b'{"id":"c-17","user":"u1","ts":1790000000,"text":"a plain text of more than 32 bytes, and more","x":[1,{}]}'),
    (PLANS[0], b'{"text": "caf\\u00e9 na\xc3\xafve \xf0\x9f\x98\x80 and so on", "n": -1.5e-3, "ok": null, "id": {"a": [1]}}'),
    (PLANS[0], b'{"id":1,"text":"a","text":"the last one counts","id":"x"}'),
    (PLANS[1], EVENTS[-1]),
    (PLANS[1], b'{ "q" : "x", "b" : {"z" : 12}, "a" : {"k" : "k", "c" : [{"t" : "one", "r" : 5}, {"r" : "s", "t" : "two"}] } }'),
)  # fmt: skip


def require(ok, what):
    """An assertion that ``-O`` does not remove."""
    if not ok:
        raise AssertionError(what)


def block(buffer, start, stop):
    n = len(start)
    none = np.full(n, -1, np.int64)
    return RecordBlock(
        buffer, np.arange(n), np.zeros(n, np.int64), none, none, start, stop, none, none, np.zeros(n, np.int32),
        (Segment("t", 0, 0, n, 0, n),),
    )  # fmt: skip


def equal_columns(ours, theirs, what):
    require(np.array_equal(ours.status, theirs.status), f"status: {what}")
    require(np.array_equal(ours.row_indptr, theirs.row_indptr), f"rows: {what}")
    for name, column in theirs.columns.items():
        found = ours.columns[name]
        require(np.array_equal(found.presence, column.presence), f"presence of {name}: {what}")
        for part in ("start", "stop", "indptr", "values"):
            if hasattr(column, part):
                same = np.array_equal(getattr(found, part), getattr(column, part), equal_nan=part == "values")
                require(same, f"{part} of {name}: {what}")
        if hasattr(column, "indptr"):
            size = int(column.indptr[-1])
            require(found.data[:size].tobytes() == column.data[:size].tobytes(), f"text of {name}: {what}")


def fuzz_json(rng, n, compared):
    """Mutated events through the stage ``parse``; returns counts by status."""
    return parsed(rng, *mutated_many(rng, EVENTS, n), PLANS[int(rng.integers(0, len(PLANS)))], compared)


def fuzz_shapes(rng, n, compared):
    """The same with blocks of one producer's events, of which one in four is mutated, and in their turn."""
    plan, value = PRODUCERS[int(rng.integers(0, len(PRODUCERS)))]
    data, bounds = mutated_many(rng, (value, *EVENTS[-2:]), n)
    pieces = [value if k % 4 else data[bounds[k] : bounds[k + 1]].tobytes() for k in range(n)]
    data = np.frombuffer(b"".join(pieces), np.uint8)
    bounds = np.cumsum([0, *map(len, pieces)])
    some = slice(int(rng.integers(0, max(n - compared, 1))), n)
    bounds_of_some = bounds[some][: compared + 1]
    memory = fuzz_json.__dict__.setdefault("memory", Guarded(64 << 20))
    buffer = memory.at_the_end(int(bounds_of_some[-1] - bounds_of_some[0]))
    buffer[:] = data[bounds_of_some[0] : bounds_of_some[-1]]
    together = block(buffer, bounds_of_some[:-1] - bounds_of_some[0], bounds_of_some[1:] - bounds_of_some[0])
    equal_columns(parse(together, plan), parse_reference(together, plan), repr(buffer.tobytes()))
    return parsed(rng, data, bounds, plan, compared)


def parsed(rng, data, bounds, plan, compared):
    """Parse events as one block, and some of them alone."""
    n = len(bounds) - 1
    guarded = fuzz_json.__dict__.setdefault("memory", Guarded(64 << 20))
    buffer = guarded.at_the_end(len(data))
    buffer[:] = data
    start, stop = bounds[:-1].copy(), bounds[1:].copy()
    whole = parse(block(buffer, start, stop), plan)
    require(len(whole.status) == n and whole.row_indptr[-1] >= (whole.status == 0).sum(), "statuses and rows")
    for k in rng.choice(n, min(compared, n), replace=False):
        piece = buffer[int(start[k]) : int(stop[k])].tobytes()
        alone = guarded.at_the_end(len(data))  # the same memory: only this event's bytes, at its end
        one = block(alone, start[k : k + 1], stop[k : k + 1])
        equal_columns(parse(one, plan), parse_reference(one, plan), repr(piece))
        require(parse_reference(one, plan).status[0] == whole.status[k], repr(piece))
    return np.bincount(whole.status)


def batch_of(n, n_headers):
    """A batch of ``n`` records with keys, values, nulls and headers, by the definition; without a checksum."""

    def sized(data):
        return varlong(-1) if data is None else varlong(len(data)) + data

    records = []
    for k in range(n):
        fields = [
            varlong(k * 3 - 1),
            varlong(k),
            sized(b"key%d" % k if k % 3 else None),
            sized(b'{"text":"%d"}' % k if k % 5 else None),
        ]
        fields += [
            varlong(n_headers),
            *(sized(b"farthing.x" if k % 2 else b"trace") + sized(b"1" * k) for _ in range(n_headers)),
        ]
        body = b"\0" + b"".join(fields)
        records.append(varlong(len(body)) + body)
    data = b"".join(records)
    head = np.zeros(1, layout.HEADER)
    head["baseOffset"], head["magic"], head["lastOffsetDelta"], head["recordsCount"] = 5, 2, n - 1, n
    head["batchLength"] = layout.HEADER_BYTES - layout.LOG_OVERHEAD + len(data)
    head["baseTimestamp"] = head["maxTimestamp"] = 1_700_000_000_000
    head["producerId"] = 7
    head["attributes"] = layout.TRANSACTIONAL if n > 1 else 0
    return head.tobytes() + data


def batch_seeds():
    """What Apache Kafka and its clients stored, cut into batches, and some of ours with keys, nulls and headers."""
    seeds = [batch_of(n, headers) for n, headers in ((1, 0), (3, 2), (20, 1))]
    for file in sorted(GOLDEN.glob("*.bin")):
        data = file.read_bytes()
        at = 0
        while at + layout.HEADER_BYTES <= len(data) and len(data) - at < 1 << 20:
            size = layout.LOG_OVERHEAD + struct.unpack_from(">i", data, at + layout.BATCH_LENGTH)[0]
            if size <= layout.LOG_OVERHEAD:
                break
            if size < 2_000:
                seeds.append(data[at : at + size])
            at += size
    return tuple(dict.fromkeys(seeds))


def fuzz_batches(rng, n, compared):
    """Mutated record batches through the kernels that index, select and read; returns counts by what was wrong."""
    memory = fuzz_batches.__dict__.setdefault("memory", Guarded(1 << 20))
    seeds = fuzz_batches.__dict__.setdefault("seeds", batch_seeds())
    scratch = fuzz_batches.__dict__.setdefault(
        "scratch", [np.zeros(9, np.int64), np.zeros((8, 4096), np.int64), np.zeros(4096, np.int32)]
    )
    data, bounds = mutated_many(rng, seeds, n)
    wrong = np.zeros(16, np.int64)
    sample = set(rng.choice(n, min(compared, n), replace=False).tolist())
    aborted = np.array([3, 7], np.int64), np.array([0, 5], np.int64)
    for k in range(n):
        piece = data[bounds[k] : bounds[k + 1]]
        size = len(piece)
        buffer = memory.at_the_end(size)
        buffer[:] = piece
        if size >= layout.HEADER_BYTES and k % 2:  # half of them with a length that fits, as the checksum would tell
            buffer[layout.BATCH_LENGTH : layout.BATCH_LENGTH + 4] = np.frombuffer(
                struct.pack(">i", size - layout.LOG_OVERHEAD), np.uint8
            )
            buffer[layout.MAGIC] = 2
        rows = np.zeros((size // layout.HEADER_BYTES + 1, table.N_COLUMNS), np.int64)
        found = index_batches(buffer, 0, size, rows, 0, False)
        require(0 <= found[0] <= len(rows) and 0 <= found[1] <= size, f"places: {found}")
        wrong[found[2]] += 1
        compare = k in sample
        if compare:
            theirs = np.zeros_like(rows)
            expected = index_batches_reference(buffer, 0, size, theirs, 0, False)
            require(tuple(found) == tuple(expected) and np.array_equal(rows, theirs), piece.tobytes().hex())
        select_batches(buffer, rows, 0, found[0], 0, *aborted, np.zeros(2, np.uint8))
        if compare:
            select_batches_reference(buffer, theirs, 0, found[0], 0, *aborted, np.zeros(2, np.uint8))
            require(np.array_equal(rows, theirs), piece.tobytes().hex())
        rows[:, table.ATTRIBUTES] &= ~layout.CODEC_MASK  # as if it had been unpacked
        rows[:, table.COUNT] = np.minimum(rows[:, table.COUNT], 4096 // max(found[0], 1))
        record, columns, counts = scratch
        kept, last = read_records(buffer, rows, 0, found[0], 0, 0, columns, counts, record)
        require(0 <= kept <= 4096 and 0 <= last <= found[0], f"records: {kept} {last}")
        inside = columns[2:8, :kept]
        require(((inside >= -1) & (inside <= size)).all(), f"places of records: {piece.tobytes().hex()}")
        if kept:
            headers(buffer, columns, counts, kept, compare)
        if compare:
            others = np.zeros_like(columns), np.zeros_like(counts)
            expected = read_records_reference(buffer, rows, 0, found[0], 0, 0, *others, record)
            require((kept, last) == tuple(expected), piece.tobytes().hex())
            require(np.array_equal(columns[:, :kept], others[0][:, :kept]), piece.tobytes().hex())
    return wrong


def headers(buffer, columns, counts, n, compare):
    """The headers of records that were read."""
    start, stop = columns[6, :n].copy(), columns[7, :n].copy()
    rows, room = np.arange(n), int((stop - start).sum())
    reserved = np.frombuffer(bytearray(b"farthing."), np.uint8)
    results = []
    for keep in (keep_headers, *([keep_headers_reference] if compare else [])):
        out, indptr = np.zeros(room, np.uint8), np.zeros(n + 1, np.int64)
        kept, dropped = np.zeros(n, np.int64), np.zeros(2, np.int64)
        keep(buffer, start, stop, counts[:n], rows, reserved, 64, out, indptr, kept, dropped)
        results.append((indptr.tolist(), kept.tolist(), dropped.tolist(), out[: indptr[-1]].tobytes()))
    require(results[0] == results[-1], "headers")


TARGETS = {"json": fuzz_json, "shapes": fuzz_shapes, "batches": fuzz_batches}


def run(target, runs, seed, compared_share, first_round=0):
    """Run a target; returns figures."""
    began, compared = time.perf_counter(), 0
    outcomes = np.zeros(64, np.int64)
    rounds = -(-runs // ROUND)
    for number in range(first_round, rounds):
        print(f"{target} seed {seed} round {number}", file=sys.stderr, flush=True)
        n = min(ROUND, runs - number * ROUND)
        sampled = max(1, int(n * compared_share))
        counts = TARGETS[target](np.random.default_rng([seed, number]), n, sampled)
        outcomes[: len(counts)] += counts
        compared += sampled
    return {
        "target": target, "runs": runs, "seed": seed, "bounds": numba.config.BOUNDSCHECK == 1,
        "seconds": round(time.perf_counter() - began, 1), "compared": compared,
        "outcomes": {k: int(c) for k, c in enumerate(outcomes) if c},
    }  # fmt: skip


def main():
    """Print figures as JSON, one line a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--runs", type=int, default=1_000_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, default=0, help="begin here: to repeat the round that failed")
    parser.add_argument("--compared", type=float, default=0.01, help="share that is compared with the references")
    options = parser.parse_args()
    faulthandler.enable()
    for target in options.targets or TARGETS:
        print(json.dumps(run(target, options.runs, options.seed, options.compared, options.round)), flush=True)


if __name__ == "__main__":
    main()

"""Micro-benchmark of the scoring kernels: warm calls only, compared with the cost of copying the same bytes.

    python loadtest/micro/scoring.py [--json]

Random weights and ids: 2**18 buckets x 16 columns, 32 hidden units, 3 heads, 106 ids an event, 4096 events a block.
Ids follow Zipf's law as n-grams do; the line of uniform ids is the worst case, where each is a cache miss.
Each line is the best of many calls (other work on the machine can only add). ``copy`` is a NumPy copy of as many
bytes as the step reads and writes, out of a buffer that does not fit into L2: no kernel can be faster than that.

Rejected for the bag (AMD EPYC, AVX2, 106 ids x 16 columns, ns an event, same day and load, 2026-11-23): the plain
double loop 1,900 (numba does not vectorise it); sixteen scalar accumulators 1,400-2,300; the same loop over four ids
at a time 1,000; 64-bit words with four 16-bit lanes each 145-210 (the vectors kept: 95-185). Four rows at a time gain
up to a tenth where the table's rows are in a cache, and prefetching rows gains nothing (2026-11-27). The graph itself
in ONNX Runtime is printed below as ``plain ONNX Runtime``. For the dense part: the net in ONNX Runtime, printed beside
our own, costs twice as much; scaling and quantizing there too cost 165 ns an event where the kernel costs 8, because
its broadcasts run row by row.
"""

import argparse
import json
import platform
import time

import numpy as np
import onnxruntime

from farthing.scoring.dense import DenseVectors
from farthing.scoring.embedding_bag import accumulate, pack_table, quantize_sums
from farthing.scoring.finish import finish
from farthing.scoring.graph import build_model, reference_logits
from farthing.scoring.session import DenseSession, open_session
from farthing.scoring.tensors import QuantizedTensors

N_BUCKETS, DIM, HIDDEN, HEADS, IDS, EVENTS = 1 << 18, 16, 32, 3, 106, 4096
PLAIN_EVENTS = 256
ZIPF = 1.2  # n-grams of a language: most ids are common ones, whose rows stay in the cache


def tensors():
    rng = np.random.default_rng(0)
    return QuantizedTensors(
        table=rng.integers(-127, 128, (N_BUCKETS, DIM), dtype=np.int8),
        column_scale=np.full(DIM, 1e-2, np.float32),
        length_divisor=np.sqrt(np.maximum(np.arange(4097), 1)).astype(np.float32),
        input_scale=0.03,
        input_zero_point=128,
        hidden_weight=rng.integers(-64, 65, (DIM, HIDDEN), dtype=np.int8),
        hidden_bias=rng.integers(-3000, 3000, HIDDEN, dtype=np.int32),
        hidden_scale=np.full(HIDDEN, 1e-4, np.float32),
        activation_scale=0.01,
        output_weight=rng.integers(-64, 65, (HIDDEN, HEADS), dtype=np.int8),
        logit_scale=np.full(HEADS, 1e-4, np.float32),
        logit_bias=np.zeros(HEADS, np.float32),
    )


def best_ns(call, *, seconds=0.5):
    """Nanoseconds of the fastest of many warm calls."""
    call()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter_ns()
        call()
        best = min(best, time.perf_counter_ns() - begin)
    return float(best)


def copy_ns_per_byte():
    """Of bytes read and written, on a buffer larger than L2."""
    source = np.ones(8 << 20, np.uint8)
    target = np.empty_like(source)
    return best_ns(lambda: np.copyto(target, source)) / (2 * source.nbytes)


def measure():
    t = tensors()
    model = build_model(t)
    rng = np.random.default_rng(1)
    indptr = np.arange(EVENTS + 1, dtype=np.int64) * IDS
    uniform = rng.integers(0, N_BUCKETS, EVENTS * IDS).astype(np.int32)
    ids = (rng.zipf(ZIPF, EVENTS * IDS) * 0x9E3779B1 % N_BUCKETS).astype(np.int32)
    table, dense, vectors = pack_table(t.table), DenseSession(model), DenseVectors(t)
    scale = np.float32(t.input_scale)

    def quantize():
        return quantize_sums(sums, indptr, t.column_scale, t.length_divisor, scale, t.input_zero_point)

    sums = accumulate(indptr, ids, table)
    inputs = quantize()
    logits = dense.run(inputs)
    assert np.array_equal(logits, reference_logits(t, sums, np.full(EVENTS, IDS, np.int32)))  # right, then fast
    assert np.array_equal(logits, vectors.run(inputs))
    padded = ids.reshape(EVENTS, IDS)[:PLAIN_EVENTS].astype(np.int64)
    plain = open_session(model, threads=1)

    steps = [  # name, call, events, bytes read and written an event
        ("bag", lambda: accumulate(indptr, ids, table), EVENTS, IDS * (4 + DIM) + 4 * DIM),
        ("bag, uniform ids", lambda: accumulate(indptr, uniform, table), EVENTS, IDS * (4 + DIM) + 4 * DIM),
        ("quantize", quantize, EVENTS, 5 * DIM),
        ("dense net", lambda: vectors.run(inputs), EVENTS, DIM + 4 * HEADS),
        ("dense net, 1 event", lambda: vectors.run(inputs[:1]), 1, DIM + 4 * HEADS),
        ("the same in ONNX R.", lambda: dense.run(inputs), EVENTS, DIM + 4 * HEADS),
        ("finish", lambda: finish(logits, t.logit_scale, t.logit_bias), EVENTS, 8 * HEADS),
        ("plain ONNX Runtime", lambda: plain.run(["scores"], {"ids": padded}), PLAIN_EVENTS, IDS * (8 + DIM)),
    ]
    per_byte = copy_ns_per_byte()
    return [
        {"step": name, "ns_per_event": best_ns(call) / events, "copy_ns_per_event": size * per_byte}
        for name, call, events, size in steps
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object as the last line")
    as_json = parser.parse_args().json
    rows = measure()
    if as_json:
        versions = {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__}
        print(json.dumps({"steps": rows, "machine": platform.processor() or platform.machine(), **versions}))
        return
    print(f"{'step':<20}{'ns/event':>10}{'copy':>8}{'times copy':>12}")
    for row in rows:
        ns, copy = row["ns_per_event"], row["copy_ns_per_event"]
        print(f"{row['step']:<20}{ns:>10.1f}{copy:>8.1f}{ns / copy:>12.1f}")


if __name__ == "__main__":
    main()

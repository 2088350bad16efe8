"""A worker's memory has one number, which follows from the settings; the worst inputs we know stay under it."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import cramjam
import numpy as np
import pytest
from backports import zstd

from farthing import limits
from farthing.blocks import FetchedPartition
from farthing.commands.config import show
from farthing.config import load
from farthing.kernels.jit import NO_JIT, watch_compilation
from farthing.wire import Arena, Limits, codec, decode_whole, encode_records, layout, warm_pieces
from tests.wire.test_pieces import batch_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")

ROOT = Path(__file__).resolve().parents[2]
PACK = {
    "gzip": lambda body: bytes(cramjam.gzip.compress(body, 9)),
    "snappy": lambda body: codec.compress(2, np.frombuffer(body, np.uint8)).tobytes(),
    "snappy_raw": lambda body: bytes(cramjam.snappy.compress_raw(body)),
    "lz4": lambda body: bytes(cramjam.lz4.compress(body)),
    "zstd": zstd.compress,
    "zstd_window": lambda body: zstd.compress(body, options={zstd.CompressionParameter.window_log: 27}),
}
NUMBERS = {"gzip": 1, "snappy": 2, "snappy_raw": 2, "lz4": 3, "zstd": 4, "zstd_window": 4}


def records(values):
    """Lay values out as a batch's records."""
    data, indptr = np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)])
    return encode_records("e", 0, data, indptr, np.zeros(len(values), np.int64)).data[layout.HEADER_BYTES :].tobytes()


def hostile(folder, bundle):
    """Write the batches; gives the scenarios."""
    kinds = {"moderation": "text", "bidding": "imp"}
    if kinds[bundle] == "imp":
        rows = b'{"id":"1","imp":[' + b",".join([b"{}"] * 1000) + b"]}"
        bodies = {"rows": ([rows] * 20_000, 20_000), "empty": ([b""] * 100_000, 100_000)}
    else:
        text = json.dumps({"text": "all sorts of words " * 50}).encode()
        bodies = {
            "events": ([text] * 24_000, 24_000), "tiny": ([b'{"text":"hi"}'] * 300_000, 300_000),
            "bad": ([b"{"] * 300_000, 300_000),
        }  # fmt: skip
    found = []
    for kind, (values, count) in bodies.items():
        body = records(values)
        for name, pack in PACK.items():
            if kind == "events" or name == "zstd":
                (folder / f"{kind}.{name}").write_bytes(batch_of(0, count, count - 1, pack(body), NUMBERS[name]))
                found.append(f"{kind}.{name}:12")
        one = body[: 3 << 20]
        whole = records(values[: len(one) // (len(values[0]) + 14)])
        n = len(one) // (len(values[0]) + 14)
        (folder / f"{kind}.none").write_bytes(batch_of(0, n, n - 1, whole, 0))
        found.append(f"{kind}.none:8")
        few = min(40, n)
        small = PACK["zstd"](records(values[:few]))
        (folder / f"{kind}.small").write_bytes(batch_of(0, few, few - 1, small, 4))
        found.append(f"{kind}.small:1000")
    if bundle != "moderation":
        return found  # the others' way is the same up to the records
    long = b"\xfe\xff\xff\xff\x0f" + b"\0\0\0\1" + bytes(1 << 26)  # a record of 2 GiB, which ends too early
    for name, pack in PACK.items():
        (folder / f"zeros.{name}").write_bytes(batch_of(0, 1000, 999, pack(bytes(1 << 26)), NUMBERS[name]))
        found.append(f"zeros.{name}:6")
        if name != "snappy":
            (folder / f"long.{name}").write_bytes(batch_of(0, 1000, 999, pack(long), NUMBERS[name]))
            found.append(f"long.{name}:6")
    return found


@pytest.mark.parametrize("bundle", ["moderation", pytest.param("bidding", marks=pytest.mark.campaign)])
def test_the_worst_inputs_stay_under_the_number(bundle, tmp_path):
    scenarios = hostile(tmp_path, bundle)
    largest = max(len(path.read_bytes()) for path in tmp_path.iterdir())
    command = [sys.executable, "-m", "tests.serving.hungry", bundle, str(tmp_path), *scenarios]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    most = limits.worst_case_bytes(
        max_block_bytes=limits.MAX_BLOCK_BYTES, max_event_bytes=(1 << 20,), fetch_max_bytes=8 << 20,
        max_partition_fetch_bytes=4 << 20, largest_batch_bytes=largest,
    )  # fmt: skip
    print(json.dumps(found, indent=1), most >> 20, largest >> 10)
    assert found["at_rest"] < limits.AT_REST_BYTES
    assert found["at_most"] < most, found
    assert max(one["longest"] for one in found["scenarios"].values()) < 20  # generous: a block takes about a second


def test_the_number_is_what_operations_the_container_and_config_show_say(capsys):
    route = {"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d"}
    loaded = load(None, {"route": [route]}, environment=False)
    settings = loaded.settings
    most = limits.worst_case_bytes(
        max_block_bytes=settings.worker.max_block_bytes,
        max_event_bytes=(settings.route[0].max_event_bytes,),
        fetch_max_bytes=settings.kafka.fetch_max_bytes,
        max_partition_fetch_bytes=settings.kafka.max_partition_fetch_bytes,
    )
    assert f"{most >> 20:,} MiB by default with one broker" in (ROOT / "service/OPERATIONS.md").read_text()
    assert "memory: 1536Mi" in (ROOT / "deploy/kubernetes/base/worker.yaml").read_text()
    assert most < 1536 << 20
    assert show(loaded, as_json=False) == 0
    assert f"a worker takes at most {most >> 20:,} MiB of memory" in " ".join(capsys.readouterr().out.split())


def test_each_setting_counts():
    usual = {
        "max_block_bytes": 16 << 20, "max_event_bytes": (1 << 20,), "fetch_max_bytes": 8 << 20,
        "max_partition_fetch_bytes": 4 << 20,
    }  # fmt: skip
    for name, value in {
        "max_block_bytes": 17 << 20, "max_event_bytes": (17 << 20,), "fetch_max_bytes": 9 << 20,
        "max_partition_fetch_bytes": 5 << 20, "brokers": 2, "largest_batch_bytes": 5 << 20,
    }.items():  # fmt: skip
        assert limits.worst_case_bytes(**{**usual, name: value}) > limits.worst_case_bytes(**usual)
    assert struct.calcsize("P") == 8  # the figures are for 64 bits


@pytest.mark.skipif(NO_JIT, reason="nothing is compiled")
def test_no_kernel_is_left_to_be_compiled_when_a_large_batch_comes():
    """Compiling holds the event loop up, and the group would lose the worker."""
    warm_pieces()
    names = []
    with watch_compilation(names.append):
        for number, pack in ((0, bytes), (2, PACK["snappy"]), (3, PACK["lz4"]), (4, PACK["zstd"])):
            raw = batch_of(0, 30, 29, pack(records([b"words " * 500] * 30)), number)
            part = FetchedPartition("e", 0, 3, 1 << 40, memoryview(bytearray(raw)))
            blocks = list(decode_whole(part, Arena(), Limits(3000, 1 << 20)))
            assert blocks[-1].segments[-1].next_offset == 30
    assert names == []

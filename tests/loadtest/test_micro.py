"""The micro-benchmarks run, compare kernels with references first, and say what they say in figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from farthing.kernels.jit import NO_JIT
from farthing.model.shipped import shipped_bundles

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(NO_JIT, reason="references are not timed")
def test_every_kernel_is_timed_beside_its_ceiling():
    if "moderation" not in shipped_bundles():
        pytest.skip("there is no bundle to time")
    options = ["--block", "400", "--rounds", "3", "--seconds", "0.0005", "--events", "made-up", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.micro", *options], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    stages = {row["stage"] for row in report["kernels"] if row["kernel"] == "(stage)"}
    assert stages == {"decode", "parse", "featurize", "score", "decide", "render", "encode"}
    for row in report["kernels"]:
        assert row["ns_per_event"] >= row["least_ns_per_event"] > 0
        assert row["gb_per_second"] == pytest.approx(row["bytes_per_event"] / row["ns_per_event"])
        assert row["ceiling_events_per_second"] > 0
    assert report["copy_gb_per_second"] > 0.1
    assert report["block"]["events"] == 400


@pytest.mark.skipif(NO_JIT, reason="references are not timed")
def test_parsing_is_timed_with_and_without_what_it_learns():
    options = ["--block", "300", "--rounds", "3", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.micro.parsing", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report["streams"]) > 10
    for row in report["streams"]:
        assert min(row["by_shape_least_ns"], row["whole_least_ns"], row["copy_ns"]) > 0

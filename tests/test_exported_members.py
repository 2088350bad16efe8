"""The public surface fits on one screen, and importing it is light."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import farthing


def test_every_exported_name_resolves():
    assert len(farthing.__all__) <= 14
    for name in farthing.__all__:
        assert getattr(farthing, name) is not None
    assert dir(farthing) == sorted(farthing.__all__)


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(farthing, "Scrorer")


def test_import_is_light():
    code = "import farthing, sys; print([m for m in ('numba', 'aiokafka', 'faust', 'onnxruntime') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("room", ["kafka", "payload"])
def test_names_on_demand_are_those_that_type_checkers_see(room):
    package = importlib.import_module(f"farthing.{room}")
    (block,) = (node for node in ast.parse(Path(package.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in block.body for name in node.names}
    assert sorted(seen) == sorted(package.__all__)
    for name, module in seen.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), name)
    assert not hasattr(package, "nothing")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["config", "schema"], ["breakeven", "--help"], ["evaluate", "--help"]]
)
def test_a_command_that_computes_nothing_loads_no_arrays_and_no_kafka_client(arguments, tmp_path):
    code = (
        "import contextlib, sys, farthing.cli\n"
        f"with contextlib.suppress(SystemExit): farthing.cli.app({arguments!r})\n"
        "print([m for m in ('numpy', 'numba', 'aiokafka', 'onnxruntime', 'structlog') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ran.stdout.splitlines()[-1] == "[]", ran.stderr

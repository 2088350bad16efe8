"""Imports point down only, and the pure layers neither do I/O nor know each other."""

import ast
from pathlib import Path

import farthing

ROOT = Path(farthing.__file__).parent

# Each layer may import the layers below it. (Siblings of the pure layer know each other only through blocks.)
LAYERS = [
    {"cli", "__main__"},
    {"demo", "commands", "distill", "evaluate", "breakeven", "ledger", "audit"},
    {"serving"},
    {"config", "sections", "model"},
    {"kafka", "local", "files", "process"},
    {"wire", "payload", "features", "scoring", "tasks", "meter"},
    {"blocks"},
    {"kernels", "errors"},
]
PURE = {"wire", "payload", "features", "scoring", "tasks", "meter", "blocks"}
IMPURE_MODULES = {
    "asyncio",
    "time",
    "datetime",
    "os",
    "logging",
    "socket",
    "structlog",
    "aiokafka",
    "aiohttp",
    "random",
}
# Exceptions, each with its reason.
ALLOWED = {
    ("distill", "__main__"),  # `python -m farthing.distill` ends as the command line does
    ("commands", "__main__"),  # likewise
    ("serving", "commands"),  # the worker asks what `topics check` asks
    ("kernels", "blocks"),  # the names of array types
}
# A price has a day: the meter handles dates, but is told which. No clock: see the test below.
ALLOWED_IMPURE = {("meter", "datetime")}
CLOCKS = {"now", "today", "utcnow", "fromtimestamp"}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield parts[0], path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            if node.module == "farthing":
                for alias in node.names:
                    yield f"farthing.{alias.name}"


def rank(unit):
    for index, layer in enumerate(LAYERS):
        if unit in layer:
            return index
    return None


def test_every_module_has_a_layer():
    assert {unit for unit, _ in modules() if rank(unit) is None} <= {"__init__"}


def test_imports_point_down():
    wrong = []
    for unit, path in modules():
        if unit == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "farthing" or len(parts) < 2 or rank(parts[1]) is None:
                continue
            other = parts[1]
            if other == unit or (unit, other) in ALLOWED:
                continue
            down = rank(other) > rank(unit)
            beside = rank(other) == rank(unit) and unit not in PURE
            if not (down or beside):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_pure_layer_does_no_io():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for unit, path in modules()
        if unit in PURE
        for name in imports(path)
        if name.split(".")[0] in IMPURE_MODULES and (unit, name.split(".")[0]) not in ALLOWED_IMPURE
    ]
    assert not wrong


def test_pure_layer_reads_no_clock():
    wrong = [
        f"{path.relative_to(ROOT)} calls {node.func.attr}()"
        for unit, path in modules()
        if unit in PURE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    ]
    assert not wrong


def test_only_one_module_knows_numba_and_one_package_aiokafka():
    for unit, path in modules():
        for name in imports(path):
            top = name.split(".")[0]
            if top == "aiokafka":
                assert unit == "kafka", path
            if top == "faust":
                assert unit == "ledger", path

"""A default or limit that a setting has stands in the setting, and nowhere else."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import farthing
from farthing import config
from farthing.kafka import KafkaSettings
from farthing.meter.settings import LedgerSettings, MeterSettings
from farthing.sections import HttpSettings, ModelSettings, RouteSettings, Settings, WorkerSettings
from farthing.serving.accounting import Accounting
from farthing.serving.reporter import Reporter
from farthing.serving.reporting import NoReports, Reports

PACKAGE = Path(farthing.__file__).parent
REPOSITORY = PACKAGE.parents[1]
SECTIONS = {
    "kafka": KafkaSettings,
    "model": ModelSettings,
    "worker": WorkerSettings,
    "http": HttpSettings,
    "meter": MeterSettings,
    "ledger": LedgerSettings,
    "route": RouteSettings,
}
# What stands between the settings and the broker. Pure stages and the library are called without settings too.
SERVING = [
    *("serving/pipeline.py", "serving/accounting.py", "serving/reporting.py", "serving/progress.py"),
    *("serving/reporter.py", "serving/publishing.py"),
    *("serving/scoring_thread.py", "serving/supervisor.py", "serving/worker.py"),
    *("process/probes.py", "process/http.py", "kafka/*.py", "ledger/*.py"),
]


def settings_with_defaults():
    """Names that settings have, and those that they are called where their unit is another."""
    names = {"most_tenants"}
    for kind in SECTIONS.values():
        for name, field in kind.model_fields.items():
            if not field.is_required() and field.default is not None:
                names |= {name, re.sub("_ms$", "_s", name)}
    return names


def is_literal(node):
    """Whether a default is written out as a number or text."""
    if node is None or (isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))):
        return False
    leaves = [leaf for leaf in ast.walk(node) if not isinstance(leaf, ast.operator | ast.unaryop | ast.expr_context)]
    return all(isinstance(leaf, ast.Constant | ast.BinOp | ast.UnaryOp | ast.Tuple) for leaf in leaves)


def literal_defaults(tree):
    """(function or class, name) of every default that is written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            placed = node.args.posonlyargs + node.args.args
            pairs = list(zip(placed[::-1], node.args.defaults[::-1], strict=False))
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            yield from ((node.name, argument.arg) for argument, default in pairs if is_literal(default))
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and is_literal(line.value):
                    yield node.name, line.target.id


def test_no_signature_between_settings_and_broker_has_a_default_of_a_setting():
    names = settings_with_defaults()
    files = [path for pattern in SERVING for path in PACKAGE.glob(pattern)]
    assert len(files) > 20
    assert not [
        (path.name, where, name)
        for path in files
        for where, name in literal_defaults(ast.parse(path.read_text()))
        if name in names and where != "KafkaSettings"
    ]


@pytest.mark.parametrize(
    "broken",
    [
        "def run(self, *, commit_interval_s: float = 1.0): ...",
        "class K:\n    fetch_max_bytes: int = 4 << 20",
        "def f(a, session_timeout_ms=45_000): ...",
        "class A:\n    async def f(self, on_corrupt_batch='halt'): ...",
    ],
)
def test_a_second_default_is_seen(broken):
    assert [name for _, name in literal_defaults(ast.parse(broken)) if name in settings_with_defaults()]


def test_only_one_class_has_the_sizes_of_a_fetch():
    stated = [
        node.name
        for path in [*PACKAGE.rglob("*.py"), *(REPOSITORY / "loadtest").rglob("*.py")]
        if "fetch_max_bytes" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign) and getattr(line.target, "id", "") == "fetch_max_bytes"
    ]
    assert stated == ["KafkaSettings"]
    assert Settings.model_fields["kafka"].annotation is KafkaSettings


def test_the_operators_table_has_the_defaults_that_are_in_force():
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| (\S+) \|", (REPOSITORY / "service/OPERATIONS.md").read_text(), re.M)
    assert len(rows) >= 20
    defaults = {(section, name): SECTIONS[section].model_fields[name].default for section, name, _ in rows}
    stated = {(section, name): text for section, name, text in rows}
    assert stated == {where: "null" if default is None else str(default) for where, default in defaults.items()}


def test_the_example_file_says_what_is_the_default_anyway(tmp_path):
    file = tmp_path / "farthing.toml"
    file.write_text(config.EXAMPLE)
    settings = config.load(file).settings
    assert (settings.kafka, settings.worker, settings.http) == (KafkaSettings(), WorkerSettings(), HttpSettings())


def test_the_ports_of_deployments_are_the_default_ones():
    ports = {str(HttpSettings().port), str(LedgerSettings().port)}
    patterns = ("*.py", "*.yaml", "*.yml", "Dockerfile")
    files = [path for pattern in patterns for path in (REPOSITORY / "deploy").rglob(pattern)]
    found = {port for path in files for port in re.findall(r"(?<![\w.])94\d\d(?![\w.])", path.read_text())}
    assert found == ports
    assert f'"FARTHING_HTTP__PORT", "{HttpSettings().port}"' in (REPOSITORY / "deploy/healthcheck.py").read_text()


def test_the_capacity_calculator_assumes_what_the_meter_does():
    tree = ast.parse((REPOSITORY / "deploy/capacity.py").read_text())
    (workload,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and "peak_to_mean" in ast.unparse(n)]
    stated = {
        line.target.id: ast.literal_eval(line.value)
        for line in workload.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.value, ast.Constant)
    }
    shared = stated.keys() & MeterSettings.model_fields.keys()
    assert len(shared) >= 6
    assert {name: stated[name] for name in shared} == {name: float(getattr(MeterSettings(), name)) for name in shared}


@pytest.fixture
def reporters():
    """Both of them."""
    accounting = Accounting({}, most_tenants=1)
    told = {"usage_topic": "u", "heartbeat_topic": "h", "stopping": lambda: False}
    return NoReports(), Reporter(KafkaSettings(), accounting, lambda: None, **told)


def test_whoever_reports_has_the_same_narrow_interface(reporters):
    methods = [name for name in vars(Reports) if not name.startswith("_")]
    assert len(methods) == 10
    for name in methods:
        stated = list(inspect.signature(getattr(Reports, name)).parameters.values())[1:]
        for reporter in reporters:
            given = inspect.signature(getattr(reporter, name)).parameters.values()
            assert [(p.name, p.default, p.kind) for p in given] == [(p.name, p.default, p.kind) for p in stated]


async def test_a_reporter_that_does_nothing_commits_no_metadata(reporters):
    silent, _ = reporters
    await silent.start()
    silent.assign(("t", 0), 0, "")
    silent.add(("t", 0), 5)
    await silent.publish([("t", 0)], everything=True)
    assert silent.metadata([("t", 0)]) == {}
    silent.revoke([("t", 0)])
    await silent.close(1.0)

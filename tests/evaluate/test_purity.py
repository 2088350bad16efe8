"""Measuring needs neither training's nor plotting's libraries, and its arithmetic needs nothing but NumPy."""

import farthing.evaluate
from tests.test_layers import IMPURE_MODULES, ROOT, imports

MODULES = {path.stem: set(imports(path)) for path in (ROOT / "evaluate").glob("*.py")}
ARITHMETIC = {"bootstrap", "binary", "ranking", "auctions"}


def test_no_clock_no_environment_no_logging_no_event_loop():
    assert {name: found for name, names in MODULES.items() if (found := top(names) & IMPURE_MODULES)} == {}


def test_heavy_libraries_stay_out():
    assert {name for name, names in MODULES.items() if "matplotlib" in top(names)} == {"plots", "rank_plots"}
    assert not {"torch", "sklearn"} & set().union(*(top(names) for names in MODULES.values()))


def test_arithmetic_knows_only_itself():
    assert MODULES.keys() >= ARITHMETIC
    for name in ARITHMETIC:
        inside = {other for other in MODULES[name] if other.startswith("farthing")}
        assert inside <= {f"{farthing.evaluate.__name__}.{other}" for other in ARITHMETIC}, name


def top(names):
    return {name.split(".")[0] for name in names}

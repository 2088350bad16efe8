"""What makes dollars of counts has no clock, no environment and no event loop: it is given what it needs."""

from tests.test_layers import IMPURE_MODULES, ROOT, imports

MODULES = {path.stem: set(imports(path)) for path in (ROOT / "ledger").glob("*.py")}
PURE = {"books", "ledger", "history", "statement", "series", "answers"}


def top(names):
    return {name.split(".")[0] for name in names}


def test_what_makes_dollars_of_counts_is_pure():
    assert MODULES.keys() >= PURE
    assert {
        name: found for name in PURE if (found := top(MODULES[name]) & (IMPURE_MODULES | {"faust", "aiohttp"}))
    } == {}


def test_only_the_app_and_its_runner_know_faust():
    assert {name for name, names in MODULES.items() if top(names) & {"faust", "mode"}} == {"app", "run"}


def test_the_pure_part_knows_neither_the_app_nor_the_web():
    for name in PURE:
        inside = {other.split(".")[2] for other in MODULES[name] if other.startswith("farthing.ledger.")}
        assert inside <= PURE, name

"""Measuring needs neither training's nor plotting's libraries."""

from tests.tidy import Tree

TREE = Tree.of_checkout()
MODULES = {
    path.removeprefix("evaluate/").removesuffix(".py"): {name.split(".")[0] for name, _ in TREE.imports(module)}
    for path, module in TREE.package.items()
    if path.startswith("evaluate/")
}


def test_heavy_libraries_stay_out():
    assert {name for name, tops in MODULES.items() if "matplotlib" in tops} == {"plots", "rank_plots"}
    assert not {"torch", "sklearn"} & set().union(*MODULES.values())

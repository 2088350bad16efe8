"""Measuring needs neither training's nor plotting's libraries."""

from tests.tidy import Tree


def test_heavy_libraries_stay_out():
    tree = Tree.of_checkout()
    modules = {
        path.removeprefix("evaluate/").removesuffix(".py"): {name.split(".")[0] for name, _ in tree.imports(module)}
        for path, module in tree.package.items()
        if path.startswith("evaluate/")
    }
    assert {name for name, tops in modules.items() if "matplotlib" in tops} == {"plots", "rank_plots"}
    assert not {"torch", "sklearn"} & set().union(*modules.values())

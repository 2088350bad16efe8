"""What makes dollars of counts is pure (tests/tidy.py); Faust is known to the app and its runner alone."""

from tests.tidy import Tree

TREE = Tree.of_checkout()


def test_only_the_app_and_its_runner_know_faust():
    knowing = {
        path
        for path, module in TREE.package.items()
        if {"faust", "mode"} & {name.split(".")[0] for name, _ in TREE.imports(module)}
    }
    assert knowing == {"ledger/app.py", "ledger/run.py"}

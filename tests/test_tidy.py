"""The code is as DESIGN.md says; and each rule notices when it is broken."""

import functools
import re

import pytest

from tests import tidy

TREE = tidy.Tree.of_checkout()


@functools.cache
def broken(rule):
    return rule(TREE)


@pytest.mark.parametrize("rule", tidy.RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds(rule):
    assert broken(rule) == []


def adding(text):
    return lambda source: source + "\n" + text


def replacing(old, new):
    def change(source):
        assert old in source, f"the mutation has nothing to change: {old!r}"
        return source.replace(old, new, 1)

    return change


P = tidy.PACKAGE
MUTATIONS = [
    (tidy.each_library_stays_in_its_room, f"{P}wire/crc32c.py", adding("from numba import njit")),
    (tidy.each_library_stays_in_its_room, f"{P}serving/pipeline.py", adding("def f():\n    import aiokafka.errors")),
    (tidy.kernels_alone_ask_whether_they_are_compiled, f"{P}payload/render.py",
     adding("from farthing.kernels.jit import NO_JIT")),
    (tidy.imports_point_down, f"{P}kafka/topics.py", adding("from farthing.serving.route import Route")),
    (tidy.imports_point_down, f"{P}wire/decode.py", adding("from farthing.payload import parse")),
    (tidy.imports_point_down, f"{P}newroom/__init__.py", lambda _: '"""A room that nobody ranked."""'),
    (tidy.no_circle_of_imports, f"{P}wire/varint.py",
     adding("if TYPE_CHECKING:\n    from farthing.wire.records import read_records")),
    (tidy.no_circle_of_imports, f"{P}kafka/offsets.py", adding("def f():\n    from farthing.kafka import consumer")),
    (tidy.pure_rooms_are_pure, f"{P}meter/rates.py", adding("import time")),
    (tidy.pure_rooms_are_pure, f"{P}meter/rates.py", adding("def f(d):\n    return d.today()")),
    (tidy.pure_rooms_are_pure, f"{P}ledger/books.py", adding("from farthing.ledger.web import Pages")),
    (tidy.pure_rooms_are_pure, f"{P}evaluate/measures/binary.py", adding("import os")),
    (tidy.aiokafka_s_insides_are_listed, f"{P}kafka/topics.py", adding("def f(client):\n    return client._bootstrap")),
    (tidy.aiokafka_s_insides_are_listed, f"{P}kafka/membership.py", adding("def f(c):\n    return c._subscription")),
    (tidy.nothing_is_there_for_tests_alone, f"{P}meter/money.py", adding("def round_to_pounds(x):\n    return x")),
    (tidy.nothing_is_there_for_tests_alone, f"{P}kafka/offsets.py",
     replacing("class OffsetTracker:", "class OffsetTracker:\n    def unasked(self):\n        return 1\n")),
    (tidy.every_file_says_what_it_is, f"{P}meter/money.py", replacing('"""', '"""money\n\n')),
    (tidy.every_file_says_what_it_is, f"{P}meter/newer.py", lambda _: "X = 1\n"),
    (tidy.what_docstrings_name_is_there, f"{P}meter/money.py",
     adding('def f():\n    """Like :func:`farthing.meter.money.gone`."""')),
    (tidy.what_docstrings_name_is_there, f"{P}meter/money.py", adding('def f():\n    """See ``meter/goneby.py``."""')),
    (tidy.files_have_one_idea, f"{P}meter/money.py", adding("# more\n" * tidy.LONGEST_LINES)),
    (tidy.files_have_one_idea, f"{P}meter/utils.py", lambda _: '"""Things."""'),
    (tidy.design_maps_every_room, "service/DESIGN.md", replacing("| `wire/` |", "| `wires/` |")),
    (tidy.design_maps_every_room, "service/DESIGN.md", replacing("`varint`", "`varints`")),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "path", "change"), MUTATIONS, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_noticed(rule, path, change):
    new = set(rule(TREE.changed(path, change))) - set(broken(rule))
    assert new, f"{rule.__name__} did not notice"
    assert all(re.search(re.escape(path.removeprefix(P).split("/")[-1].removesuffix(".py")), line) or "->" in line or
               "wires" in line or "newroom" in line for line in new), new  # fmt: skip


def test_every_rule_has_a_mutation():
    assert {rule for rule, _, _ in MUTATIONS} == set(tidy.RULES)

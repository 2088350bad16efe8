"""Every numeric flag of every command says what it may be; nothing else happens."""

import inspect
import math
import typing
from decimal import Decimal

import pytest
from cyclopts import App, Parameter

from farthing.__main__ import main
from farthing.cli import app
from farthing.commands.flags import within

NUMBERS = (int, float, Decimal)


def commands(of=app, path=()):
    """Give each command's path and function."""
    if of.default_command is not None and path:
        yield path, of.default_command
    for name in of:
        if not name.startswith("-"):
            yield from commands(of[name], (*path, name))


def numeric_flags():
    for path, function in commands():
        for name, hint in typing.get_type_hints(function, include_extras=True).items():
            kinds = [hint, *typing.get_args(hint)]
            inner = next(
                (k for k in kinds for k in (k, *typing.get_args(k)) if hasattr(k, "__dataclass_fields__")), None
            )
            if inner is not None:
                yield from (
                    (path, n, h) for n, h in typing.get_type_hints(inner, include_extras=True).items() if numeric(h)
                )
            elif name in inspect.signature(function).parameters and numeric(hint):
                yield path, name, hint


def numeric(hint):
    kinds = [hint, *typing.get_args(hint)]
    kinds += [inner for kind in kinds for inner in typing.get_args(kind)]
    return any(kind in NUMBERS for kind in kinds)


FLAGS = [(path, name) for path, name, _ in numeric_flags()]


def test_the_walk_finds_the_flags():
    assert len(FLAGS) >= 25
    assert {("score", "max_event_bytes"), ("breakeven", "rows"), ("topics", "partitions")} <= {
        (path[0], name) for path, name in FLAGS
    }


@pytest.mark.parametrize("wrong", ["-3", "nan", "inf"])
@pytest.mark.parametrize(("path", "name"), FLAGS)
def test_no_number_that_makes_no_sense_is_taken(path, name, wrong, capsys):
    flag = "--" + name.replace("_", "-")
    arguments = {"score": ["moderation"], "evaluate": ["moderation", "x"], "distill": ["x"]}.get(path[0], [])
    with pytest.raises(SystemExit) as ended:
        main([*path, *arguments, f"{flag}={wrong}"])
    said = " ".join(capsys.readouterr())
    assert ended.value.code in (1, 2)
    assert flag in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("flag", "path"),
    [
        ("--rows", "breakeven"), ("--payload-bytes", "breakeven"), ("--pack-events", "breakeven"),
        ("--seconds", "demo"), ("--workers", "serve"), ("--threads", "distill x"), ("--partitions", "topics create"),
        ("--replication-factor", "topics create"), ("--resamples", "evaluate moderation x"),
        ("--episode", "evaluate bidding x"), ("--budget-factor", "evaluate bidding x"),
        ("--max-event-bytes", "score moderation"),
    ],
)  # fmt: skip
def test_nought_is_not_taken_as_not_given(flag, path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*path.split(), f"{flag}=0"])
    assert ended.value.code in (1, 2)
    assert flag in " ".join(capsys.readouterr())


def test_bounds():
    for check, good, bad in (
        (within(0), [0, 1e9, 0.5], [-1, math.nan, math.inf, -math.inf]),
        (within(0, above=True), [1e-9], [0, -1]),
        (within(0, 1, above=True), [0.5, 1], [0, 1.01, math.nan]),
        (within(0, 1, above=True, below=True), [0.5], [0, 1]),
        (within(1, 5), [1, 5, Decimal(2)], [0, 6, Decimal("nan")]),
    ):
        for value in good:
            check(None, value)
        for value in bad:
            with pytest.raises(ValueError, match="Expected"):
                check(None, value)
    within(1)(None, None)  # not given


def test_an_app_names_the_flag(capsys):
    made = App()

    @made.default
    def command(*, size: typing.Annotated[int, Parameter(validator=within(1, such_as="5"))] = 2) -> None: ...

    with pytest.raises(SystemExit):
        made(["--size", "-1"])
    assert 'Invalid value "-1" for --size. Expected 1 or more, such as 5.' in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )

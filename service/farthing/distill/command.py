"""Runs ``farthing distill RECIPE``: makes the bundle of a recipe, whatever its task."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from farthing.distill.clicks.build import build_clicks
from farthing.distill.clicks.recipe import read_click_recipe
from farthing.distill.ranking.recipe import read_recipe as read_ranking_recipe
from farthing.distill.show import Show
from farthing.distill.texts.build import Options, build
from farthing.distill.texts.report import write_report
from farthing.distill.texts.sweep import sweep
from farthing.errors import NOT_TOML, ConfigError
from farthing.files import keep_apart
from farthing.scoring.manifest import CARD, FEATURES, GOLDEN, MANIFEST, MODEL, SUMS

BUNDLE = (CARD, FEATURES, GOLDEN, MANIFEST, MODEL, SUMS)
TASKS = ("moderation", "classify", "rerank", "bidding")


def run(
    recipe: Path,
    *,
    data: Path | None,
    out: Path | None,
    work: Path | None,
    threads: int,
    try_sizes: bool,
    report: Path | None,
) -> int:
    """Make a bundle, or with ``try_sizes`` the table and the plot of a sweep.

    ``data`` is by default the recipe's folder, ``out`` a folder in the current one with the recipe's name, and ``work``
    that name with ``.work`` after it.
    """
    out = Path(recipe.stem) if out is None else out
    options = Options(
        data=recipe.parent if data is None else data,
        out=out,
        work=out.parent / f"{out.name}.work" if work is None else work,
        threads=threads,
    )
    keep_apart(
        [("RECIPE", recipe), *(("the recipe's", path) for path in _named_files(recipe, options.data))],
        [("--out", out), ("--work", options.work), ("--report", report), *(("--out", out / name) for name in BUNDLE)],
    )
    with Show() as show:
        task = _task(recipe)
        if task is not None and task not in TASKS:
            raise ConfigError(f"{recipe}: task is {task!r}, expected one of {', '.join(TASKS)}")
        if task in ("bidding", "rerank") and (try_sizes or report is not None):
            raise ConfigError(f"{recipe}: --sweep and --report are for recipes of moderation and classify, not {task}")
        if task == "bidding":
            build_clicks(*read_click_recipe(recipe), options.data, options.out, show.say)
            return 0
        if task == "rerank":
            from farthing.distill.ranking.build import build as build_ranking

            ranking, sha256 = read_ranking_recipe(recipe)
            build_ranking(ranking, sha256, options.data, options.out, show.say, cache=options.work)
            return 0
        if try_sizes:
            sweep(recipe, options, show)
            return 0
        built = build(recipe, options, show)
        if report is not None:
            write_report(report, built, show)
    return 0


def _named_files(recipe: Path, data: Path) -> list[Path]:
    """Return the files that a recipe of any task names, none of which may be overwritten."""

    def strings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from strings(inner)

    try:
        named = set(strings(tomllib.loads(recipe.read_text(encoding="utf-8"))))
        return [data / name for name in sorted(named) if 0 < len(name) < 256 and (data / name).is_file()]
    except NOT_TOML:  # reading the recipe will raise the error
        return []


def _task(recipe: Path) -> object:
    """Return the task that the recipe states; errors in the file are raised later, when all of it is read."""
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8")).get("task")
    except NOT_TOML:
        return None

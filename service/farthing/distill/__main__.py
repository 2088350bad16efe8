"""``python -m farthing.distill RECIPE --data FOLDER --out FOLDER``."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

from farthing.distill.build import build
from farthing.distill.click_build import build_clicks
from farthing.distill.click_recipe import read_click_recipe
from farthing.distill.recipe import read_recipe
from farthing.errors import FarthingError


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _task(recipe: Path) -> object:
    """Give what the recipe says its task is; what is wrong with the file is said by who reads the whole of it."""
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8")).get("task")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None


def main() -> int:
    """Read the arguments, build, and say what went wrong in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m farthing.distill", description="Rebuild a bundle from its recipe.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's paths are relative to")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    arguments = parser.parse_args()
    try:
        if _task(arguments.recipe) == "bidding":
            build_clicks(*read_click_recipe(arguments.recipe), arguments.data, arguments.out, _say)
        else:
            build(*read_recipe(arguments.recipe), arguments.data, arguments.out, _say)
    except FarthingError as error:
        sys.stderr.write(f"farthing: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

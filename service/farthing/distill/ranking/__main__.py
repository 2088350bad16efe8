"""``python -m farthing.distill.ranking RECIPE --data FOLDER --out FOLDER [--cache FOLDER]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from farthing.distill.ranking.build import build
from farthing.distill.ranking.recipe import read_recipe
from farthing.errors import FarthingError


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> int:
    """Read the arguments, build, and say what went wrong in one sentence."""
    parser = argparse.ArgumentParser(prog="python -m farthing.distill.ranking", description="Rebuild a rerank bundle.")
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that the recipe's paths are relative to")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--cache", type=Path, help="folder that keeps the teacher's vectors between runs")
    arguments = parser.parse_args()
    try:
        recipe, sha256 = read_recipe(arguments.recipe)
        build(recipe, sha256, arguments.data, arguments.out, _say, cache=arguments.cache)
    except FarthingError as error:
        sys.stderr.write(f"farthing: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

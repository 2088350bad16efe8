"""Reads recipe files (TOML) into checked recipes, and has the sections that all kinds of recipes share."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farthing.errors import NOT_TOML, ConfigError

Dim = Literal[16, 32, 48, 64]
Hidden = Annotated[int, Field(ge=1, le=1024)]


class Section(BaseModel):
    """A table of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StudentSize(Section):
    """Size of the student; each kind of recipe has its own defaults."""

    dim: Dim
    hidden: Hidden


class TrainingCost(Section):
    """The price of training that the card states."""

    core_hour_usd: float = Field(0.04, ge=0, description="what an hour of a core cost you, for the cost of training")


class Recipe(Section):
    """What every recipe says about its bundle."""

    name: str
    task: str
    description: str


R = TypeVar("R", bound=Recipe)


def read_recipe_file(path: Path, kind: type[R]) -> tuple[R, str]:
    """Read a recipe of a kind; returns its SHA-256 too.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or a key is missing, unknown or has an invalid value.
    """
    try:
        data = path.read_bytes()
        values = tomllib.loads(data.decode())
    except NOT_TOML as error:
        raise ConfigError(f"{path}: cannot be read as a TOML recipe: {error}") from error
    try:
        return kind.model_validate(values), hashlib.sha256(data).hexdigest()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False)
        )
        raise ConfigError(f"{path}: {problems}") from error

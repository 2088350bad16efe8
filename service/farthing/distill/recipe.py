"""Recipes: readable TOML files that rebuild a bundle."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farthing.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Section):
    """One labelled data set and the head it trains. Paths are relative to the data folder."""

    head: str
    name: str
    train: str
    dev: str | None = Field(None, description="without one, a tenth of train is held out by a hash of the text")
    test: str
    licence: str
    note: str = ""


class Student(_Section):
    """Size of the student."""

    dim: Literal[16, 32, 48, 64] = 16
    hidden: int = Field(32, ge=1, le=1024)


class Training(_Section):
    """How the student is trained."""

    epochs: int = Field(12, ge=1)
    batch: int = Field(256, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-6, ge=0)
    feature_dropout: float = Field(0.4, ge=0, lt=1)
    patience: int = Field(3, ge=1, description="epochs without a better dev score before it stops")
    seed: int = 0


class Cuts(_Section):
    """What the thresholds are chosen for, on dev: block where precision reaches the goal, review at the best F1."""

    block_precision: float = Field(0.9, gt=0, le=1)
    deciding: tuple[str, ...] = Field((), description="heads that have a say in the label; empty: all")


class Recipe(_Section):
    """A whole recipe."""

    name: str
    task: Literal["moderation"]
    description: str
    source: tuple[Source, ...] = Field(min_length=1)
    features: dict[str, Any]
    student: Student = Field(default_factory=Student)
    training: Training = Field(default_factory=Training)
    cuts: Cuts = Field(default_factory=Cuts)

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads in the order of their first source."""
        return tuple(dict.fromkeys(source.head for source in self.source))


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """Read a recipe; gives its SHA-256 too.

    Raises
    ------
    ConfigError
        The file cannot be read, is not TOML, or a key is missing, unknown or not possible.
    """
    try:
        data = path.read_bytes()
        values = tomllib.loads(data.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a TOML recipe: {error}") from error
    try:
        return Recipe.model_validate(values), hashlib.sha256(data).hexdigest()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ConfigError(f"{path}: {problems}") from error

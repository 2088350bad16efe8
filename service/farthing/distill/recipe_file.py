"""Recipe files: TOML into a checked recipe, and the file's SHA-256."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from farthing.errors import ConfigError

R = TypeVar("R", bound=BaseModel)


def read_recipe_file(path: Path, kind: type[R]) -> tuple[R, str]:
    """Read a recipe of a kind; gives its SHA-256 too.

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
        return kind.model_validate(values), hashlib.sha256(data).hexdigest()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False)
        )
        raise ConfigError(f"{path}: {problems}") from error

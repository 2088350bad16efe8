"""How settings are read and merged; what they are is stated once, in :mod:`farthing.sections`.

Order: command-line flag > ``FARTHING_*`` environment variable (``__`` nests) > settings file > default. Unknown
keys are errors. Secrets come from files only (``*_file``). :func:`load` also says where each value came from. The
settings file is the one that ``-c`` names, else ``FARTHING_CONFIG``, else ``farthing.toml`` in the current folder.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from farthing.errors import NOT_TOML, ConfigError
from farthing.kafka.settings import KafkaSettings
from farthing.meter.settings import LedgerSettings, MeterSettings
from farthing.sections import (
    Assumptions,
    CampaignSettings,
    HttpSettings,
    ModelSettings,
    RouteSettings,
    Settings,
    WorkerSettings,
)

__all__ = [
    "EXAMPLE",
    "Assumptions",
    "Loaded",
    "RouteSettings",
    "Settings",
    "found_file",
    "load",
    "named_file",
    "schema",
    "trusted_keys",
    "with_file",
    "without_settings",
]

FILE_NAME: Final = "farthing.toml"
"""The settings file that is found by itself in the current folder."""

_PREFIX: Final = str(Settings.model_config["env_prefix"])
_NESTED: Final = str(Settings.model_config["env_nested_delimiter"])

UNFOUND: Final = (
    f"; no settings file was found (-c FILE, FARTHING_CONFIG, ./{FILE_NAME}), and `farthing config init` writes one"
)

# pydantic's names of errors where a table should be.
_NO_SECTION: Final = ("model_type", "model_attributes_type", "dict_type")

# Commands that take the settings file, where a message puts them in backquotes.
_COMMAND: Final = re.compile(
    r"`(farthing (?:serve|ledger|audit|doctor|topics (?:create|check)|dead (?:list|show|replay)|config show))(?=[ `])"
)

EXAMPLE = """\
# Farthing: `farthing config schema` lists every setting, `farthing config show -c FILE` shows the values in force.
[kafka]
bootstrap_servers = ["localhost:9092"]
group_id = "farthing"

[[route]]
bundle = "moderation"                # a shipped bundle, or a folder
source = "events.moderation"
sink = "scores.moderation"           # at least as many partitions as the source
dead_letters = "events.moderation.dead"
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each set value (dotted name) where it came from; what is not listed is a default."""

    settings: Settings
    origins: Mapping[str, str]
    file: Path | None = None

    def rows(self) -> Iterator[tuple[str, object, str]]:
        """Every setting as (dotted name, value, origin), in the order of the sections."""
        for name, value in _flatten(self.settings.model_dump(mode="json", by_alias=True)):
            origin = self.origins.get(name)
            yield name, value, origin if origin is not None else "default"


def load(
    path: Path | None,
    flags: Mapping[str, object] | None = None,
    kind: type[Settings] = Settings,
    *,
    environment: bool = True,
) -> Loaded:
    """Read the settings.

    Parameters
    ----------
    path:
        A TOML file, or None for environment and defaults only. Relative bundle folders are relative to its folder.
    flags:
        Values given on the command line, by dotted name (``worker.workers``); None: not given.
    kind:
        ``Assumptions`` where no route is needed.
    environment:
        Whether environment variables count.

    Raises
    ------
    ConfigError
        Which setting, from where, why, and what to do.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    sources = [
        ("flag", _nest(given)),
        ("environment", _environment() if environment else {}),
        (str(path), _toml(path) if path is not None else {}),
    ]
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    try:
        for origin, values in reversed(sources):
            for name, _ in _flatten(values):
                origins[name] = _env_name(name) if origin == "environment" else origin
            merged = _merge(merged, values)
        # The sources are merged here, so that origins are known; pydantic only validates.
        settings = kind.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins, UNFOUND if path is None else "")) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: its tables are nested too deep; no setting has more than a few parts") from error
    return Loaded(settings, origins, path)


def named_file() -> Path | None:
    """Return the settings file that the variable FARTHING_CONFIG names, for programs with flags of their own."""
    name = os.environ.get("FARTHING_CONFIG")
    return Path(name) if name else None


def found_file() -> Path | None:
    """Return the settings file of a command without ``-c``: FARTHING_CONFIG's, else the current folder's if any."""
    here = Path(FILE_NAME)
    # A broken link counts: somebody made it, and reading it says what is wrong.
    return named_file() or (here if os.path.lexists(here) else None)


def with_file(text: str, path: Path | None) -> str:
    """Add the settings file that the user gave to the commands in a message: ```farthing serve -c my.toml```."""
    if path is None:
        return text
    flag = f" -c {shlex.quote(str(path))}"
    return _COMMAND.sub(lambda match: f"`{match[1]}{flag}", text)


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out the variables that settings are read from: for a process that is to have its file's settings alone.

    Others stay, whatever they begin with, such as ``FARTHING_NO_JIT``.
    """
    return {name: value for name, value in environment.items() if not _is_setting(name)}


def trusted_keys(path: Path | None) -> tuple[str, ...]:
    """Read ``model.trusted_keys`` alone, for commands that load a bundle and otherwise need no settings.

    Raises
    ------
    ConfigError
        The file or that section cannot be read.
    """
    merged = _merge(_toml(path) if path is not None else {}, _environment())
    try:
        return ModelSettings.model_validate(merged.get("model", {})).trusted_keys
    except ValidationError as error:
        raise ConfigError(f"model: {_explain(error, {})}") from error


def schema() -> str:
    """Return the JSON Schema of the settings file, indented."""
    return json.dumps(Settings.model_json_schema(), indent=2)


def _toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such settings file; `farthing config init` writes one") from error
    except NOT_TOML as error:
        quotes = "; put a value with a backslash between single quotes" if "Unescaped '\\'" in str(error) else ""
        raise ConfigError(f"{path}: cannot be read as TOML: {error}{quotes}") from error
    for route in values.get("route", []) if isinstance(values.get("route"), list) else []:
        bundle = route.get("bundle") if isinstance(route, dict) else None
        if isinstance(bundle, str) and "/" in bundle and not Path(bundle).is_absolute():
            route["bundle"] = str(path.parent / bundle)
    return values


def _environment() -> dict[str, Any]:
    source = EnvSettingsSource(Settings)
    try:
        values = source()
    except (SettingsError, RecursionError) as error:
        said = [_no_json(name) for name, value in os.environ.items() if _is_setting(name) and not _is_read(name, value)]
        raise ConfigError("\n".join(said) or f"a {_PREFIX}* environment variable cannot be read: {error}") from error
    return {k: v for k, v in values.items() if v is not None}


def _is_read(variable: str, value: str) -> bool:
    """Whether pydantic reads this variable, alone."""
    source = EnvSettingsSource(Settings)
    source.env_vars = {variable.lower(): value}
    try:
        source()
    except (SettingsError, RecursionError):
        return False
    return True


def _no_json(variable: str) -> str:
    """Say what to write in a variable of a section, or of a list, in place of what is no JSON."""
    section, *rest = variable.lower().removeprefix(_PREFIX.lower()).split(_NESTED)
    if rest:
        return f'{variable}: is no JSON, such as ["a", "b"] for a list'
    if section == "route":
        return f"{variable}: is no JSON; write [[route]] in the settings file"
    name, value = next(iter(Settings.model_fields[section].get_default(call_default_factory=True)))
    example = value if isinstance(value, int | str) else "..."
    return f"{variable}: is no JSON; set single values as {_env_name(f'{section}.{name}')}={example}"


def _is_setting(variable: str) -> bool:
    """Whether pydantic reads a setting from a variable: ``FARTHING_WORKER`` (JSON), ``FARTHING_WORKER__WORKERS``."""
    lower = variable.lower()
    section = lower.removeprefix(_PREFIX.lower()).split(_NESTED)[0]
    return lower.startswith(_PREFIX.lower()) and section in Settings.model_fields


def _env_name(dotted: str) -> str:
    return _PREFIX + dotted.upper().replace(".", _NESTED)


def _nest(flat: Mapping[str, object]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        at = out
        for parent in parents:
            at = at.setdefault(parent, {})
        at[leaf] = value
    return out


def _merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(low)
    for name, value in high.items():
        below = out.get(name)
        out[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return out


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flatten(value, dotted + ".")
        elif isinstance(value, list | tuple) and value and all(isinstance(v, dict) for v in value):
            for index, item in enumerate(value):
                yield from _flatten(item, f"{dotted}.{index}.")
        else:
            yield dotted, value


def _explain(error: ValidationError, origins: Mapping[str, str], unfound: str = "") -> str:
    """Say which settings are wrong, and why; ``unfound`` ends what is said of routes that are missing."""
    lines = []
    for item in error.errors(include_url=False):
        name = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"is not a setting{_did_you_mean(name)}"
        elif item["type"] == "missing":
            none = f"no [[route]] is configured: there is nothing to score{unfound}"
            message = "is required" if name != "route" else none
        elif item["type"] in _NO_SECTION and isinstance(item["loc"][-1], int):
            message = "write [[route]], and the settings of that route below it"
        elif item["type"] in _NO_SECTION:
            section = ".".join(str(part) for part in item["loc"] if isinstance(part, str))
            message = f"write a section [{section}], and its settings below it"
        elif item["type"] == "tuple_type" and name == "route":
            message = "write [[route]], with two brackets, and the settings of a route below it"
        elif name and "input" in item and not isinstance(item["input"], dict):
            message = f"{message} (found {item['input']!r})"
        where = next(
            (origins[k] for k in (name, *(o for o in origins if o.startswith(name + "."))) if k in origins), None
        )
        lines.append(f"{name or 'settings'}: {message}" + (f" [from {where}]" if where else ""))
    return "\n".join(lines)


def _did_you_mean(dotted: str) -> str:
    *parents, leaf = [part for part in dotted.split(".") if not part.isdigit()]
    section: Any = Settings
    for parent in parents:
        section = {
            "kafka": KafkaSettings,
            "route": RouteSettings,
            "campaign": CampaignSettings,
            "model": ModelSettings,
            "worker": WorkerSettings,
            "http": HttpSettings,
            "meter": MeterSettings,
            "ledger": LedgerSettings,
        }.get(parent, Settings)
    close = difflib.get_close_matches(leaf, list(section.model_fields), n=1)
    return f"; did you mean {'.'.join([*parents, close[0]])}?" if close else ""

"""``farthing config``: every setting with its origin, a file to start from, and the schema of such a file."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from farthing import config
from farthing.errors import ConfigError
from farthing.limits import worst_case_bytes
from farthing.process.output import report_console, write_json, write_text


def show(loaded: config.Loaded, *, as_json: bool) -> int:
    """Print every setting, its value and where it came from; returns the exit code."""
    rows = list(loaded.rows())
    if as_json:
        write_json({name: {"value": value, "origin": origin} for name, value, origin in rows})
        return 0
    table = Table("setting", "value", "origin", box=None, pad_edge=False)
    for name, value, origin in rows:
        table.add_row(name, json.dumps(value), origin, style="dim" if origin == "default" else "")
    report_console().print(table)
    settings = loaded.settings
    most = worst_case_bytes(
        max_block_bytes=settings.worker.max_block_bytes,
        max_event_bytes=tuple(route.max_event_bytes for route in settings.route),
        fetch_max_bytes=settings.kafka.fetch_max_bytes,
        max_partition_fetch_bytes=settings.kafka.max_partition_fetch_bytes,
    )
    report_console().print(
        f"\na worker takes at most {most >> 20:,} MiB of memory if one broker leads the sources "
        "(OPERATIONS.md, section 5, has the formula)"
    )
    return 0


def init(path: Path) -> int:
    """Write the example of a settings file; returns the exit code.

    Raises
    ------
    ConfigError
        The file exists already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(config.EXAMPLE)
    except FileExistsError as error:
        raise ConfigError(f"{path}: already exists; name another file, or move this one away") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    Console(stderr=True).print(f"wrote {path}", highlight=False, markup=False)
    return 0


def schema() -> int:
    """Print the JSON Schema of the settings file; returns the exit code."""
    write_text(config.schema() + "\n")
    return 0

"""What commands share: the settings file that is found, errors that name it, and the event loop."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farthing.errors import FarthingError

if TYPE_CHECKING:
    from farthing import config


def run_async(main: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # Windows
        import asyncio

        return asyncio.run(main)
    return uvloop.run(main)


@contextmanager
def found_settings(
    given: Path | None, flags: Mapping[str, object] | None = None, *, logged: bool = False
) -> Iterator[config.Loaded]:
    """Load the settings of a command that finds its file by itself, and says which; errors then name what was given."""
    from farthing import config

    file = given
    if given is None:
        file = config.found_file()
        if file is not None and logged:
            import structlog

            structlog.get_logger().info("settings_found", file=str(file))
        elif file is not None:
            from rich.console import Console

            Console(stderr=True).print(f"settings: {file}", style="dim", highlight=False, markup=False, soft_wrap=True)
    with hints_with_file(given):
        yield config.load(file, flags)


def trusted_keys(given: Sequence[Path]) -> Sequence[str | Path]:
    """Give the keys that a bundle must be signed with: those of the flag, else those of the settings that are found."""
    if given:
        return given
    from farthing import config

    return config.trusted_keys(config.found_file())


@contextmanager
def hints_with_file(given: Path | None) -> Iterator[None]:
    """Complete the commands that an error names by the settings file that was given."""
    try:
        yield
    except FarthingError as error:
        from farthing import config

        error.args = (config.with_file(str(error), given), *error.args[1:])
        raise

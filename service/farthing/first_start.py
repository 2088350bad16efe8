"""What a start says while it waits: on a machine's first one, kernels are compiled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console

from farthing.jit import watch_compilation

COMPILING: Final = "compiling kernels, once on this machine, for up to half a minute"


@contextmanager
def starting(console: Console, what: str) -> Iterator[None]:
    """Show on a terminal that ``what`` is going on; wherever it is, say so when kernels are compiled meanwhile."""
    compiled = 0
    with console.status(f"{what} ...") as status:  # shows nothing where there is no terminal

        def tell(name: str) -> None:
            nonlocal compiled
            compiled += 1
            if console.is_terminal:
                status.update(f"{what}: {COMPILING} [dim]{compiled}: {name}[/]")
            elif compiled == 1:
                console.print(f"{what}: {COMPILING} ...", highlight=False, soft_wrap=True)

        with watch_compilation(tell):
            yield

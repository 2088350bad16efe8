"""Rooms whose names are loaded on first use, so that a command pays only for what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def names_on_demand(room: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Make the ``__getattr__`` of a package.

    Parameters
    ----------
    room:
        The package's ``__name__``.
    modules:
        The public names of each of its modules, with spaces between. None may be called as a module is: once a module
        is imported, it stands under its own name in the package.

    Raises
    ------
    AttributeError
        From the function that is returned: the package has no such name.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{homes[name]}"), name)

    return find

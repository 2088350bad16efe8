"""Turns Sphinx's roles in docstrings into Markdown: ``:meth:`load` `` becomes a span of code."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")


class Roles(Extension):
    """Changes each docstring before it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Take the roles out of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda role: f"`{role[1].removeprefix('farthing.')}`", obj.docstring.value)

"""Flags that several commands have, with the words in which each is explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

ConfigFile = Annotated[Path | None, Parameter(name=["--config", "-c"], help="settings file (TOML)")]
FoundConfigFile = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        help="settings file (TOML); default: $FARTHING_CONFIG, else farthing.toml in the current folder, else none",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="print one JSON object as the last line of output")]
FieldMap = Annotated[
    tuple[str, ...],
    Parameter(
        name="--map",
        negative="",
        help="NEW=OLD: the field NEW lies at OLD in an event, such as text=comment.text; a dot in a key is written \\.",
    ),
]
Bundle = Annotated[str, Parameter(help="folder of a bundle, or a shipped one: moderation, rerank, bidding")]

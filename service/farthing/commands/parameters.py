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
        help="NEW=OLD: read the field NEW from OLD in an event, as in text=comment.text; write \\. for a dot in a key",
    ),
]
PublicKeys = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--public-key",
        negative="",
        help="PEM file of an ed25519 key: refuse a bundle that is not signed with it; may be repeated; default: the "
        "setting model.trusted_keys",
    ),
]
Bundle = Annotated[str, Parameter(help="folder of a bundle, or a shipped bundle: moderation, rerank, bidding")]

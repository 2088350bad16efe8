"""``farthing dead show``: one letter with its place, what was said of it, its headers and its value."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from farthing.dead.letters import Letter
from farthing.dead.listing import instant
from farthing.dead.redact import redacted
from farthing.payload.paths import FieldPath
from farthing.process.output import safe

_PLACE_NAMES: Final = ("reason", "topic", "partition", "offset")


def as_object(letter: Letter, route: str, redact: Sequence[FieldPath]) -> dict[str, Any]:
    """Return a letter as a JSON object. Bytes that are not UTF-8 are in ``..._base64`` instead."""
    batch = letter.batch_stop is not None
    value = letter.value
    if value is not None and redact:
        value = redacted(value, redact)
    return {
        "route": route,
        "reason": letter.reason,
        "source": letter.source,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": instant(letter.event_timestamp_ms),
        "letter": {"topic": letter.topic, "partition": letter.partition, "offset": letter.position,
                   "written": instant(letter.at_ms)},
        "error": {name: text for name, text in letter.error.items() if name not in _PLACE_NAMES},
        "whole_batch": batch,
        "cut": list(letter.cut),
        **_text("key", letter.key),
        "headers": [{"name": name.decode("utf-8", "replace"), **_text("value", data)} for name, data in letter.headers],
        **_text("value", value),
    }  # fmt: skip


def as_lines(shown: dict[str, Any]) -> list[str]:
    """Return the same as lines for a reader: names, then values."""
    lines = [f"{shown['route']}  {shown['partition']}:{shown['offset']}  {safe(shown['reason'])}"]
    place = shown["letter"]
    lines.append(f"  event      {shown['timestamp']}")
    lines.append(f"  letter     {place['topic']}[{place['partition']}] {place['offset']}, {place['written']}")
    lines += [f"  {safe(name):<10} {safe(text)}" for name, text in shown["error"].items()]
    if shown["whole_batch"]:
        lines.append("  note       the value is a whole record batch that could not be read")
    if shown["cut"]:
        lines.append(f"  cut        {', '.join(shown['cut'])}: the whole of it is in the source, while it keeps it")
    lines.append(f"  key        {_shown(shown, 'key')}")
    lines += [f"  header     {safe(header['name'])}: {_shown(header, 'value')}" for header in shown["headers"]]
    lines.append(f"  value      {_shown(shown, 'value')}")
    return lines


def _text(name: str, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _shown(shown: dict[str, Any], name: str) -> str:
    if f"{name}_base64" in shown:
        return f"{shown[f'{name}_base64']} (base64)"
    return "null" if shown[name] is None else safe(shown[name])

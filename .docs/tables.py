"""Tables of the documentation site, made from the code when the site is built: settings, metrics, errors, commands."""

from __future__ import annotations

import ast
import inspect
import json
import re
import tokenize
from collections.abc import Iterator
from typing import Any, get_type_hints

import farthing
from farthing import blocks, config, errors
from farthing.cli import app
from farthing.commands.metrics_table import table as metrics_table

Schema = dict[str, Any]

BOUNDS = (("minimum", "≥ {}"), ("exclusiveMinimum", "> {}"), ("maximum", "≤ {}"), ("exclusiveMaximum", "< {}"))
"""JSON Schema's keywords for the limits of a number."""


def settings() -> str:
    """Give every setting by section, from the schema of the file: name, default, values and description."""
    schema = json.loads(config.schema())
    kinds = schema["$defs"]
    parts = []
    for name, field in schema["properties"].items():
        repeated = field.get("type") == "array"
        kind = _reference(field["items"] if repeated else field)
        title = f"[[{name}]]" if repeated else f"[{name}]"
        parts.append(_section(title, name, kinds[kind], kinds))
    return "\n".join(parts)


def _section(title: str, path: str, kind: Schema, kinds: Schema) -> str:
    """Give one section of the file, and after it the sections within it."""
    lines = [f"## `{title}`", "", kind.get("description", "").strip(), ""]
    lines += ["| setting | default | values | what |", "| --- | --- | --- | --- |"]
    within = []
    for name, field in kind["properties"].items():
        nested = _reference(field)
        if nested is not None:
            within.append(_section(f"[{path}.{name}]", f"{path}.{name}", kinds[nested], kinds))
            continue
        required = name in kind.get("required", ())
        default = "*required*" if required else _code(json.dumps(field.get("default"), ensure_ascii=False))
        values = ", ".join([*_types(field), *_limits(field)])
        cells = (f"`{name}`", default, values, _escape(field.get("description", "")))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *within])


def _reference(field: Schema) -> str | None:
    """Give the section that a setting is, in the schema's ``$defs``; None where it is a plain value."""
    ways = [field, *field.get("anyOf", ()), *field.get("allOf", ())]
    return next((way["$ref"].rpartition("/")[2] for way in ways if "$ref" in way), None)


def _ways(field: Schema) -> list[Schema]:
    """Give the forms that a value may have; a decimal number may be a number or a string, and is named once."""
    ways = [way for way in field.get("anyOf", [field]) if way.get("type") != "null"]
    numbers = [way for way in ways if way.get("type") == "number"]
    return numbers or ways


def _types(field: Schema) -> list[str]:
    named = []
    for way in _ways(field):
        if "const" in way:
            named.append(_code(json.dumps(way["const"])))
        elif "enum" in way:
            named += [_code(json.dumps(value)) for value in way["enum"]]
        elif way.get("type") == "array":
            inner = way.get("items") or way["prefixItems"][0]
            named.append(f"list of {inner.get('type', 'value')}s")
        else:
            named.append({"path": "path"}.get(way.get("format", ""), way.get("type", "value")))
    return named


def _limits(field: Schema) -> list[str]:
    said = []
    for way in _ways(field):
        said += [words.format(f"{way[key]:,.12g}") for key, words in BOUNDS if key in way]
        if way.get("minItems") == 1 or way.get("minLength") == 1:
            said.append("not empty")
        if "pattern" in way:
            said.append(_code(way["pattern"]))
    return said


def metrics() -> str:
    """Give every Prometheus metric: the table that ``python -m`` prints for OPERATIONS.md."""
    return metrics_table()


def error_tree() -> str:
    """Give the tree of errors (a dot for each step down): stage, whether to try again, exit code."""
    lines = ["| error | what | stage | retriable | exit code |", "| --- | --- | --- | --- | --- |"]
    for error in _with_subclasses(errors.FarthingError):
        decided_later = "retriable" in inspect.signature(error.__init__).parameters
        retriable = "see its `retriable`" if decided_later else "yes" if error.retriable else "no"
        depth = "·\u00a0" * (len(error.__mro__) - len(errors.FarthingError.__mro__))
        what = _escape(inspect.getdoc(error).partition("\n\n")[0])
        lines.append(f"| {depth}`{error.__name__}` | {what} | {error.stage} | {retriable} | {error.exit_code} |")
    return "\n".join(lines) + "\n"


def _with_subclasses(error: type) -> Iterator[type]:
    if error.__module__ == errors.__name__:
        yield error
        for below in error.__subclasses__():
            yield from _with_subclasses(below)


def dead_letters() -> str:
    """Give the reasons for which an event becomes a dead letter, with the comment beside each."""
    lines = ["| number | reason | what |", "| --- | --- | --- |"]
    for name, number, comment in _members(blocks.Status):
        if number:
            lines.append(f"| {number} | `{name.lower()}` | {_escape(comment)} |")
    return "\n".join(lines) + "\n"


def _members(kind: type) -> Iterator[tuple[str, int, str]]:
    """Give name, value and trailing comment of each member, as the source has them."""
    source = inspect.getsource(kind)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__)
        if token.type == tokenize.COMMENT
    }
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            yield name, int(kind[name]), comments.get(node.lineno, "")  # type: ignore[index]


def commands() -> str:
    """Give every command with its arguments, flags and defaults."""
    text = app.generate_docs(output_format="markdown", heading_level=1)
    text = text.partition("\n")[2]  # its title is the page's, and so is the table of contents
    return re.sub(r"^## Table of Contents\n.*?(?=^\*\*|^## )", "", text, flags=re.M | re.S)


def exported() -> list[str]:
    """Give the public surface: the scorer and what it gives back, then the errors, the base first."""
    scored = get_type_hints(farthing.Scorer.score_events)["return"]
    below = [error.__name__ for error in _with_subclasses(errors.FarthingError) if error.__name__ in farthing.__all__]
    left = sorted({name for name in farthing.__all__ if not name.startswith("_")} - {"Scorer", *below})
    names = [f"farthing.{name}" for name in ("Scorer", *left, *below)]
    return [names[0], f"{scored.__module__}.{scored.__qualname__}", *names[1:]]


def _escape(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("``", "`").strip()


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"

"""Field plans: which fields are read from an event, declared once and compiled to flat arrays for the kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.errors import ConfigError
from farthing.payload.field_map import unknown
from farthing.payload.paths import FieldPath, parse_path

Kind = Literal["text", "raw", "number"]
KINDS: Final = ("text", "raw", "number")
MAX_DEPTH: Final = 64
"""Values nested deeper than this are refused (``TOO_DEEP``)."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """One field to read.

    ``path`` is the keys from the top, with dots between them; ``[*]`` after a key goes through an array
    (``candidates[*].text``), and a backslash escapes a dot, a bracket or a backslash that is part of a key
    (:mod:`farthing.payload.paths`). ``kind`` is ``text`` (a JSON string, unescaped), ``raw`` (any JSON value, exactly
    as it came) or ``number`` (a JSON number, as the nearest double). An event in which a ``required`` field outside
    the array is missing, null or of another type is refused; no other field refuses one.
    """

    name: str
    path: str
    kind: Kind = "text"
    required: bool = False

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ConfigError(f"field name {self.name!r}: expected a letter or _, then letters, digits or _")
        if self.kind not in KINDS:
            raise ConfigError(f"field {self.name}: kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        try:
            path = self.parsed
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        if len(path.keys) >= MAX_DEPTH:
            raise ConfigError(f"field {self.name}: path has {len(path.keys)} keys, at most {MAX_DEPTH - 1} are allowed")

    @property
    def parsed(self) -> FieldPath:
        """The parsed path."""
        return parse_path(self.path)

    @property
    def in_array(self) -> bool:
        """Whether the field has one entry per row instead of one per event."""
        return self.parsed.array >= 0


@dataclass(frozen=True)
class FieldPlan:
    """All fields to read. They go through at most one array; ``max_rows`` is the most elements it may have."""

    fields: tuple[Field, ...]
    max_rows: int = 1000

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"a field plan needs fields with different names, found {names}")
        if not 1 <= self.max_rows <= 1_000_000:
            raise ConfigError(f"max_rows is {self.max_rows}, expected 1 to 1,000,000")
        through: dict[tuple[str, ...], list[str]] = {}  # keys to an array -> fields
        for f in self.fields:
            if f.in_array:
                through.setdefault(f.parsed.keys[: f.parsed.array + 1], []).append(f.name)
        if len(through) > 1:
            arrays = "; ".join(f"{', '.join(names)} through {FieldPath(keys)}" for keys, names in through.items())
            raise ConfigError(f"a field plan can go through one array, found {arrays}: use the same array for all")
        _refuse_overlaps(self.fields)

    @property
    def has_array(self) -> bool:
        """Whether the rows are an array's elements."""
        return any(f.in_array for f in self.fields)

    @classmethod
    def from_manifest(cls, plan: Mapping[str, Any]) -> FieldPlan:
        """Read the plan from a manifest's JSON object.

        Raises
        ------
        ConfigError
            A key is missing or unknown, or its value is not allowed.
        """
        try:
            fields = tuple(Field(**entry) for entry in plan["fields"])
            return cls(fields, **{key: value for key, value in plan.items() if key != "fields"})
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"field plan: {error}; expected {{fields: [{{name, path, kind, required}}], max_rows}}"
            ) from error

    def mapped(self, paths: Mapping[str, str], *, spare: Sequence[Field] = ()) -> FieldPlan:
        """Return this plan with some fields at other paths: the same names, kinds and rows.

        Parameters
        ----------
        paths:
            The new paths, by the field's name or by the path that this plan has for it. Other fields keep theirs.
        spare:
            Optional fields; one that the plan lacks is added if ``paths`` has a path for it.

        Raises
        ------
        ConfigError
            A name is unknown or a field is mapped twice, or a path is malformed, yields one value where the plan needs
            many (or many for one), or overlaps with another. The message begins with the pair: ``text=comment.body``.
        """
        if not paths:
            return self
        own = {f.name for f in self.fields}
        candidates = (*self.fields, *(f for f in spare if f.name not in own))
        moved: dict[str, Field] = {}
        for name, path in paths.items():
            pair = f"{name}={path}"
            if not isinstance(path, str):
                raise ConfigError(f"{pair}: a path is text, such as 'comment.text'")
            meant = next((f for f in candidates if f.name == name), None)
            meant = meant or next((f for f in candidates if f.path == name), None)
            if meant is None:
                raise ConfigError(f"{pair}: {unknown(name, (n for f in candidates for n in (f.name, f.path)))}")
            if meant.name in moved:
                raise ConfigError(f"{pair}: {meant.name} is mapped to {moved[meant.name].path} already; map it once")
            try:
                there = replace(meant, path=path)
            except ConfigError as error:
                raise ConfigError(f"{pair}: {error}") from error
            if there.in_array and not meant.in_array:
                raise ConfigError(
                    f"{pair}: {meant.name} has one value per event, but a path through an array has one per element; "
                    "give a path without [*]"
                )
            if meant.in_array and not there.in_array:
                raise ConfigError(
                    f"{pair}: {meant.name} has one value for each element of an array; give a path through it, such as "
                    f"{meant.path}"
                )
            moved[meant.name] = there
        try:
            return replace(self, fields=tuple(moved.get(f.name, f) for f in candidates if f.name in own | moved.keys()))
        except ConfigError as error:
            pairs = ", ".join(f"{name}={path}" for name, path in paths.items())
            raise ConfigError(f"{pairs}: {error} (fields that are not mapped stay where they are)") from error

    def to_manifest(self) -> dict[str, Any]:
        """Return the plan as JSON types."""
        fields = [{"name": f.name, "path": f.path, "kind": f.kind, "required": f.required} for f in self.fields]
        return {"fields": fields, "max_rows": self.max_rows}

    @cached_property
    def compiled(self) -> CompiledPlan:
        """The plan as flat arrays for the kernel."""
        return _compile(self)


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A trie of keys in flat arrays. Fields are numbered so that those below a node are consecutive."""

    order: tuple[Field, ...]  # fields by number
    key_data: Bytes
    key_indptr: Int64s  # (n_edges+1,)
    edge_indptr: Int64s  # (n_nodes+1,) node -> its edges
    edge_field: Int64s  # (n_edges,) field number, or -1
    edge_node: Int64s  # (n_edges,) node below, or -1
    edge_array: Bytes  # (n_edges,) 1 where the node below is an element of the array
    node_fields: Int64s  # (n_nodes, 2) the fields below: the first one's number, and the last one's plus 1
    kinds: Bytes  # (n_fields,) index in KINDS
    required: Bytes  # (n_fields,)
    in_array: Bytes  # (n_fields,)
    has_array: bool  # whether any field is


@dataclass
class _Node:
    edges: dict[bytes, tuple[int, int, bool]] = field(default_factory=dict)  # key -> field, node, array
    first: int = 0
    last: int = 0


def _refuse_overlaps(fields: Sequence[Field]) -> None:
    """Raise ConfigError where two fields read the same value, or one is inside the other."""
    ends: dict[tuple[str, ...], Field] = {}
    for f in fields:
        other = ends.setdefault(f.parsed.keys, f)
        if other is not f:
            raise ConfigError(
                f"field path '{f.path}' is given for two fields, {other.name} and {f.name}; each needs its own"
            )
    passed: dict[tuple[str, ...], Field] = {}  # keys on the way -> a field that goes that way
    for f in fields:
        for depth in range(1, len(f.parsed.keys)):
            above = f.parsed.keys[:depth]
            if above in ends:
                raise ConfigError(
                    f"field path '{ends[above].path}' ({ends[above].name}) lies above field path '{f.path}' "
                    f"({f.name}); a value can be read whole or in parts, not both"
                )
            other = passed.setdefault(above, f)
            if (other.parsed.array == depth - 1) != (f.parsed.array == depth - 1):
                raise ConfigError(
                    f"field paths '{other.path}' ({other.name}) and '{f.path}' ({f.name}) disagree on whether a value "
                    "is an array; write [*] in both or in neither"
                )


def _compile(plan: FieldPlan) -> CompiledPlan:
    nodes: list[_Node] = []
    order: list[Field] = []

    def build(depth: int, members: list[Field]) -> int:
        index = len(nodes)
        node = _Node(first=len(order))
        nodes.append(node)
        groups: dict[str, list[Field]] = {}
        for f in members:
            groups.setdefault(f.parsed.keys[depth], []).append(f)
        for key, below in groups.items():
            first = below[0].parsed
            if len(first.keys) == depth + 1:
                order.append(below[0])
                node.edges[key.encode()] = (len(order) - 1, -1, False)
            else:
                node.edges[key.encode()] = (-1, build(depth + 1, below), first.array == depth)
        node.last = len(order)
        return index

    build(0, list(plan.fields))
    edges = [(key, *target) for node in nodes for key, target in node.edges.items()]
    return CompiledPlan(
        order=tuple(order),
        key_data=np.frombuffer(b"".join(e[0] for e in edges), np.uint8),
        key_indptr=np.concatenate([[0], np.cumsum([len(e[0]) for e in edges])]).astype(np.int64),
        edge_indptr=np.concatenate([[0], np.cumsum([len(n.edges) for n in nodes])]).astype(np.int64),
        edge_field=np.array([e[1] for e in edges], np.int64),
        edge_node=np.array([e[2] for e in edges], np.int64),
        edge_array=np.array([e[3] for e in edges], np.uint8),
        node_fields=np.array([(n.first, n.last) for n in nodes], np.int64),
        kinds=np.array([KINDS.index(f.kind) for f in order], np.uint8),
        required=np.array([f.required for f in order], np.uint8),
        in_array=np.array([f.in_array for f in order], np.uint8),
        has_array=plan.has_array,
    )

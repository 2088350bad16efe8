"""Which fields an event's value must give: declared once, compiled to flat arrays for the kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from farthing.blocks import Bytes, Int64s
from farthing.errors import ConfigError

Kind = Literal["text", "raw", "number"]
KINDS: Final = ("text", "raw", "number")
MAX_DEPTH: Final = 64
"""Deeper values are refused: the table of what is accepted says 64."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Field:
    """One wanted field.

    ``path`` names keys from the top, with dots between; ``[*]`` after a key goes through an array
    (``candidates[*].text``). ``kind``: ``text`` is a JSON string, unescaped; ``raw`` any JSON value, exactly as it
    came; ``number`` a JSON number, as the nearest double. An event in which a ``required`` field outside the array is
    missing or null is refused.
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
        keys = self.path.split(".")
        if not all(key.removesuffix("[*]") for key in keys) or any("[" in key.removesuffix("[*]") for key in keys):
            raise ConfigError(f"field {self.name}: path {self.path!r} is not like 'a.b' or 'a[*].b'")
        if keys[-1].endswith("[*]"):
            raise ConfigError(f"field {self.name}: path {self.path!r} ends in an array; name a key of its elements")
        if self.path.count("[*]") > 1:
            raise ConfigError(f"field {self.name}: path {self.path!r} goes through two arrays, one is possible")
        if len(keys) >= MAX_DEPTH:
            raise ConfigError(f"field {self.name}: path has {len(keys)} keys, {MAX_DEPTH - 1} are possible")

    @property
    def in_array(self) -> bool:
        """Whether the field has one entry a row instead of one an event."""
        return "[*]" in self.path


@dataclass(frozen=True)
class FieldPlan:
    """All wanted fields. At most one array; ``max_rows`` bounds its elements in one event."""

    fields: tuple[Field, ...]
    max_rows: int = 1000

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"a field plan needs fields with different names, found {names}")
        arrays = {f.path.split("[*]")[0] for f in self.fields if f.in_array}
        if len(arrays) > 1:
            raise ConfigError(f"a field plan can go through one array, found {', '.join(sorted(arrays))}")
        if not 1 <= self.max_rows <= 1_000_000:
            raise ConfigError(f"max_rows is {self.max_rows}, expected 1 to 1,000,000")
        paths = [f.path.replace("[*]", "").split(".") for f in self.fields]
        for a, b in ((a, b) for i, a in enumerate(paths) for j, b in enumerate(paths) if i != j):
            if a == b[: len(a)]:
                raise ConfigError(f"field path {'.'.join(a)!r} is, or lies above, field path {'.'.join(b)!r}")

    @property
    def has_array(self) -> bool:
        """Whether rows are an array's elements."""
        return any(f.in_array for f in self.fields)

    @classmethod
    def from_manifest(cls, plan: Mapping[str, Any]) -> FieldPlan:
        """Read the plan from a manifest's JSON object.

        Raises
        ------
        ConfigError
            A key is missing, unknown or has a value that is not possible.
        """
        try:
            fields = tuple(Field(**entry) for entry in plan["fields"])
            return cls(fields, **{key: value for key, value in plan.items() if key != "fields"})
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"field plan: {error}; expected {{fields: [{{name, path, kind, required}}], max_rows}}"
            ) from error

    def to_manifest(self) -> dict[str, Any]:
        """Give the plan as JSON types."""
        fields = [{"name": f.name, "path": f.path, "kind": f.kind, "required": f.required} for f in self.fields]
        return {"fields": fields, "max_rows": self.max_rows}

    @cached_property
    def compiled(self) -> CompiledPlan:
        """The plan as the kernel reads it."""
        return _compile(self)


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A trie of keys in flat arrays. Fields are numbered so that those below a node are neighbours."""

    order: tuple[Field, ...]  # fields by number
    key_data: Bytes
    key_indptr: Int64s  # (n_edges+1,)
    edge_indptr: Int64s  # (n_nodes+1,) node -> its edges
    edge_field: Int64s  # (n_edges,) field number, or -1
    edge_node: Int64s  # (n_edges,) node below, or -1
    edge_array: Bytes  # (n_edges,) 1 where the node below is an array's element
    node_fields: Int64s  # (n_nodes, 2) first and last+1 number of the fields below
    kinds: Bytes  # (n_fields,) index in KINDS
    required: Bytes  # (n_fields,)
    in_array: Bytes  # (n_fields,)


@dataclass
class _Node:
    edges: dict[bytes, tuple[int, int, bool]] = field(default_factory=dict)  # key -> field, node, array
    first: int = 0
    last: int = 0


def _compile(plan: FieldPlan) -> CompiledPlan:
    nodes: list[_Node] = []
    order: list[Field] = []

    def build(members: list[tuple[list[str], Field]]) -> int:
        index = len(nodes)
        node = _Node(first=len(order))
        nodes.append(node)
        for key in dict.fromkeys(path[0] for path, _ in members):
            below = [(path[1:], f) for path, f in members if path[0] == key]
            name = key.removesuffix("[*]").encode()
            if not below[0][0]:
                order.append(below[0][1])
                node.edges[name] = (len(order) - 1, -1, False)
            else:
                node.edges[name] = (-1, build(below), key.endswith("[*]"))
        node.last = len(order)
        return index

    build([(f.path.split("."), f) for f in plan.fields])
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
    )

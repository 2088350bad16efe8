"""A bundle's ``manifest.json``: describes the model, and has the digests of the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from farthing.bundle_files import MAX_FILE_BYTES, read_file, read_json
from farthing.errors import BundleError

FORMAT_VERSION = 1
MANIFEST, MODEL, GOLDEN, CARD, SUMS = "manifest.json", "model.onnx", "golden.npz", "CARD.md", "SHA256SUMS"
DIGESTED = (CARD, GOLDEN, MANIFEST, MODEL)  # in the order of SHA256SUMS
FEATURES = "features.npz"
DIGESTED_WITH_FEATURES = (CARD, FEATURES, GOLDEN, MANIFEST, MODEL)
LARGEST = {
    **dict.fromkeys((CARD, MANIFEST), 1 << 22),
    SUMS: 1 << 12,
    GOLDEN: 1 << 28,
    **dict.fromkeys((MODEL, FEATURES), MAX_FILE_BYTES),
}
"""Bytes that each file may have, packed and unpacked. As objects, JSON can need fifty times its size."""
MAP_INSTEAD = (
    "To read a field from another place, leave the bundle as it was built and map the field: --map "
    'text=comment.body, in the settings [route.fields] text = "comment.body", in Python '
    'Scorer.load(..., fields={"text": "comment.body"})'
)


def read_stated(folder: Path) -> dict[str, Any]:
    """Read what the manifest in a bundle's folder states, unchecked; raises BundleError if it is no JSON object."""
    content = read_file(folder / MANIFEST, "give the folder of a whole bundle", at_most=LARGEST[MANIFEST])
    return read_json(content, MANIFEST)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of ``manifest.json``, as JSON types."""

    name: str  # model ids begin with it: moderation@1a2b3c4d
    task: str  # what a score means: the name of a module in farthing.tasks
    field_plan: Mapping[str, Any]
    feature_spec: Mapping[str, Any]
    feature_fingerprint: str
    heads: tuple[str, ...]  # the first is ``score`` in the output
    labels: tuple[str, ...]
    thresholds: Mapping[str, Any]  # as the task defines
    quantization: Mapping[str, Any] = field(default_factory=dict)
    training_data: tuple[Mapping[str, Any], ...] = ()  # name, sha256, licence of each source
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)  # as the task defines (bidding: the campaign)

    @classmethod
    def from_json(cls, text: bytes) -> tuple[Manifest, dict[str, str]]:
        """Read ``manifest.json``.

        Returns
        -------
        The manifest, and the SHA-256 it gives for each file.

        Raises
        ------
        BundleError
            Not JSON, another format version, or a key is missing, unknown or of another type.
        """
        stated = read_json(text, MANIFEST)
        version = stated.pop("format_version", None)
        if type(version) is not int or version != FORMAT_VERSION:
            raise BundleError(
                f"{MANIFEST}: format_version is {version!r}, this Farthing reads {FORMAT_VERSION}; "
                "use the Farthing that wrote the bundle, or build the bundle again"
            )
        files = stated.pop("files", None)
        if not isinstance(files, dict) or files.keys() - {FEATURES} != set(DIGESTED) - {MANIFEST}:
            raise BundleError(f"{MANIFEST}: files is {files!r}, expected digests of {CARD}, {GOLDEN} and {MODEL}")
        stated.setdefault("settings", {})  # not written where a task has none
        keys = {entry.name for entry in fields(cls)}
        if stated.keys() != keys:
            raise BundleError(
                f"{MANIFEST}: missing {sorted(keys - stated.keys())}, unknown {sorted(stated.keys() - keys)}; "
                "build the bundle again"
            )
        for name, value in stated.items():
            kind = _KINDS[name]
            if not isinstance(value, kind):
                raise BundleError(f"{MANIFEST}: {name} is {value!r}, expected the type {kind.__name__}")
            if isinstance(value, list):
                stated[name] = tuple(value)
        manifest = cls(**stated)
        manifest.check()
        return manifest, files

    def check(self) -> None:
        """Raise BundleError if names are empty, repeated or not strings."""
        for key, names in (("heads", self.heads), ("labels", self.labels)):
            if not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names):
                raise BundleError(f"{MANIFEST}: {key} is {list(names)!r}, expected one or more different names")
        if len(self.labels) > 255:
            raise BundleError(f"{MANIFEST}: {len(self.labels)} labels, expected at most 255")
        if not self.name.replace("-", "").replace("_", "").isalnum() or not self.name.isascii():
            raise BundleError(f"{MANIFEST}: name is {self.name!r}, expected letters, digits, - and _")

    def to_json(self, files: Mapping[str, str]) -> bytes:
        """Write ``manifest.json``; NaN and infinity are refused."""
        stated = asdict(self)
        if not self.settings:
            del stated["settings"]
        document = {"format_version": FORMAT_VERSION, **stated, "files": dict(files)}
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


_KINDS: dict[str, type] = {
    **dict.fromkeys(("name", "task", "feature_fingerprint"), str),
    **dict.fromkeys(("heads", "labels", "training_data"), list),
    **dict.fromkeys(("field_plan", "feature_spec", "thresholds", "quantization", "evaluation", "settings"), dict),
}

"""Reads and writes bundles: a bundle is the folder that holds a model and all that it needs.

::

    manifest.json   what the model is: format version, task, field plan, feature spec and fingerprint, heads,
                    labels, thresholds, quantization, training data, evaluation, SHA-256 of the files below
    model.onnx      from feature ids to scores (farthing.scoring.graph)
    golden.npz      events and what the model must give for them, bit for bit
    CARD.md         a description for people
    features.npz    the lexicon (farthing.features.lexicon); only where the feature spec needs one
    SHA256SUMS      digests of all of these, as sha256sum writes and checks them
    manifest.json.sig  a signature of manifest.json (farthing.scoring.signature); only where someone signed it

This module checks that the files belong together. Their formats are in :mod:`farthing.scoring.manifest`,
:mod:`farthing.scoring.golden_file` and :mod:`farthing.scoring.graph`. :mod:`farthing.model.stages` checks the field
plan and the feature spec, and :mod:`farthing.model.golden` whether the golden events give their results on this
machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from farthing.bundle_files import read_file, refusing
from farthing.errors import BundleError, OutputError
from farthing.scoring.golden_file import Golden
from farthing.scoring.graph import read_tensors
from farthing.scoring.manifest import (
    CARD,
    DIGESTED,
    DIGESTED_WITH_FEATURES,
    FEATURES,
    GOLDEN,
    LARGEST,
    MANIFEST,
    MAP_INSTEAD,
    MODEL,
    SUMS,
    Manifest,
)
from farthing.scoring.model_file import read_model
from farthing.scoring.signature import NO_KEYS, SUFFIX, TrustedKeys
from farthing.scoring.tensors import QuantizedTensors

_SHOWN_FILES = 5
_MOST_PARTS = 1 << 12  # of a model.onnx, which has some 300


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files belong together and are safe to run."""

    path: Path
    manifest: Manifest
    digest: str  # SHA-256 of manifest.json, which holds those of all other files
    model: onnx.ModelProto = field(repr=False)
    tensors: QuantizedTensors = field(repr=False)
    golden: Golden = field(repr=False)
    card: str = field(repr=False)
    features: bytes | None = field(default=None, repr=False)  # features.npz
    manifest_bytes: bytes = field(default=b"", repr=False)  # of manifest.json: what a signature signs

    @property
    def model_id(self) -> str:
        """The model id that scores carry, such as ``moderation@1a2b3c4d``."""
        return f"{self.manifest.name}@{self.digest[:8]}"

    @classmethod
    def load(cls, path: str | Path, *, trusted: TrustedKeys = NO_KEYS) -> Bundle:
        """Read a bundle and check its signature where keys are ``trusted``, its digests, its manifest and its model.

        Raises
        ------
        BundleError
            A file is missing, changed or not signed, or the files disagree; the message gives both values.
        """
        with refusing(Path(path)):
            return cls._load(Path(path), trusted)

    @classmethod
    def _load(cls, folder: Path, trusted: TrustedKeys) -> Bundle:
        _check_present(folder)
        names = (*DIGESTED, SUMS)
        advice = f"a bundle holds {', '.join(names)}. Copy the whole folder again"
        contents = {name: read_file(folder / name, advice, at_most=LARGEST[name]) for name in names}
        if f"  {FEATURES}\n".encode() in contents[SUMS]:
            contents[FEATURES] = read_file(folder / FEATURES, advice, at_most=LARGEST[FEATURES])
        trusted.check(folder / MANIFEST, contents[MANIFEST])
        _check_sums(contents)
        manifest, files = Manifest.from_json(contents[MANIFEST])
        if (FEATURES in files) != (FEATURES in contents):
            raise BundleError(
                f"{FEATURES}: {MANIFEST} has {'a' if FEATURES in files else 'no'} digest of it, {SUMS} "
                f"{'one' if FEATURES in contents else 'none'}; copy the bundle again, or build it again"
            )
        for name, stated in files.items():
            _check_digest(name, MANIFEST, stated, _sha256(contents[name]))
        model = read_model(contents[MODEL], MODEL, most_parts=_MOST_PARTS)
        tensors = read_tensors(model)
        _check_agreement(manifest, model, tensors)
        return cls(
            path=folder,
            manifest=manifest,
            digest=_sha256(contents[MANIFEST]),
            model=model,
            tensors=tensors,
            golden=Golden.from_npz(contents[GOLDEN]),
            card=contents[CARD].decode("utf-8", "replace"),
            features=contents.get(FEATURES),
            manifest_bytes=contents[MANIFEST],
        )


def write_bundle(
    path: str | Path,
    *,
    manifest: Manifest,
    model: onnx.ModelProto,
    golden: Golden,
    card: str,
    features: bytes | None = None,
) -> Bundle:
    """Write a bundle's files into a folder, which is created if needed, and load it back.

    Raises
    ------
    BundleError
        The parts do not belong together; what was written is then useless.
    OutputError
        The folder cannot be written.
    """
    folder = Path(path)
    contents = {
        CARD: card.encode(),
        GOLDEN: golden.to_npz(),
        MODEL: model.SerializeToString(deterministic=True),
    }
    if features is not None:
        contents[FEATURES] = features
    contents[MANIFEST] = manifest.to_json({name: _sha256(data) for name, data in contents.items()})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (MANIFEST + SUFFIX)).unlink(missing_ok=True)  # what is written now was not signed
        if features is None:
            (folder / FEATURES).unlink(missing_ok=True)  # an earlier bundle's
        (folder / SUMS).unlink(missing_ok=True)  # a half-written bundle has no sums
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        (folder / SUMS).write_bytes(_sums(contents))
    except OSError as error:
        raise OutputError(
            f"bundle {folder}: cannot be written ({error.strerror}); what is there now is incomplete. Make room, or "
            "write it to another folder"
        ) from error
    return Bundle.load(folder)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sums(contents: Mapping[str, bytes]) -> bytes:
    return "".join(f"{_sha256(contents[name])}  {name}\n" for name in _digested(contents)).encode()


def _digested(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    return DIGESTED_WITH_FEATURES if FEATURES in contents else DIGESTED


def _check_present(folder: Path) -> None:
    """Raise BundleError if a folder has none of a bundle's files: it is the wrong folder, not a damaged bundle."""
    try:
        held = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: the folder cannot be read ({error.strerror}); give another one, or the right to read it"
        ) from error
    if not set(held) & {*DIGESTED, SUMS}:
        shown = f"holds {', '.join(held[:_SHOWN_FILES])}{', ...' * (len(held) > _SHOWN_FILES)}" if held else "is empty"
        raise BundleError(
            f"bundle {folder}: the folder {shown}; a bundle holds {', '.join((*DIGESTED, SUMS))}. Give a bundle's "
            "folder, or the name of a shipped one"
        )


def _check_sums(contents: Mapping[str, bytes]) -> None:
    lines = [line.split("  ", 1) for line in contents[SUMS].decode("utf-8", "replace").splitlines()]
    stated = {line[1]: line[0] for line in lines if len(line) == 2}
    for name in _digested(contents):
        _check_digest(name, SUMS, stated.get(name, "nothing"), _sha256(contents[name]))
    expected = _sums(contents)
    if contents[SUMS] != expected:  # more lines, other white space
        raise BundleError(f"{SUMS}: holds {contents[SUMS]!r}, expected {expected!r}; copy the bundle again")


def _check_digest(name: str, where: str, stated: object, computed: str) -> None:
    if stated != computed:
        edited = f". {MAP_INSTEAD}" if name == MANIFEST else ""
        raise BundleError(
            f"{name}: {where} says SHA-256 {stated}, computed {computed}; the bundle was changed or copied in part. "
            f"Copy it again, or build it again{edited}"
        )


def _check_agreement(manifest: Manifest, model: onnx.ModelProto, tensors: QuantizedTensors) -> None:
    if len(manifest.heads) != tensors.n_heads:
        raise BundleError(
            f"{MANIFEST} names {len(manifest.heads)} heads {list(manifest.heads)}, {MODEL} has {tensors.n_heads}; "
            "build the bundle again"
        )
    stated = {prop.key: prop.value for prop in model.metadata_props}
    for key in ("task", "feature_fingerprint"):
        if stated.get(key) != getattr(manifest, key):
            raise BundleError(
                f"{key}: {MANIFEST} says {getattr(manifest, key)!r}, the metadata of {MODEL} {stated.get(key)!r}; "
                "the two were not built together. Build the bundle again"
            )

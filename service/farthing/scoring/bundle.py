"""A bundle: the folder that holds a model and all that it needs.

::

    manifest.json   what the model is: format version, task, field plan, feature spec and fingerprint, heads,
                    labels, thresholds, quantization, training data, evaluation, SHA-256 of the files below
    model.onnx      from feature ids to scores (farthing.scoring.graph)
    golden.npz      events and what the model must say of them, bit for bit
    CARD.md         for people
    features.npz    what the features know of words (farthing.features.lexicon); only where the feature spec asks for it
    SHA256SUMS      digests of all these, as sha256sum writes and checks them

This module reads and writes the files and checks that they belong together. What the field plan and the feature spec
mean, and whether the golden events give their results here, is checked by :mod:`farthing.model.scorer`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError as ProtobufDecodeError  # type: ignore[import-untyped]  # no stubs
from numpy.typing import NDArray

from farthing.blocks import Bytes, Int32s, Int64s
from farthing.errors import BundleError, OutputError
from farthing.scoring.graph import read_tensors
from farthing.scoring.tensors import QuantizedTensors

FORMAT_VERSION = 1
MANIFEST, MODEL, GOLDEN, CARD, SUMS = "manifest.json", "model.onnx", "golden.npz", "CARD.md", "SHA256SUMS"
DIGESTED = (CARD, GOLDEN, MANIFEST, MODEL)  # in the order of SHA256SUMS
FEATURES = "features.npz"
DIGESTED_WITH_FEATURES = (CARD, FEATURES, GOLDEN, MANIFEST, MODEL)
MAX_FILE_BYTES = 1 << 30
"""A file beyond this is refused before it is read."""
_SHOWN_FILES = 5
MAP_INSTEAD = (
    "To read a field from another place, leave the bundle as it was built and say where it lies: --map "
    'text=comment.body, in the settings [route.fields] text = "comment.body", in Python '
    'Scorer.load(..., fields={"text": "comment.body"})'
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` says, as JSON types."""

    name: str  # model ids begin with it: moderation@1a2b3c4d
    task: str  # what a score means: names a module of farthing.tasks
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
            Not JSON, another format version, or a key that is missing, unknown or of another type.
        """
        try:
            found = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{MANIFEST}: not valid JSON: {error}") from error
        if not isinstance(found, dict):
            raise BundleError(f"{MANIFEST}: holds a {type(found).__name__}, expected an object")
        version = found.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{MANIFEST}: format_version is {version!r}, this Farthing reads {FORMAT_VERSION}; "
                "use the Farthing that wrote the bundle, or build the bundle again"
            )
        files = found.pop("files", None)
        if not isinstance(files, dict) or files.keys() - {FEATURES} != set(DIGESTED) - {MANIFEST}:
            raise BundleError(f"{MANIFEST}: files is {files!r}, expected digests of {CARD}, {GOLDEN} and {MODEL}")
        found.setdefault("settings", {})  # not written where a task has none
        wanted = {entry.name for entry in fields(cls)}
        if found.keys() != wanted:
            raise BundleError(
                f"{MANIFEST}: missing {sorted(wanted - found.keys())}, unknown {sorted(found.keys() - wanted)}; "
                "build the bundle again"
            )
        for name, value in found.items():
            kind = _KINDS[name]
            if not isinstance(value, kind):
                raise BundleError(f"{MANIFEST}: {name} is {value!r}, expected the type {kind.__name__}")
            if isinstance(value, list):
                found[name] = tuple(value)
        manifest = cls(**found)
        manifest.check()
        return manifest, files

    def check(self) -> None:
        """Raise BundleError where names are empty, repeated or not strings."""
        for key, names in (("heads", self.heads), ("labels", self.labels)):
            if not names or len(set(names)) < len(names) or not all(isinstance(n, str) and n for n in names):
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


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


@dataclass(frozen=True, slots=True)
class Golden:
    """Events and what the model must say of them: integers bit for bit, scores of other runtimes within 1e-6."""

    values: Bytes  # (n_bytes,) event values, one after another
    values_indptr: Int64s  # (n+1,)
    status: Bytes  # (n,) Status
    accumulators: Int32s  # (n_rows, dim)
    logits: Int32s  # (n_rows, n_heads)
    scores: NDArray[np.float32]  # (n_rows, n_heads)
    labels: Bytes  # (n_rows,)
    prices_micros: Int64s | None = None  # (n_rows,) bidding only, at time 0 and pacing 1
    order: Int64s | None = None  # (n_rows,) rows in the order of the answer, where the task gives one

    def __len__(self) -> int:
        return len(self.values_indptr) - 1

    @classmethod
    def from_npz(cls, data: bytes) -> Golden:
        """Read ``golden.npz``. No object is unpickled.

        Raises
        ------
        BundleError
            Not an .npz file, or an array that is missing or of another type.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{GOLDEN}: not readable: {error}") from error
        for name, (dtype, ndim) in _GOLDEN_ARRAYS.items():
            value = found.get(name)
            if value is None and name in _OPTIONAL_ARRAYS:
                continue
            if value is None or value.dtype != dtype or value.ndim != ndim:
                what = "nothing" if value is None else f"{value.dtype} with {value.ndim} axes"
                raise BundleError(f"{GOLDEN}: {name} is {what}, expected {np.dtype(dtype)} with {ndim} axes")
        return cls(**{name: found[name] for name in _GOLDEN_ARRAYS if name in found})

    def to_npz(self) -> bytes:
        """Write ``golden.npz``: the same bytes for the same arrays."""
        file = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _GOLDEN_ARRAYS}
        np.savez_compressed(file, **{name: value for name, value in arrays.items() if value is not None})
        return file.getvalue()


_GOLDEN_ARRAYS: dict[str, tuple[type[np.generic], int]] = {
    "values": (np.uint8, 1),
    "values_indptr": (np.int64, 1),
    "status": (np.uint8, 1),
    "accumulators": (np.int32, 2),
    "logits": (np.int32, 2),
    "scores": (np.float32, 2),
    "labels": (np.uint8, 1),
    "prices_micros": (np.int64, 1),
    "order": (np.int64, 1),
}
_OPTIONAL_ARRAYS = frozenset(["prices_micros", "order"])


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

    @property
    def model_id(self) -> str:
        """What scores are signed with: ``moderation@1a2b3c4d``."""
        return f"{self.manifest.name}@{self.digest[:8]}"

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle and check its digests, its manifest and its model.

        Raises
        ------
        BundleError
            A file is missing or changed, or the files disagree; the message gives both values.
        """
        folder = Path(path)
        _check_present(folder)
        contents = {name: _read(folder / name) for name in (*DIGESTED, SUMS)}
        if f"  {FEATURES}\n".encode() in contents[SUMS]:
            contents[FEATURES] = _read(folder / FEATURES)
        _check_sums(contents)
        manifest, files = Manifest.from_json(contents[MANIFEST])
        if (FEATURES in files) != (FEATURES in contents):
            raise BundleError(
                f"{FEATURES}: {MANIFEST} has {'a' if FEATURES in files else 'no'} digest of it, {SUMS} "
                f"{'one' if FEATURES in contents else 'none'}; copy the bundle again, or build it again"
            )
        for name, stated in files.items():
            _check_digest(name, MANIFEST, stated, _sha256(contents[name]))
        try:
            model = onnx.load_model_from_string(contents[MODEL])
        except (ProtobufDecodeError, ValueError) as error:
            raise BundleError(f"{MODEL}: not an ONNX model: {error}") from error
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
    """Write a bundle's files into a folder, which is made if need be, and load it back.

    Raises
    ------
    BundleError
        The parts do not belong together; what was written is then no use.
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
        if features is None:
            (folder / FEATURES).unlink(missing_ok=True)  # an earlier bundle's
        (folder / SUMS).unlink(missing_ok=True)  # a half-written bundle has no sums
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        (folder / SUMS).write_bytes(_sums(contents))
    except OSError as error:
        raise OutputError(
            f"bundle {folder}: cannot be written ({error.strerror}); what is there is no use. Make room, or write it "
            "to another folder"
        ) from error
    return Bundle.load(folder)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sums(contents: Mapping[str, bytes]) -> bytes:
    return "".join(f"{_sha256(contents[name])}  {name}\n" for name in _digested(contents)).encode()


def _digested(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    return DIGESTED_WITH_FEATURES if FEATURES in contents else DIGESTED


def _check_present(folder: Path) -> None:
    """Raise BundleError where a folder holds nothing of a bundle: the wrong folder, not a damaged one."""
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


def _read(file: Path) -> bytes:
    try:
        size = regular_size(file)
        if size > MAX_FILE_BYTES:
            raise BundleError(f"{file} has {size} bytes, expected at most {MAX_FILE_BYTES}")
        return file.read_bytes()
    except OSError as error:
        raise BundleError(
            f"bundle {file.parent}: cannot read {file.name}: {error.strerror}; a bundle holds "
            f"{', '.join((*DIGESTED, SUMS))}. Copy the whole folder again"
        ) from error


def regular_size(file: Path) -> int:
    """Give a file's bytes; OSError where it is no regular one: to read a pipe would wait for ever."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    return found.st_size


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

"""Reads a folder with an ONNX classifier over number columns and a short ``manifest.toml`` that describes it.

::

    name = "churn"
    model = "churn.onnx"                               # in this folder
    columns = ["age", "tenure", "plan.fee"]            # paths in the event, in the order of the model's inputs
    heads = ["churn"]                                  # names of the output's columns
    cut = 0.4                                          # a score from here on gets the head's name as label
    missing = "refuse"                                 # for an event without one of the columns; or a number, or "nan"
    output = "probabilities"                           # needed if the model has several outputs of floats
    sha256 = "..."                                     # of the model's file
    allow_batch_variant = true                         # see below

A model whose scores depend on the batch is refused, because the same event could get another score when it is scored
again; ``allow_batch_variant`` accepts it anyway.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import onnx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from farthing.bundle_files import read_file, refusing
from farthing.errors import BundleError
from farthing.scoring.columns import BatchCheck, ColumnSession
from farthing.scoring.manifest import LARGEST, MODEL, Manifest
from farthing.scoring.model_file import read_model
from farthing.scoring.signature import NO_KEYS, TrustedKeys

COLUMN_MANIFEST: Final = "manifest.toml"
NO_CLASS: Final = "none"  # as in the task classify
_ID: Final = "id"
_LARGEST_MANIFEST: Final = 1 << 20  # bytes
_STRING_OR_COMMENT: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)
_LONG_KEY: Final = re.compile(r"(?:[\w-]++[ \t]*+\.[ \t]*+){16}")

Share = Annotated[float, Field(gt=0, le=1)]


class ColumnManifest(BaseModel):
    """What ``manifest.toml`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    model: str = Field("model.onnx", pattern=r"^[^/\\]+$")
    task: Literal["classify"] = "classify"
    columns: tuple[str, ...] = Field(min_length=1, max_length=4096)
    heads: tuple[str, ...] = Field(("positive",), min_length=1, max_length=254)
    cut: Share | dict[str, Share] = 0.5
    missing: Literal["refuse", "nan"] | float = "refuse"
    output: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    licence: str = ""
    allow_batch_variant: bool = False

    @model_validator(mode="after")
    def _names_differ(self) -> ColumnManifest:
        for what, names in (("columns", self.fields), ("heads", self.heads)):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} are {', '.join(names)}: give each a name of its own")
        if NO_CLASS in self.heads:
            raise ValueError(f"a head is called {NO_CLASS!r}, the label of events without a class; rename it")
        if isinstance(self.cut, dict) and not self.cut.keys() <= set(self.heads):
            raise ValueError(f"cut names {', '.join(self.cut)}, the heads are {', '.join(self.heads)}")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the plan's number fields: the columns' with letters, digits and _ only."""
        return tuple("column_" + re.sub(r"[^A-Za-z0-9]", "_", column) for column in self.columns)

    @property
    def fill(self) -> float:
        """The value used for a missing number; also NaN where events without one are refused."""
        return math.nan if isinstance(self.missing, str) else self.missing

    def as_manifest(self) -> Manifest:
        """Return the manifest that a whole bundle would have."""
        required = self.missing == "refuse"
        plan = [
            {"name": name, "path": path, "kind": "number", "required": required}
            for name, path in zip(self.fields, self.columns, strict=True)
        ]
        if _ID not in self.columns:
            plan.insert(0, {"name": _ID, "path": _ID, "kind": "raw", "required": False})
        cuts = self.cut if isinstance(self.cut, dict) else dict.fromkeys(self.heads, self.cut)
        manifest = Manifest(
            name=self.name,
            task=self.task,
            field_plan={"fields": plan},
            feature_spec={},
            feature_fingerprint="",
            heads=self.heads,
            labels=(NO_CLASS, *self.heads),
            thresholds={head: {"cut": cut} for head, cut in cuts.items()},
            quantization={"kind": "as given"},
            training_data=({"name": "not stated", "licence": self.licence or "not stated"},),
        )
        manifest.check()
        return manifest


@dataclass(frozen=True, slots=True)
class ColumnBundle:
    """A manifest and its model, loaded but not yet run."""

    path: Path
    manifest: ColumnManifest
    digest: str  # SHA-256 of the manifest's bytes and the model's digest
    model: onnx.ModelProto = field(repr=False)
    manifest_bytes: bytes = field(repr=False)  # of manifest.toml: what a signature signs
    model_digest: str  # SHA-256 of the model's file

    @property
    def model_id(self) -> str:
        """The model id that scores carry."""
        return f"{self.manifest.name}@{self.digest[:8]}"

    @classmethod
    def load(cls, folder: Path, *, trusted: TrustedKeys = NO_KEYS) -> ColumnBundle:
        """Read the two files, and check the manifest's signature where keys are ``trusted``.

        Raises
        ------
        BundleError
            One is missing, invalid or not signed, or the model does not have the digest that is stated.
        """
        with refusing(folder):
            return cls._load(folder, trusted)

    @classmethod
    def _load(cls, folder: Path, trusted: TrustedKeys) -> ColumnBundle:
        advice = f"a model of number columns needs {COLUMN_MANIFEST} and the model's file in one folder"
        text = read_file(folder / COLUMN_MANIFEST, advice, at_most=_LARGEST_MANIFEST)
        trusted.check(folder / COLUMN_MANIFEST, text)
        try:
            manifest = ColumnManifest.model_validate(tomllib.loads(_without_long_keys(text.decode())))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg'].removeprefix('Value error, ')}"
                for e in error.errors(include_url=False)
            )
            raise BundleError(f"{COLUMN_MANIFEST}: {problems}") from error
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{COLUMN_MANIFEST}: not TOML: {error}") from error
        data = read_file(folder / manifest.model, advice, at_most=LARGEST[MODEL])
        digest = hashlib.sha256(data).hexdigest()
        if manifest.sha256 not in (None, digest):
            raise BundleError(
                f"{manifest.model}: SHA-256 is {digest}, {COLUMN_MANIFEST} says {manifest.sha256}; copy the model "
                "again, or state the new digest"
            )
        model = read_model(data, manifest.model)
        bundle = cls(folder, manifest, hashlib.sha256(text + digest.encode()).hexdigest(), model, text, digest)
        if trusted:
            bundle.check_covered()
        return bundle

    def check_covered(self) -> None:
        """Raise BundleError unless a signature of the manifest covers the model: it has to state the model's digest."""
        if self.manifest.sha256 is None:
            raise BundleError(
                f"{COLUMN_MANIFEST}: has no sha256, so a signature of it does not cover {self.manifest.model}. Where "
                f'the bundle is signed, add sha256 = "{self.model_digest}" if that is the right model, and sign it'
            )

    def session(self, *, threads: int = 1) -> ColumnSession:
        """Make the model ready to run, and try whether its scores depend on the batch.

        Raises
        ------
        BundleError
            It does not fit the manifest, or its scores depend on the batch and the manifest does not allow it.
        """
        m = self.manifest
        session = ColumnSession(self.model, m.columns, n_heads=len(m.heads), output=m.output, threads=threads)
        self.check(session)
        return session

    def check(self, session: ColumnSession) -> BatchCheck:
        """Try whether scores depend on the batch; raises BundleError if they do and the manifest does not allow it."""
        checked = session.check(with_nan=self.manifest.missing == "nan")
        if checked.variant and not self.manifest.allow_batch_variant:
            raise BundleError(
                f"{self.manifest.model}: a row's score depends on the rows it is scored with (by up to "
                f"{checked.worst_difference:.3g} in batches of {', '.join(map(str, checked.batch_sizes))}), so the "
                "same event may get another score when it is scored again. Export a model whose scores do not (trees "
                f"are safe, most dense layers are not), or write allow_batch_variant = true into {COLUMN_MANIFEST}"
            )
        return checked


def _without_long_keys(text: str) -> str:
    """Return the text; raises ValueError for keys of many parts, on which tomllib's time and memory are quadratic."""
    if _LONG_KEY.search(_STRING_OR_COMMENT.sub("s", text)):
        raise ValueError("a key has very many parts")
    return text


def is_column_bundle(folder: Path) -> bool:
    """Return whether a folder holds a model of number columns."""
    try:
        # By name: someone made even a broken link, and the error from reading it says what is wrong.
        return any(entry.name == COLUMN_MANIFEST for entry in folder.iterdir())
    except OSError:  # the folder cannot be read: the error comes when it is read as a bundle
        return False

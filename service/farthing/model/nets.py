"""The two kinds of model that Farthing serves, each from a row's fields to its scores.

::

    HashedNet    hashed features -> embedding bag -> int8 net     made by ``farthing distill``; integers throughout
    ColumnNet    number columns -> any allowed ONNX classifier    one that a team already has
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from farthing.blocks import Bytes, FeatureBlock, FieldColumns, Int32s, NumberBlock, NumberColumn, ScoreBlock
from farthing.errors import BundleError, ConfigError
from farthing.features import FeatureSpec, Featurizer, Lexicon
from farthing.model.fused import FusedTexts, text_alone
from farthing.scoring.columns import ColumnSession
from farthing.scoring.dense import DenseVectors, runs_in_vectors
from farthing.scoring.embedding_bag import accumulate, pack_table, quantize_sums
from farthing.scoring.finish import finish
from farthing.scoring.graph import read_tensors
from farthing.scoring.manifest import Manifest
from farthing.scoring.rows import NetArrays, pack_net, score_features
from farthing.scoring.session import DenseSession

Features = FeatureBlock | NumberBlock


class Net(Protocol):
    """Turns a row's fields into scores."""

    @property
    def read(self) -> Set[str]:
        """Names of the fields that it reads."""

    def featurize(self, columns: FieldColumns, buffer: Bytes | None, /) -> Features:
        """Make each row's features; ``buffer`` is what raw columns are views into."""

    def score(self, features: Features, /) -> ScoreBlock:
        """Compute each row's scores from features that :meth:`featurize` made."""


class HashedNet:
    """Hashed features, an embedding bag, and an int8 net: the same integers on every machine, in every batch.

    Parameters
    ----------
    manifest, model:
        The description of the model, and the model.
    threads:
        Threads of ONNX Runtime; scores do not depend on it.
    features:
        The bytes of ``features.npz``, whose SHA-256 is in the feature spec; None if the spec has none.

    Raises
    ------
    BundleError
        The manifest's parts disagree with each other or with the model.
    """

    def __init__(
        self, manifest: Manifest, model: onnx.ModelProto, *, threads: int = 1, features: bytes | None = None
    ) -> None:
        self.model = model
        self.tensors = read_tensors(model)
        self.table = pack_table(self.tensors.table)
        self.spec = _feature_spec(manifest, n_buckets=self.tensors.n_buckets)
        self.read = self.spec.fields
        self.featurizer = Featurizer(self.spec, _lexicon(self.spec, features))
        self.session = DenseSession(model, threads=threads)
        self._dense: DenseVectors | DenseSession = self.session
        self._arrays: NetArrays | None = None
        self._fused: FusedTexts | None = None
        if runs_in_vectors(self.tensors):
            self._dense = DenseVectors(self.tensors)
            self._arrays = pack_net(self.tensors, self.table)
            text = text_alone(self.spec)
            self._fused = None if text is None else FusedTexts(self.featurizer, text, self._arrays)
        self._input_scale = np.float32(self.tensors.input_scale)

    def featurize(self, columns: FieldColumns, buffer: Bytes | None) -> FeatureBlock:
        """Hash each row's fields; ``buffer`` is what raw columns are views into."""
        return self.featurizer(columns) if buffer is None else self.featurizer(columns, buffer)

    def score(self, features: Features) -> ScoreBlock:
        """Compute each row's integer logits and scores."""
        assert isinstance(features, FeatureBlock)
        if self._arrays is not None:
            return score_features(features, self._arrays)
        t = self.tensors
        sums = self.accumulate(features)
        inputs = quantize_sums(
            sums, features.indptr, t.column_scale, t.length_divisor, self._input_scale, t.input_zero_point
        )
        logits = self.dense(inputs)
        return ScoreBlock(logits=logits, scores=finish(logits, t.logit_scale, t.logit_bias))

    @property
    def is_fused(self) -> bool:
        """Whether :meth:`score_columns` is there: hashing is then a part of scoring."""
        return self._fused is not None

    def score_columns(self, columns: FieldColumns) -> ScoreBlock:
        """Compute each row's integer logits and scores from its fields, with the same bits as by way of features."""
        assert self._fused is not None
        return self._fused(columns)

    def accumulate(self, features: FeatureBlock) -> Int32s:
        """Sum the embeddings of each row: int32 (n_rows, dim). A part of :meth:`score`."""
        return accumulate(features.indptr, features.indices, self.table)

    def dense(self, inputs: Bytes) -> Int32s:
        """Run the dense part: uint8 (n_rows, dim) to int32 (n_rows, n_heads). A part of :meth:`score`."""
        return self._dense.run(inputs)


class ColumnNet:
    """Number columns and an ONNX classifier that the user brings.

    Parameters
    ----------
    session:
        The model, ready to run and checked.
    fields:
        Names of the plan's number fields, in the order of the model's columns.
    fill:
        The value used for a missing or null number; some models accept NaN as a value of its own.
    """

    def __init__(self, session: ColumnSession, fields: tuple[str, ...], *, fill: float) -> None:
        self.session = session
        self.read = frozenset(fields)
        self._fields, self._fill = fields, fill

    def featurize(self, columns: FieldColumns, _: Bytes | None) -> NumberBlock:
        """Lay the columns out as rows."""
        events = np.repeat(np.arange(len(columns)), np.diff(columns.row_indptr))  # refused events have no row
        values = np.empty((len(events), len(self._fields)), np.float64)
        for place, name in enumerate(self._fields):
            column = columns.columns.get(name)
            if not isinstance(column, NumberColumn):
                raise ConfigError(f"the field plan has no number field {name!r}, which the model reads")
            values[:, place] = column.values[events]
        if not np.isnan(self._fill):
            values[np.isnan(values)] = self._fill
        return NumberBlock(values)

    def score(self, features: Features) -> ScoreBlock:
        """Run the model. It has no integer logits: (n_rows, 0)."""
        assert isinstance(features, NumberBlock)
        scores: NDArray[np.float32] = self.session.run(features.values)
        return ScoreBlock(logits=np.zeros((len(scores), 0), np.int32), scores=scores)


def _feature_spec(manifest: Manifest, *, n_buckets: int) -> FeatureSpec:
    try:
        spec = FeatureSpec.from_manifest(manifest.feature_spec)
    except ConfigError as error:
        raise BundleError(f"the manifest's feature spec: {error}; build the bundle again") from error
    computed = spec.fingerprint()
    if computed != manifest.feature_fingerprint:
        raise BundleError(
            f"feature fingerprint: the manifest says {manifest.feature_fingerprint!r}, this Farthing computes "
            f"{computed!r} from the same spec; the model was trained on other features. "
            "Use the Farthing that built the bundle, or build the bundle again"
        )
    if spec.n_buckets != n_buckets:
        raise BundleError(f"n_buckets: the feature spec says {spec.n_buckets}, the model's table has {n_buckets} rows")
    return spec


def _lexicon(spec: FeatureSpec, features: bytes | None) -> Lexicon | None:
    digest = "" if features is None else hashlib.sha256(features).hexdigest()
    if digest != spec.lexicon_sha256:
        raise BundleError(
            f"features.npz: the feature spec needs the SHA-256 {spec.lexicon_sha256 or '(none)'}, there is "
            f"{digest or '(none)'}; build the bundle again"
        )
    return None if features is None else Lexicon.from_npz(features)

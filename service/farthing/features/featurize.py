"""The stage ``featurize``: columns of fields become hashed feature ids, in training as in serving."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from farthing.blocks import Bytes, Column, FeatureBlock, FieldColumns, Int32s, Int64s, Presence, TextColumn
from farthing.errors import ConfigError
from farthing.features import hashing, tabular, text
from farthing.features.lexicon import Lexicon
from farthing.features.pair_featurizer import Pairs
from farthing.features.pair_spec import PairFeature
from farthing.features.spec import CategoricalFeature, CrossFeature, FeatureSpec, NumericFeature, TextFeature
from farthing.kernels.jit import kernel, stage

_NO_BYTES = np.zeros(0, np.uint8)
_Member = TextFeature | CategoricalFeature | NumericFeature
_Plain = _Member | CrossFeature


def featurize_reference(featurizer: Featurizer, columns: FieldColumns, buffer: Bytes = _NO_BYTES) -> FeatureBlock:
    """Plain form of a Featurizer's call: one row after another."""
    spec, ids, ends = featurizer.spec, [], [0]
    inputs = [[] if isinstance(f, PairFeature) else featurizer.inputs(f, columns) for f in spec.features]
    pair_ids = {place: pairs.ids_reference(columns) for place, pairs in featurizer.pairs.items()}
    for row, event in enumerate(np.repeat(np.arange(len(columns)), np.diff(columns.row_indptr))):
        ids.append(hashing.bucket_reference(1, hashing.salt(spec.seed, hashing.SALT_BIAS), spec.bits))
        for place, members in enumerate(inputs):
            hashes = []
            ids += pair_ids[place][row] if place in pair_ids else []
            for member, column in members:
                slot = row if member.per_row else int(event)
                if isinstance(member, TextFeature):
                    assert isinstance(column, TextColumn)
                    value = column.data[column.indptr[slot] : column.indptr[slot + 1]].tobytes()
                    ids += text.text_ids_reference(value, member, spec.seed, place, spec.bits)
                else:
                    salts = tabular.value_salts(spec.seed, place)
                    hashes.append(tabular.value_hash_reference(member, column, buffer, slot, salts))
            if hashes:
                multiplier = hashing.salt(spec.seed, 64 * place + hashing.SALT_VALUE_BUCKET)
                ids.append(hashing.bucket_reference(reduce(hashing.combine_reference, hashes), multiplier, spec.bits))
        ends.append(len(ids))
    return FeatureBlock(np.array(ends, np.int64), np.array(ids, np.int32))


class Featurizer:
    """Turns fields into ids as a spec says.

    ``lexicon`` has the words for a pair feature. Raises ConfigError when the spec has a pair feature and it is missing.
    """

    def __init__(self, spec: FeatureSpec, lexicon: Lexicon | None = None) -> None:
        self.spec = spec
        self._shift = np.uint64(64 - spec.bits)
        bias = hashing.bucket_reference(1, hashing.salt(spec.seed, hashing.SALT_BIAS), spec.bits)
        self.bias = bias
        self.texts = {
            place: text.TextHashing.of(f, spec.seed, place, self._shift)
            for place, f in enumerate(spec.features)
            if isinstance(f, TextFeature)
        }
        pairs = {place: f for place, f in enumerate(spec.features) if isinstance(f, PairFeature)}
        if pairs and lexicon is None:
            raise ConfigError("the feature spec has a pair feature, which needs a lexicon")
        self.pairs = {
            place: Pairs(f, lexicon, seed=spec.seed, place=place, bits=spec.bits)
            for place, f in pairs.items()
            if lexicon is not None
        }

    @stage(reference=featurize_reference)
    def __call__(self, columns: FieldColumns, buffer: Bytes = _NO_BYTES) -> FeatureBlock:
        """Make the ids of every row: the bias, then each feature's ids in the order of the spec.

        ``buffer`` is the RecordBlock's; it is needed when a raw field is a categorical feature. A missing or null
        text counts as empty. Raises ConfigError when a field of the spec is not among the columns, or is not of the
        kind that its feature needs.
        """
        parts = []
        for place, feature in enumerate(self.spec.features):
            bias = self.bias if place == 0 else -1
            if isinstance(feature, PairFeature):
                parts.append(self.pairs[place](columns, bias=bias))
                continue
            inputs = self.inputs(feature, columns)
            if isinstance(feature, TextFeature):
                column = inputs[0][1]
                assert isinstance(column, TextColumn)
                parts.append(self._text(place, feature, column, columns.row_indptr, bias))
            else:
                parts.append(self._value(place, inputs, buffer, columns.row_indptr, bias))
        return parts[0] if len(parts) == 1 else _join(parts)

    def inputs(self, feature: _Plain, columns: FieldColumns) -> list[tuple[_Member, Column]]:
        """List what a feature is made of, each with its column: the members of a cross, else the feature itself.

        Raises ConfigError when a field is not among the columns, or is not of the kind that its feature needs.
        """
        members: list[tuple[_Member, Column]] = []
        for name in feature.fields if isinstance(feature, CrossFeature) else (feature.field,):
            if name not in columns.columns:
                raise ConfigError(f"feature {name}: the field plan has no such field ({', '.join(columns.columns)})")
            member, column = self._member(name) if isinstance(feature, CrossFeature) else feature, columns.columns[name]
            if not isinstance(member, TextFeature):
                tabular.check_column(member, column)
            elif not isinstance(column, TextColumn):
                raise ConfigError(f"feature {name}: a text feature needs a field of kind text")
            if len(column.presence) != (columns.row_indptr[-1] if member.per_row else len(columns)):
                place = "inside" if member.per_row else "outside"
                raise ConfigError(f"feature {name}: its field must lie {place} the plan's array")
            members.append((member, column))
        return members

    def _member(self, name: str) -> CategoricalFeature | NumericFeature:
        for feature in self.spec.features:
            if isinstance(feature, CategoricalFeature | NumericFeature) and feature.field == name:
                return feature
        raise ConfigError(f"cross member {name!r} is not a feature of this spec")

    def _text(
        self, place: int, feature: TextFeature, column: TextColumn, row_indptr: Int64s, bias: int
    ) -> FeatureBlock:
        n_rows, counts, lengths = int(row_indptr[-1]), np.diff(row_indptr), np.diff(column.indptr)
        n_bytes, longest = int(column.indptr[-1]), min(int(lengths.max(initial=0)), feature.max_bytes)
        if not feature.per_row and counts.max(initial=0) > 1:  # an event's text is hashed for each of its rows
            n_bytes = int((lengths * counts).sum())
        out = np.empty(text.most_ids(feature, n_bytes, n_rows), np.int32)
        indptr = np.zeros(n_rows + 1, np.int64)
        text.hash_texts(
            column.data, column.indptr, row_indptr, feature.per_row, self.texts[place], bias,
            text.TextScratch.of(longest), out, indptr,
        )  # fmt: skip
        return FeatureBlock(indptr, out[: indptr[-1]])

    def _value(
        self, place: int, inputs: list[tuple[_Member, Column]], buffer: Bytes, row_indptr: Int64s, bias: int
    ) -> FeatureBlock:
        rows = np.arange(row_indptr[-1])
        events = np.repeat(np.arange(len(row_indptr) - 1), np.diff(row_indptr))
        hashes: tabular.Hashes | None = None
        for member, column in inputs:
            assert not isinstance(member, TextFeature)
            slots = rows if member.per_row else events
            new = tabular.value_hashes(member, column, buffer, slots, tabular.value_salts(self.spec.seed, place))
            if hashes is None:
                hashes = new
            else:
                tabular.combine_hashes(hashes, new)
        assert hashes is not None
        ids = np.empty(len(rows), np.int32)
        multiplier = np.uint64(hashing.salt(self.spec.seed, 64 * place + hashing.SALT_VALUE_BUCKET))
        tabular.bucket_hashes(hashes, multiplier, self._shift, ids)
        if bias >= 0:
            ids = np.stack([np.full(len(rows), bias, np.int32), ids], axis=1).reshape(-1)
        return FeatureBlock(np.arange(len(rows) + 1) * (2 if bias >= 0 else 1), ids)


@kernel
def join_rows(a_ptr: Int64s, a: Int32s, b_ptr: Int64s, b: Int32s, out_ptr: Int64s, out: Int32s) -> None:
    """Join two blocks: each row has its ids of the first, then those of the second."""
    at = 0
    for row in range(len(a_ptr) - 1):
        for i in range(a_ptr[row], a_ptr[row + 1]):
            out[at] = a[i]
            at += 1
        for i in range(b_ptr[row], b_ptr[row + 1]):
            out[at] = b[i]
            at += 1
        out_ptr[row + 1] = at


def _join(parts: Sequence[FeatureBlock]) -> FeatureBlock:
    joined = parts[0]
    for part in parts[1:]:
        out = np.empty(len(joined.indices) + len(part.indices), np.int32)
        indptr = np.zeros(len(joined.indptr), np.int64)
        join_rows(joined.indptr, joined.indices, part.indptr, part.indices, indptr, out)
        joined = FeatureBlock(indptr, out)
    return joined


def featurize_texts(spec: FeatureSpec, texts: Sequence[str | bytes], field: str = "text") -> FeatureBlock:
    """Make the ids of texts for training: the same kernels on a column of one field."""
    encoded = [t.encode() if isinstance(t, str) else t for t in texts]
    n = len(encoded)
    indptr = np.concatenate([[0], np.cumsum([len(t) for t in encoded])]).astype(np.int64)
    column = TextColumn(np.full(n, Presence.PRESENT, np.uint8), np.frombuffer(b"".join(encoded), np.uint8), indptr)
    return Featurizer(spec)(FieldColumns(np.zeros(n, np.uint8), np.arange(n + 1, dtype=np.int64), {field: column}))

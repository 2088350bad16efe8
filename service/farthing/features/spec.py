"""Feature specs: what is made of an event's fields, declared once, carried in the bundle, for training and serving."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final

from farthing.errors import ConfigError
from farthing.features.hashing import HASH_NAME
from farthing.features.pair_spec import PairFeature

MAX_GRAM_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class TextFeature:
    """Hashed n-grams of a text field.

    The text is cut after ``max_bytes`` (perhaps inside a character) and folded:

    - ``lowercase``: ASCII A-Z become a-z. Other letters stay: case folding beyond ASCII depends on the language.
    - ``fold``: bytes up to 0x20 and 0x7F become spaces, and runs of spaces one space; of three or more equal bytes
      below 0x80 in a row, two are kept (``soooo`` becomes ``soo``, ``!!!!`` becomes ``!!``).

    A word is a maximal run of ASCII letters, digits, apostrophes and bytes from 0x80 on. ``words`` makes a feature of
    each word, ``word_bigrams`` of each two neighbours, ``char_ngrams`` (low, high) of every run of low to high bytes
    (1 to 8) of the folded text with a space added before and after it; None makes none.
    """

    kind: ClassVar[str] = "text"
    field: str = "text"
    lowercase: bool = True
    fold: bool = True
    words: bool = True
    word_bigrams: bool = True
    char_ngrams: tuple[int, int] | None = (4, 4)
    max_bytes: int = 8192
    per_row: bool = False  # the field lies in the plan's array

    def __post_init__(self) -> None:
        if self.char_ngrams is not None:
            low, high = self.char_ngrams
            if not 1 <= low <= high <= MAX_GRAM_BYTES:
                raise ConfigError(f"feature {self.field}: char_ngrams is {low}..{high}, expected 1 <= low <= high <= 8")
        if not 1 <= self.max_bytes <= 1 << 24:
            raise ConfigError(f"feature {self.field}: max_bytes is {self.max_bytes}, expected 1 to {1 << 24}")
        if not (self.words or self.word_bigrams or self.char_ngrams):
            raise ConfigError(f"feature {self.field}: none of words, word_bigrams and char_ngrams is switched on")


@dataclass(frozen=True, slots=True)
class CategoricalFeature:
    """The whole value of a text or raw field as one feature; missing and null each count as a value."""

    kind: ClassVar[str] = "categorical"
    field: str
    per_row: bool = False


@dataclass(frozen=True, slots=True)
class NumericFeature:
    """The interval a number is in: interval k is boundaries[k-1] <= x < boundaries[k]; missing is one of its own."""

    kind: ClassVar[str] = "numeric"
    field: str
    boundaries: tuple[float, ...]
    per_row: bool = False

    def __post_init__(self) -> None:
        if not self.boundaries or any(not a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ConfigError(f"feature {self.field}: boundaries {self.boundaries} must be ascending numbers")


@dataclass(frozen=True, slots=True)
class CrossFeature:
    """The combination of several values: ``fields`` name categorical or numeric features of the same spec."""

    kind: ClassVar[str] = "cross"
    fields: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.fields) < 2:
            raise ConfigError(f"cross of {self.fields}: a cross needs at least two fields")


Feature = TextFeature | CategoricalFeature | NumericFeature | CrossFeature | PairFeature
_KINDS: Final[dict[str, type[Any]]] = {
    cls.kind: cls for cls in (TextFeature, CategoricalFeature, NumericFeature, CrossFeature, PairFeature)
}


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """All features of a model. Every row begins with one bias feature; the others follow in this order."""

    n_buckets: int = 1 << 18  # a power of two
    features: tuple[Feature, ...] = (TextFeature(),)
    seed: int = 0
    hash: str = HASH_NAME

    def __post_init__(self) -> None:
        if not 2 <= self.n_buckets <= 1 << 30 or self.n_buckets & (self.n_buckets - 1):
            raise ConfigError(f"n_buckets is {self.n_buckets}, expected a power of two from 2 to {1 << 30}")
        if self.hash != HASH_NAME:
            raise ConfigError(f"hash is {self.hash!r}; this version computes {HASH_NAME!r} only")
        if not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"seed is {self.seed}, expected 0 to 2**63 - 1")
        if not self.features:
            raise ConfigError("a feature spec needs a feature")
        if sum(isinstance(feature, PairFeature) for feature in self.features) > 1:
            raise ConfigError("a feature spec can have one pair feature")
        crossable = {f.field for f in self.features if isinstance(f, CategoricalFeature | NumericFeature)}
        for feature in self.features:
            if isinstance(feature, CrossFeature) and not set(feature.fields) <= crossable:
                missing = ", ".join(sorted(set(feature.fields) - crossable))
                raise ConfigError(
                    f"cross of {feature.fields}: {missing} is not a categorical or numeric feature of this spec"
                )

    @property
    def lexicon_sha256(self) -> str:
        """SHA-256 of the ``features.npz`` that these features need; empty when they need none."""
        return "".join(f.lexicon_sha256 for f in self.features if isinstance(f, PairFeature))

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields that are read."""
        names: set[str] = set()
        for f in self.features:
            if isinstance(f, PairFeature):
                names |= {name for name in (f.query, f.text, f.title) if name}
            elif not isinstance(f, CrossFeature):  # its members are features of their own
                names.add(f.field)
        return frozenset(names)

    @property
    def bits(self) -> int:
        """log2(n_buckets)."""
        return self.n_buckets.bit_length() - 1

    @classmethod
    def from_manifest(cls, spec: Mapping[str, Any]) -> FeatureSpec:
        """Read a spec from a manifest's JSON object; keys that are left out have their defaults.

        Raises
        ------
        ConfigError
            A key is unknown, or its value is not allowed.
        """
        values = dict(spec)
        try:
            if "features" in values:
                values["features"] = tuple(_feature(entry) for entry in values["features"])
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"feature spec: {error}; known keys: {', '.join(f.name for f in fields(cls))}") from error

    def to_manifest(self) -> dict[str, Any]:
        """Return the spec as JSON types, complete, so that nothing depends on a default that may change.

        A setting that was added later is left out where its value is what always held before, so that fingerprints of
        older bundles stay valid.
        """
        features = [
            {"kind": f.kind, **{k: v for k, v in asdict(f).items() if (k, v) not in _AS_BEFORE}} for f in self.features
        ]
        plain = {"n_buckets": self.n_buckets, "seed": self.seed, "hash": self.hash, "features": features}
        return json.loads(json.dumps(plain))  # type: ignore[no-any-return]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON of :meth:`to_manifest`: the same for the same features."""
        text = json.dumps(self.to_manifest(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


_AS_BEFORE: Final = (("max_pieces", 0),)


def _feature(entry: Mapping[str, Any]) -> Feature:
    values = {key: _tuples(v) for key, v in entry.items()}
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ConfigError(f"feature kind is {kind!r}, expected one of {', '.join(_KINDS)}")
    return _KINDS[kind](**values)  # type: ignore[no-any-return]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value

"""Facts that the price catalogue lacks, each with its source and date: from the user's file and ``facts.toml``.

They are read once, at start; no other module of this package reads such files.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from farthing.errors import NOT_TOML, ConfigError
from farthing.meter.money import Count, Interval, Number

SHIPPED: Final = Path(__file__).with_name("facts.toml")

Share = Annotated[Number, Field(ge=0, le=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fact(_Entry):
    """What every fact has: where it was read, when, and whether the provider itself confirms it."""

    source: str = Field(min_length=1)
    date: datetime.date
    certain: bool


class CacheFact(Fact):
    """Terms of prompt caching. Hit rates are [fewest, middle, most]."""

    models: tuple[str, ...]
    min_tokens: Count = Field(ge=1)
    step_tokens: Count = Field(ge=1)
    ttl_s: Count = Field(ge=1)
    hit_rate: tuple[Share, Share, Share]
    batch_hit_rate: tuple[Share, Share, Share]


class BatchFact(Fact):
    """Terms of deferred processing, for models without a batch price in the catalogue."""

    models: tuple[str, ...]
    offered: bool
    discount: Share = Decimal(0)
    discount_on_cached: bool = False
    answer_within_h: Count = Field(24, ge=1)


class Tier(_Entry):
    """A provider's limits for one class of customers; None means not published, which is not the same as unlimited."""

    tier: str
    requests_per_min: Count | None = Field(None, ge=1)
    requests_per_day: Count | None = Field(None, ge=1)
    tokens_per_min: Count | None = Field(None, ge=1, description="input and output together")
    input_tokens_per_min: Count | None = Field(None, ge=1)
    output_tokens_per_min: Count | None = Field(None, ge=1)
    batch_queue_tokens: Count | None = Field(None, ge=1, description="input tokens that may wait in batches at once")
    cached_reads_count: bool = True


class LimitFact(Fact, Tier):
    """Limits of some models."""

    models: tuple[str, ...]


class FreeEndpoint(Fact):
    """An endpoint that is free within its limits. Its token factor is relative to the model's own count."""

    endpoint: str
    name: str
    tasks: tuple[str, ...]
    texts_per_request: Count = Field(ge=1)
    token_factor: tuple[Number, Number, Number]
    caveat: str
    tiers: tuple[Tier, ...] = Field(min_length=1)


class TokenizerFact(Fact):
    """How many tokens a family of models makes of a text, relative to the table's encoding [fewest, middle, most]."""

    models: tuple[str, ...]
    name: str
    factor: tuple[Number, Number, Number]


class BytesPerToken(_Entry):
    """Bytes of UTF-8 per token by script: [most, middle, least], so that the first gives the fewest tokens."""

    source: str
    date: datetime.date
    ascii: tuple[Number, Number, Number]
    latin: tuple[Number, Number, Number]
    cyrillic: tuple[Number, Number, Number]
    arabic: tuple[Number, Number, Number]
    indic: tuple[Number, Number, Number]
    cjk: tuple[Number, Number, Number]
    other: tuple[Number, Number, Number]
    structured: tuple[Number, Number, Number]
    prose: tuple[Number, Number, Number]


_ForModels = TypeVar("_ForModels", CacheFact, BatchFact, TokenizerFact)


class _File(_Entry):
    cache: tuple[CacheFact, ...] = ()
    batch: tuple[BatchFact, ...] = ()
    limit: tuple[LimitFact, ...] = ()
    free: tuple[FreeEndpoint, ...] = ()
    tokenizer: tuple[TokenizerFact, ...] = ()
    bytes_per_token: BytesPerToken | None = None

    @model_validator(mode="after")
    def _check(self) -> _File:
        for fact in self.tokenizer:
            Interval.of(*fact.factor)
        for free in self.free:
            Interval.of(*free.token_factor)
        for cache in self.cache:
            Interval.of(*cache.hit_rate)
            Interval.of(*cache.batch_hit_rate)
        return self


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts; the user's come before the shipped ones. A model is named ``provider:model``."""

    _cache: Sequence[CacheFact]
    _batch: Sequence[BatchFact]
    _limits: Sequence[LimitFact]
    _free: Sequence[FreeEndpoint]
    _tokenizers: Sequence[TokenizerFact]
    bytes_per_token: BytesPerToken

    def cache(self, model: str) -> CacheFact | None:
        """Return the caching terms of a model; None when nothing is known."""
        return _first(self._cache, model)

    def batch(self, model: str) -> BatchFact | None:
        """Return the batch terms of a model; None when nothing is known."""
        return _first(self._batch, model)

    def tokenizer(self, model: str) -> TokenizerFact | None:
        """Return how many tokens the model makes of a text; None when nothing is known."""
        return _first(self._tokenizers, model)

    def limits(self, model: str) -> tuple[LimitFact, ...]:
        """Return the published tiers of a model, lowest first; empty when none is known."""
        return tuple(fact for fact in self._limits if _matches(fact.models, model))

    def free_endpoints(self, task: str) -> tuple[FreeEndpoint, ...]:
        """Return the free endpoints for this task."""
        return tuple(fact for fact in self._free if task in fact.tasks)


def load_facts(own: Path | None = None) -> Facts:
    """Read the shipped facts and the user's, which take precedence.

    Raises
    ------
    ConfigError
        The user's file cannot be read, or an entry is wrong; the message says which, and why.
    """
    shipped = _read(SHIPPED)
    user = _File() if own is None else _read(own)
    table = user.bytes_per_token or shipped.bytes_per_token
    if table is None:
        raise ConfigError(f"{SHIPPED}: has no [bytes_per_token] table")
    return Facts(
        (*user.cache, *shipped.cache),
        (*user.batch, *shipped.batch),
        # The user's tiers replace the shipped ones of the same models: limits are not merged.
        (*user.limit, *(f for f in shipped.limit if not any(set(f.models) & set(u.models) for u in user.limit))),
        (*user.free, *(f for f in shipped.free if f.endpoint not in {u.endpoint for u in user.free})),
        (*user.tokenizer, *shipped.tokenizer),
        table,
    )


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(read_toml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from error


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file with exact decimals; ConfigError says why it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except NOT_TOML as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error}); see {SHIPPED.parent} for the form") from error


def explain(error: ValidationError) -> str:
    """Say what is wrong with a file's entries, in one sentence for each."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'the file'}: {item['msg'].removeprefix('Value error, ')}"
        for item in error.errors(include_url=False)
    )


def _matches(patterns: Sequence[str], model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _first(facts: Sequence[_ForModels], model: str) -> _ForModels | None:
    return next((fact for fact in facts if _matches(fact.models, model)), None)

"""Recipes of rerank bundles, as sections of TOML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from farthing.distill.recipe_file import Dim, Hidden, Recipe, Section, StudentSize, read_recipe_file
from farthing.errors import ConfigError
from farthing.features import PairFeature
from farthing.features.lexicon import MIN_SLOTS


class QuerySource(Section):
    """Queries with labelled candidates. Paths are relative to the data folder."""

    name: str
    train: str
    test: str
    licence: str
    note: str = ""
    text: str = Field("text", description="field with the candidate's text")
    title: str = Field("title", description="field with its title; none is read when empty")
    relevant: float = Field(1.0, description="label from which a candidate is relevant")


class Elsewhere(Section):
    """A set that is only measured on, never learnt from."""

    name: str
    rows: str
    licence: str
    score: str | None = Field(None, description="field with the first stage's score")
    first_stage: str | None = Field(None, description="only rows with a rank under this name in their ranks")
    qrels: str | None = Field(None, description="CSV of all judgements (qid, docid, label), for the ideal ranking")
    relevant: float = 1.0


class Background(Section):
    """Texts of everyday language (JSON lines with ``text``): words that are common there weigh little."""

    name: str
    texts: str
    licence: str


class GlossSource(Section):
    """A folder of WordNet 3, whose definitions are texts to learn word vectors from."""

    name: str
    folder: str
    licence: str
    note: str = ""


class Words(Section):
    """The lexicon."""

    slots: int = Field(1 << 15, ge=MIN_SLOTS)
    least_texts: int = Field(2, ge=1, description="words of fewer texts are unknown")
    vectors: Literal["none", "minilm"] = "none"
    dim: int = Field(32, ge=8, le=256, multiple_of=8, description="elements of a word vector")
    background: tuple[Background, ...] = ()
    vocabulary: int = Field(20_000, ge=0, description="words with a vector, the commonest first")
    max_pieces: int = Field(
        0,
        ge=0,
        le=16,
        description="a word without a vector is cut into at most this many of the teacher's word pieces, whose vectors "
        "are learnt too: all of the teacher's words and pieces have one then, beside vocabulary words of the training "
        "texts; 0: such a word has none",
    )
    epochs: int = Field(
        0,
        ge=0,
        description="of learning the vectors from the teacher's of whole texts: the training texts, background and "
        "glosses; 0 takes the teacher's vector of each word alone",
    )
    learn_weights: bool = Field(
        False, description="learn too what a word weighs in sums of vectors; else its idf is taken"
    )
    whole_texts: bool = Field(
        False, description="learn from the training texts whole too, not only sentence by sentence"
    )
    glosses: tuple[GlossSource, ...] = ()
    max_tokens: int = Field(64, ge=8, le=512, description="of a text that vectors are learnt from")

    @model_validator(mode="after")
    def _learning_fits(self) -> Words:
        if self.epochs and self.vectors == "none":
            raise ValueError("epochs is for learning vectors, and vectors is 'none'; take 'minilm', or epochs = 0")
        if (self.max_pieces or self.learn_weights or self.whole_texts) and not self.epochs:
            raise ValueError(
                "max_pieces, learn_weights and whole_texts are for learning vectors, and epochs is 0; raise it, or "
                "leave them out"
            )
        if self.glosses and not self.epochs:
            raise ValueError("glosses are read to learn vectors, and epochs is 0; raise it, or leave glosses out")
        return self


class PairSettings(Section):
    """The pair feature: its settings, and which numbers it has. Boundaries are quantiles of the training pairs."""

    n_buckets: int = 1 << 15
    seed: int = 7
    settings: dict[str, Any] = Field(default_factory=dict)
    numbers: tuple[str, ...]
    intervals: int = Field(16, ge=2, le=255)
    crosses: tuple[tuple[str, str], ...] = ()


class Lists(Section):
    """More lists to learn from, made from the training texts alone: queries with what a first stage finds for them."""

    queries: int = Field(0, ge=0, description="training queries to retrieve for; 0 makes no lists")
    sentences: int = Field(0, ge=0, description="pieces of training texts that stand for queries")
    glosses: int = Field(
        0, ge=0, description="pieces of runs of words.glosses' glosses that stand for queries among such runs: of all "
        "subjects, where the training texts are of one"
    )  # fmt: skip
    depth: int = Field(50, ge=2, description="candidates in a list")
    temperature: float = Field(0.05, gt=0, description="of the teacher's cosine; smaller is sharper")
    first_stage_weight: float = Field(
        0.0, ge=0, description="of the first stage's score (deviation 1) beside the teacher's cosine over temperature"
    )
    gold_weight: float = Field(0.5, ge=0, le=1, description="share of the gold label where the answer is in the list")
    max_tokens: int = Field(96, ge=8, le=512, description="of a text that the teacher reads")
    own: bool = Field(False, description="the teacher's opinion of the training lists themselves too")
    seed: int = 0

    @property
    def depth_used(self) -> bool:
        """Whether a teacher is used at all."""
        return self.queries > 0 or self.sentences > 0 or self.glosses > 0 or self.own


class Size(StudentSize):
    """Size of the student."""

    dim: Dim = 32
    hidden: Hidden = 32


class Training(Section):
    """How the student is trained."""

    epochs: int = Field(12, ge=1)
    batch: int = Field(16, ge=1, description="lists")
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    feature_dropout: float = Field(0.1, ge=0, lt=1)
    patience: int = Field(4, ge=1, description="epochs without a better dev score before it stops")
    seed: int = 0
    metric: Literal["map", "mrr", "ndcg@10"] = "map"


class RankingRecipe(Recipe):
    """A whole recipe."""

    task: Literal["rerank"]
    evaluation_note: str = Field("", description="what a reader of the card must know of how tests were used")
    source: tuple[QuerySource, ...] = Field(min_length=1)
    elsewhere: tuple[Elsewhere, ...] = ()
    words: Words = Field(default_factory=Words)
    pairs: PairSettings
    lists: Lists = Field(default_factory=Lists)
    student: Size = Field(default_factory=Size)
    training: Training = Field(default_factory=Training)

    @model_validator(mode="after")
    def _parts_fit(self) -> RankingRecipe:
        try:  # before anything is learnt
            PairFeature(**self.pairs.settings, max_pieces=self.words.max_pieces)
        except (ConfigError, TypeError) as error:
            raise ValueError(f"pairs.settings: {error}") from error
        if self.lists.glosses and not self.words.glosses:
            raise ValueError("lists.glosses needs a [[words.glosses]] to make lists of")
        return self


def read_recipe(path: Path) -> tuple[RankingRecipe, str]:
    """Read a recipe; returns its SHA-256 too. Raises ConfigError if it is invalid."""
    return read_recipe_file(path, RankingRecipe)

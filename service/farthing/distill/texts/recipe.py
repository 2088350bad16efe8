"""Recipes of moderation and classify: TOML files that define everything that goes into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from farthing.distill.recipe_file import Dim, Hidden, Recipe, Section, StudentSize, TrainingCost, read_recipe_file
from farthing.distill.teachers.minilm import MiniLMTeacher
from farthing.errors import ConfigError
from farthing.features import FeatureSpec, TextFeature
from farthing.payload import Field as PlanField
from farthing.payload import FieldPlan
from farthing.tasks import classify, moderation

INTERVALS = "intervals"
"""Key of a numeric feature: a number of intervals, whose boundaries are taken from the training files."""

Heads = dict[str, str]
"""Head -> column. A column is a key of the row, or keys with dots between."""


class EventField(Section):
    """One field of the bundle's field plan."""

    name: str
    path: str
    kind: Literal["text", "raw", "number"] = "text"
    required: bool = False


class LabelledSource(Section):
    """One data set: JSON lines, CSV or TSV, compressed or not. Paths are relative to the data folder."""

    name: str
    train: str
    dev: str | None = Field(None, description="without one, a tenth of train is held out by a hash of the text")
    test: str | None = Field(None, description="without one, another tenth of train")
    event: str | None = Field(None, description="column that holds the event; without one the row is the event")
    id: str = Field("id", description="column that names a row; rows may be without it")
    gold: Heads = Field(default_factory=dict, description="head -> column of 0/1 or a share; null where unknown")
    positive: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="head -> the labels of its gold column that mean yes, where they are words"
    )
    teacher: dict[str, Heads] = Field(default_factory=dict, description="teacher of kind given -> its columns")
    licence: str
    note: str = ""


class GivenTeacher(Section):
    """A teacher whose predictions are in the data files."""

    kind: Literal["given"]
    name: str
    output: Literal["probability", "logit", "label"] = "probability"
    weight: float = Field(1.0, gt=0)


class LinearTeacher(Section):
    """TF-IDF and naive-Bayes logistic regressions, trained on gold; predictions on their own texts are out of fold."""

    kind: Literal["linear"]
    name: str = "linear"
    folds: int = Field(5, ge=2, le=20)
    weight: float = Field(1.0, gt=0)
    label_copies: bool = Field(True, description="whether it labels the perturbed copies too")


Teacher = Annotated[GivenTeacher | LinearTeacher | MiniLMTeacher, Field(discriminator="kind")]


class Augment(Section):
    """Perturbed copies of the training texts, labelled by the local teachers."""

    copies: int = Field(0, ge=0, le=50)
    drop_words: float = Field(0.1, ge=0, lt=1, description="chance of each word to be left out")
    swap_words: float = Field(0.1, ge=0, lt=1, description="chance of each word to become one of another text")
    join: float = Field(0.3, ge=0, le=1, description="chance that a copy is two halves of two texts")


class Size(StudentSize):
    """Size of the student."""

    dim: Dim = 16
    hidden: Hidden = 32


class Loss(Section):
    """Soft targets of the teachers mixed with gold."""

    temperature: float = Field(1.0, gt=0, le=20, description="both logits are divided by it before they are compared")
    gold_weight: float = Field(0.5, ge=0, le=1, description="share of gold where a row has gold and a teacher")
    class_weights: Literal["none", "balanced"] = "none"


class Training(Section):
    """How the student is trained."""

    start: Literal["linear", "random"] = "linear"
    linear_penalty: float = Field(4.0, gt=0, description="L2 penalty of the linear models that training starts at")
    epochs: int = Field(12, ge=0, description="0: the start itself is the student")
    batch: int = Field(256, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-6, ge=0)
    feature_dropout: float = Field(0.4, ge=0, lt=1)
    average: float = Field(0.0, ge=0, lt=1, description="decay a step of a running mean of the weights; 0 is without")
    quantization_aware_epochs: int = Field(0, ge=0, description="last epochs, trained on weights rounded as int8")
    patience: int = Field(3, ge=1, description="epochs without a better dev score before it stops")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _something_is_trained(self) -> Training:
        if self.epochs == 0 and self.start == "random":
            raise ValueError(
                "epochs = 0 keeps the start, and a random start is not a model; raise epochs, or set start = 'linear'"
            )
        return self


class Cuts(Section):
    """What the thresholds are chosen for, on dev."""

    review: Literal["macro_f1", "precision", "recall"] = "macro_f1"
    review_goal: float | None = Field(None, gt=0, le=1, description="precision or recall to reach; not for macro_f1")
    block_precision: float = Field(0.9, gt=0, le=1)
    deciding: tuple[str, ...] = Field((), description="heads that have a say in the label; empty: all")

    @model_validator(mode="after")
    def _goal_fits(self) -> Cuts:
        if (self.review == "macro_f1") != (self.review_goal is None):
            raise ValueError(
                f"review = {self.review!r} with review_goal = {self.review_goal}: precision and recall need a goal, "
                "macro_f1 takes none"
            )
        return self


class Card(TrainingCost):
    """What people must know about the bundle and no program can find out."""

    intended_use: str = "Not stated in the recipe."
    limits: str = "Not stated in the recipe."
    bias: str = "Not stated in the recipe."


class Slice(Section):
    """Test rows that mention one of some words, which may be false positives more often than others."""

    name: str
    words: tuple[str, ...] = Field(min_length=1, description="whole words, in lower case")


class Elsewhere(Section):
    """A set of another domain that nothing was trained or chosen on; it shows how well a head transfers."""

    name: str
    file: str
    head: str
    label: str = "label"


class Sweep(Section):
    """What ``--sweep`` tries: every combination."""

    n_buckets: tuple[int, ...] = ()
    dim: tuple[Dim, ...] = ()
    char_ngrams: tuple[tuple[int, int] | Literal["none"], ...] = ()
    word_bigrams: tuple[bool, ...] = ()
    epochs: int | None = Field(None, ge=1, description="epochs of each try; default: the recipe's")
    max_ns_per_event: float = Field(400.0, gt=0, description="budget: featurize, embedding bag and net, one core")


class TextRecipe(Recipe):
    """A whole recipe."""

    task: Literal["moderation", "classify"]
    field: tuple[EventField, ...] = (
        EventField(name="id", path="id", kind="raw"),
        EventField(name="text", path="text", required=True),
    )
    source: tuple[LabelledSource, ...] = Field(min_length=1)
    teacher: tuple[Teacher, ...] = ()
    augment: Augment = Field(default_factory=Augment)
    features: dict[str, Any]
    student: Size = Field(default_factory=Size)
    loss: Loss = Field(default_factory=Loss)
    training: Training = Field(default_factory=Training)
    cuts: Cuts = Field(default_factory=Cuts)
    elsewhere: tuple[Elsewhere, ...] = ()
    slice: tuple[Slice, ...] = ()
    card: Card = Field(default_factory=Card)
    sweep: Sweep = Field(default_factory=Sweep)

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads in the order in which the sources name them."""
        named: list[str] = []
        for source in self.source:
            named += [*source.gold, *(head for columns in source.teacher.values() for head in columns)]
        return tuple(dict.fromkeys(named))

    @property
    def local_teachers(self) -> tuple[LinearTeacher | MiniLMTeacher, ...]:
        """The teachers that are trained here."""
        return tuple(t for t in self.teacher if not isinstance(t, GivenTeacher))

    def plan(self) -> FieldPlan:
        """Return the field plan."""
        return FieldPlan(tuple(PlanField(f.name, f.path, f.kind, f.required) for f in self.field))

    def spec(self) -> FeatureSpec:
        """Return the feature spec.

        Numeric features with ``intervals`` have one boundary until :mod:`farthing.distill.texts.intervals` has found
        them, which is enough to check the recipe before any file is read.
        """
        entries = [_settled(entry) for entry in self.features.get("features", ())]
        return FeatureSpec.from_manifest({**self.features, **({"features": entries} if entries else {})})

    @property
    def labels(self) -> tuple[str, ...]:
        """The bundle's labels."""
        return moderation.LABELS if self.task == "moderation" else classify.labels_of(self.heads)

    @property
    def text_field(self) -> str | None:
        """Name of the first text feature's field, which local teachers read."""
        return next((f.field for f in self.spec().features if isinstance(f, TextFeature)), None)

    @model_validator(mode="after")
    def _parts_fit(self) -> TextRecipe:
        try:
            spec = self.spec()
            self.plan()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        names = [f.name for f in self.field]
        for name in sorted(spec.fields.difference(names)):
            raise ValueError(f"feature {name}: no such [[field]]; there are {', '.join(names)}")
        numbers = {f.name for f in self.field if f.kind == "number"}
        strangers = {f["field"] for f in self.features.get("features", ()) if INTERVALS in f} - numbers
        if strangers:
            raise ValueError(f"features {sorted(strangers)} have {INTERVALS} but are not a [[field]] of kind number")
        self._heads_fit()
        return self._teachers_fit()

    def _heads_fit(self) -> None:
        if self.task == "classify" and classify.NONE in self.heads:
            raise ValueError(f"a head is called {classify.NONE!r}, the label of events without a class; rename it")
        if not self.heads:
            raise ValueError("no source names a head: give one of them gold = { HEAD = COLUMN } or teacher columns")

    def _teachers_fit(self) -> TextRecipe:
        given = {t.name for t in self.teacher if isinstance(t, GivenTeacher)}
        names = [t.name for t in self.teacher]
        if len(set(names)) < len(names):
            raise ValueError(f"two teachers of one name in {names}")
        for source in self.source:
            unknown = source.teacher.keys() - given
            if unknown:
                raise ValueError(f"source {source.name}: teacher {sorted(unknown)} is not a [[teacher]] of kind given")
            if headless := sorted(source.positive.keys() - source.gold.keys()):
                raise ValueError(f"source {source.name}: positive names {headless}, which are not heads of its gold")
            if not source.gold and not source.teacher and not self.local_teachers:
                raise ValueError(
                    f"source {source.name} has neither gold nor a teacher: nothing could be learned from it"
                )
        for teacher in self.local_teachers:
            if isinstance(teacher, MiniLMTeacher):
                strangers = {*teacher.sources, *teacher.most_rows} - {s.name for s in self.source}
                if strangers:
                    raise ValueError(f"teacher {teacher.name} names {sorted(strangers)}, which are not sources")
        unknown = ({e.head for e in self.elsewhere} | set(self.cuts.deciding)) - set(self.heads)
        if unknown:
            raise ValueError(
                f"elsewhere or cuts.deciding names the heads {sorted(unknown)}, expected some of {self.heads}"
            )
        if self.local_teachers and self.text_field is None:
            raise ValueError("local teachers read text, and [features] has no feature of kind text")
        if self.augment.copies and not any(t.label_copies for t in self.local_teachers):
            raise ValueError("augment.copies needs a local teacher (kind linear or minilm) that labels copies")
        return self


def _settled(entry: Any) -> Any:
    if not isinstance(entry, dict) or INTERVALS not in entry:
        return entry
    count = entry[INTERVALS]
    if entry.get("kind") != "numeric" or "boundaries" in entry:
        raise ConfigError(f"feature {entry.get('field')}: {INTERVALS} is for numeric features without boundaries")
    if not isinstance(count, int) or isinstance(count, bool) or not 2 <= count <= 256:
        raise ConfigError(f"feature {entry.get('field')}: {INTERVALS} is {count!r}, expected 2 to 256")
    return {**{key: value for key, value in entry.items() if key != INTERVALS}, "boundaries": [0.0]}


def read_recipe(path: Path) -> tuple[TextRecipe, str]:
    """Read a recipe; returns its SHA-256 too. Raises ConfigError if it is invalid."""
    return read_recipe_file(path, TextRecipe)

"""Recipes of bidding: how the columns of a click log go into a BidRequest, and what is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from farthing.distill.recipe_file import Dim, Hidden, Recipe, Section, StudentSize, TrainingCost, read_recipe_file
from farthing.errors import ConfigError
from farthing.evaluate.requests import LogColumn, RequestMap
from farthing.features import CategoricalFeature, CrossFeature, FeatureSpec, NumericFeature
from farthing.features.pair_spec import PairFeature
from farthing.payload import Field as PlanField
from farthing.payload import FieldPlan
from farthing.tasks.bidding import FIELDS


class ClickSource(Section):
    """One click log: CSV, TSV or JSON lines, compressed or not. Paths are relative to the data folder."""

    name: str
    train: str
    test: str
    id: str = Field("id", description="column that names a row; becomes the request's id")
    click: str = Field("click", description="column of 0 and 1")
    absent: tuple[str, ...] = Field(("",), description="values that mean that there is none")
    licence: str
    note: str = ""


class Column(Section):
    """One column of the log, and the path in the BidRequest where its value goes; also the field's name in features."""

    column: str
    path: str
    kind: Literal["text", "number"] = "text"
    values: dict[str, str | float] = Field(default_factory=dict, description="what a value becomes; empty: itself")
    name: str | None = Field(None, description="field name; default: the column's")

    @property
    def field(self) -> str:
        """The name of the field."""
        return self.column if self.name is None else self.name


class Constant(Section):
    """A value that every request of this log has."""

    path: str
    value: str | float | int | list[str]


class Size(StudentSize):
    """Size of the student."""

    dim: Dim = 16
    hidden: Hidden = 16


class Boosting(Section):
    """The teacher: gradient-boosted trees (LightGBM) on the log's columns; its predictions on train are out of fold."""

    rounds: int = Field(150, ge=1)
    leaves: int = Field(6, ge=2)
    learning_rate: float = Field(0.03, gt=0)
    min_leaf_rows: int = Field(100, ge=1)
    category_smoothing: float = Field(50.0, ge=0)


class Training(Section):
    """How the student is trained; cross-validation chooses the number of epochs."""

    folds: int = Field(5, ge=2, le=20)
    epochs: int = Field(10, ge=1, description="at most")
    batch: int = Field(512, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    feature_dropout: float = Field(0.2, ge=0, lt=1)
    gold_weight: float = Field(0.5, ge=0, le=1, description="share of the clicks themselves; the rest is the teacher's")
    seed: int = Field(0, ge=0)


class Market(Section):
    """Recorded market prices, to which c and lambda of the ortb strategy are fitted."""

    histogram: str = Field(description="rows of market_price (0, 1, 2, ... steps), impressions")
    step: float = Field(gt=0, description="units of currency per thousand impressions that one price step is")
    budget_factor: float = Field(gt=0, le=1, description="share of what all impressions cost that may be spent")


class ClickRecipe(Recipe):
    """A whole recipe."""

    task: Literal["bidding"]
    shipped: bool = Field(False, description="whether the licence lets the weights be shipped")
    source: ClickSource
    column: tuple[Column, ...] = Field(min_length=1)
    constant: tuple[Constant, ...] = ()
    features: dict[str, Any]
    student: Size = Field(default_factory=Size)
    teacher: Boosting | None = None
    training: Training = Field(default_factory=Training)
    slices: tuple[str, ...] = Field((), description="fields whose values are measured apart on test")
    campaign: dict[str, Any]
    market: Market | None = None
    card: TrainingCost = Field(default_factory=TrainingCost)

    def spec(self) -> FeatureSpec:
        """Return the feature spec."""
        return FeatureSpec.from_manifest(self.features)

    def plan(self) -> FieldPlan:
        """Return the field plan: the fields of every bidding plan, then the features' and the campaign's."""
        fields = [PlanField(*entry) for entry in FIELDS]
        task_fields = {field.name for field in fields}
        numbers = {f.field for f in self.spec().features if isinstance(f, NumericFeature)}
        used = {
            name
            for f in self.spec().features
            if not isinstance(f, PairFeature)
            for name in (f.fields if isinstance(f, CrossFeature) else (f.field,))
        } | set(self.campaign.get("offers", ()))  # fmt: skip
        fields += [
            PlanField(column.field, column.path, "number" if column.field in numbers else "raw")
            for column in self.column
            if column.field in used - task_fields
        ]
        fields += [PlanField(name, f"imp[*].{path}", "raw") for name, path in self.offered().items()]
        return FieldPlan(tuple(fields))

    def requests(self) -> RequestMap:
        """Return the map from rows of the log to requests."""
        return RequestMap(
            id=self.source.id,
            click=self.source.click,
            absent=self.source.absent,
            columns=tuple(LogColumn(c.column, c.path, c.kind, c.field, dict(c.values)) for c in self.column),
            constants=tuple((constant.path, constant.value) for constant in self.constant),
        )

    def offered(self) -> dict[str, str]:
        """Return the formats that a campaign may name in ``offers``: field name -> path in the impression."""
        paths = {"banner_w": "banner.w", "banner_format": "banner.format", "native_request": "native.request"}
        taken = {column.path for column in self.column}
        return {n: p for n, p in paths.items() if n in self.campaign.get("offers", ()) and f"imp[*].{p}" not in taken}

    @model_validator(mode="after")
    def _parts_fit(self) -> ClickRecipe:
        try:
            plan, spec = self.plan(), self.spec()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        names = {field.name for field in plan.fields}
        for feature in spec.features:
            if isinstance(feature, CategoricalFeature | NumericFeature):
                if feature.field not in names:
                    raise ValueError(f"feature {feature.field} is neither a [[column]] nor a field of the task")
                in_array = next(field.in_array for field in plan.fields if field.name == feature.field)
                if feature.per_row != in_array:
                    raise ValueError(
                        f"feature {feature.field}: per_row is {feature.per_row}, its path says {in_array}: fields "
                        "below imp[*] have one value per impression"
                    )
        unknown = set(self.slices) - {column.field for column in self.column}
        if unknown:
            raise ValueError(f"slices names {sorted(unknown)}, which is not a [[column]]")
        if (self.market is None) != (self.campaign.get("strategy", "linear") != "ortb"):
            raise ValueError("[market] and the campaign's strategy = 'ortb' belong together")
        return self


def read_click_recipe(path: Path) -> tuple[ClickRecipe, str]:
    """Read a recipe; returns its SHA-256 too. Raises ConfigError if it is invalid."""
    return read_recipe_file(path, ClickRecipe)

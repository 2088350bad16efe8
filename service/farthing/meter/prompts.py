"""The prompt model: how many tokens an API would be sent for one event of a task, and how many would come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from farthing.errors import ConfigError
from farthing.meter.facts import BytesPerToken, TokenizerFact, explain, read_toml
from farthing.meter.money import Exact, Interval, Scenario, exact
from farthing.meter.tokens import Script

SHIPPED: Final = Path(__file__).with_name("prompts.toml")

_Count = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
_Three = tuple[_Count, _Count, _Count]


class TaskPrompt(BaseModel):
    """A task's entry in ``prompts.toml``; the file says what the fields mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scripts: Mapping[Script, int]
    payload_bytes: int = Field(ge=1)
    payload_source: str
    rows: int = Field(ge=1)
    framing: _Three
    item: _Three
    output_per_row: _Three
    output_per_item: _Three
    system: str


@dataclass(frozen=True, slots=True)
class CallShape:
    """The tokens of one call before caching: ``prefix`` is the same in all calls, ``rest`` is not."""

    prefix: Fraction
    rest: Fraction
    output: Fraction

    @property
    def input(self) -> Fraction:
        """All input tokens."""
        return self.prefix + self.rest


@dataclass(frozen=True, slots=True)
class PromptModel:
    """Tokens of a call as intervals, counted by the model that is asked."""

    task: str
    system: Interval
    system_source: str
    framing: Interval
    item: Interval
    output_per_row: Interval
    output_per_item: Interval

    def shape(self, payload_tokens: Fraction, rows: Fraction, packed: int, scenario: Scenario) -> CallShape:
        """Return a call that holds ``packed`` events of ``payload_tokens`` and ``rows`` each.

        A packed event adds its frame to the prompt and its number to the answer; a single one adds neither.
        """
        item = self.item.at(scenario) if packed > 1 else Fraction(0)
        number = self.output_per_item.at(scenario) if packed > 1 else Fraction(0)
        return CallShape(
            self.system.at(scenario),
            self.framing.at(scenario) + packed * (payload_tokens + item),
            packed * (rows * self.output_per_row.at(scenario) + number),
        )


def load_prompts() -> Mapping[str, TaskPrompt]:
    """Read the shipped prompts by task."""
    values = read_toml(SHIPPED)
    try:
        return {task: TaskPrompt.model_validate(entry) for task, entry in values.items()}
    except ValidationError as error:
        raise ConfigError(f"{SHIPPED}: {explain(error)}") from error


def prompt_model(
    task: str,
    entry: TaskPrompt,
    table: BytesPerToken,
    tokenizer: TokenizerFact | None,
    *,
    system_text: str | None = None,
    system_tokens: Exact | None = None,
) -> PromptModel:
    """Make the prompt model of a task for a model.

    Parameters
    ----------
    task, entry:
        The task and its entry.
    table, tokenizer:
        Bytes per token, and the family of the model that is asked.
    system_text:
        The user's own instructions instead of the shipped ones.
    system_tokens:
        Their exact length, if the user has counted it; takes precedence over ``system_text``.
    """
    if system_tokens is not None:
        system, source = Interval.of(system_tokens), "counted"
    else:
        text = (entry.system if system_text is None else system_text).strip()
        system = Interval(*(len(text.encode()) / exact(ratio) for ratio in table.prose))
        system = system if tokenizer is None else system.times(Interval.of(*tokenizer.factor))
        source = "estimated from " + ("the shipped instructions" if system_text is None else "your instructions")
    return PromptModel(
        task,
        system,
        source,
        Interval.of(*entry.framing),
        Interval.of(*entry.item),
        Interval.of(*entry.output_per_row),
        Interval.of(*entry.output_per_item),
    )

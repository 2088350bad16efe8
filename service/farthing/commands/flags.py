"""What a numeric flag may be: stated beside the flag, or taken from the setting that it overrides.

Both give a validator for :class:`cyclopts.Parameter`, which names the flag and its value before the sentence;
:func:`argument` makes a type for :mod:`argparse` of one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

Validator = Callable[[Any, Any], None]
Number = int | float | Decimal


def within(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False, such_as: str = ""
) -> Validator:
    """Allow finite numbers from ``low`` to ``high``; with ``above`` and ``below`` not those two themselves."""
    bounds = f"more than {low:g}" if above else f"{low:,g} or more"
    if high < math.inf:
        bounds = f"{'more than' if above else 'from'} {low:,g} {'and' if above else 'to'} "
        bounds += f"less than {high:,.10g}" if below else f"at most {high:,.10g}" if above else f"{high:,.10g}"
    example = f", such as {such_as}" if such_as else ""

    def check(_: Any, value: Number | None) -> None:
        if value is None:
            return
        fits = math.isfinite(value) and (value > low if above else value >= low)
        if not fits or not (value < high if below else value <= high):
            raise ValueError(f"Expected {bounds}{example}.")

    return check


def as_setting(section: type[BaseModel], name: str, *, called: str) -> Validator:
    """Allow what the setting ``name`` of a section allows; ``called`` is its dotted name."""
    field = section.model_fields[name]
    kind: Any = field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[(kind, *field.metadata)] if field.metadata else kind)

    def check(_: Any, value: object) -> None:
        if value is None:  # the flag was not given
            return
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"{reason} ({called}).") from error

    return check


def argument(kind: type[int] | type[float], validator: Validator) -> Callable[[str], Number]:
    """Give a type for :mod:`argparse`, which names the flag before the sentence."""

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * (kind is int)}number") from error
        try:
            validator(kind, value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from error
        return value

    return parse

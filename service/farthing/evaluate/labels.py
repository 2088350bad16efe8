"""Reads labels as numbers: 0, 1 and numbers between, or words such as OFF and NOT, yes and no.

Words are understood if the user names those that count as yes (``--positive OFF``), or the column has one of the pairs
below, or a word and its negation (``toxic``, ``not toxic``), or the head's own name among others. Nothing is guessed:
any other column of words is refused, with the words that it has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from farthing.errors import DataError
from farthing.evaluate.cells import named, number
from farthing.files import MISSING, Row

PAIRS: Final = (
    ("yes", "no"),
    ("true", "false"),
    ("y", "n"),
    ("t", "f"),
    ("on", "off"),
    ("off", "not"),  # OffensEval: offensive or not
    ("hof", "not"),  # HASOC: hate speech and offensive, or not
    ("positive", "negative"),
    ("pos", "neg"),
    ("toxic", "clean"),
    ("spam", "ham"),
    ("hate", "normal"),
    ("relevant", "irrelevant"),
    ("click", "no click"),
)  # fmt: skip
"""Words that mean yes and no, in lower case."""

_DENIAL: Final = re.compile(r"(?:non|not|no)[ _-]*(?=\w)")
_MOST_SHOWN: Final = 10


class Labels:
    """A column of labels, row by row.

    Parameters
    ----------
    name, names:
        The column, and what ``--map`` calls it.
    positive:
        The words or numbers that count as yes; all others are no. Empty for numbers, or words that can be understood.
    head:
        The head that is measured or taught: if its name is one of the words, it means yes.
    low, high, nullable, optional:
        For numbers, as for :func:`farthing.evaluate.cells.number`.
    mend:
        For messages: how to say which words mean yes.
    """

    def __init__(
        self,
        name: str,
        names: Mapping[str, str],
        *,
        positive: Sequence[str] = (),
        head: str | None = None,
        low: float = 0.0,
        high: float = 1.0,
        nullable: bool = False,
        optional: bool = False,
        mend: str = "--positive WORD",
    ) -> None:
        self._name, self._names, self._head, self._mend = name, names, head, mend
        self._positive = {_plain(word): word for word in positive}
        self._low, self._high, self._nullable, self._optional = low, high, nullable, optional
        self._values: list[float | str] = []
        self._first_word: Row | None = None
        self._numbers = 0

    def add(self, row: Row) -> float:
        """Take a row's label; returns its number, or NaN for a word or nothing."""
        value = row.get(self._names.get(self._name, self._name))
        text = _plain(_text(value)) if value is not MISSING and value is not None else ""
        if text and (self._positive or (isinstance(value, str) and not _is_number(text))):
            self._values.append(text)
            self._first_word = self._first_word or row
            return math.nan
        label = number(
            row, self._name, self._names, low=self._low, high=self._high, nullable=self._nullable,
            optional=self._optional,
        )  # fmt: skip
        self._numbers += not math.isnan(label)
        self._values.append(label)
        return label

    def numbers(self) -> list[float]:
        """Return all labels: 0 and 1 in place of words.

        Raises
        ------
        DataError
            The words cannot be understood, are mixed with numbers, or include none that counts as yes.
        """
        words = {value for value in self._values if isinstance(value, str)}
        yes = self._yes(words)
        return [float(value in yes) if isinstance(value, str) else value for value in self._values]

    def _yes(self, words: set[str]) -> set[str]:
        if self._first_word is None:
            return set()
        row, first = self._first_word, next(value for value in self._values if isinstance(value, str))
        column = named(self._name, self._names)
        if self._positive:
            if absent := self._positive.keys() - words:
                missing = ", ".join(self._positive[word] for word in sorted(absent))
                raise DataError(
                    f"{row.file}: no row has {missing} in {column}; its labels are {_shown(words)}: {self._mend}"
                )
            return set(self._positive)
        if self._numbers:
            row.fail(
                f"{column} is {json.dumps(first, ensure_ascii=False)}, expected a number as in other rows; fix it, or "
                f"say which labels count as yes: {self._mend}"
            )
        if (understood := _understood(words, self._head)) is not None:
            return understood
        row.fail(
            f"{column} is {json.dumps(first, ensure_ascii=False)}, expected a number, and its labels {_shown(words)} "
            f"do not say which count as yes; name those: {self._mend}"
        )


def _understood(words: set[str], head: str | None) -> set[str] | None:
    """Return which of some words mean yes; None if that is not clear."""
    readings = {frozenset({yes} & words) for yes, no in PAIRS if words <= {yes, no}}
    if len(readings) == 1:
        return set(next(iter(readings)))
    if len(words) == 2:
        for one in words:
            (other,) = words - {one}
            if (denial := _DENIAL.match(one)) and _letters(one[denial.end() :]) == _letters(other):
                return {other}
    if head is not None and len(words) > 1:
        return {word for word in words if _letters(word) == _letters(head)} or None
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    text = text.strip().casefold()
    return f"{float(text):g}" if _is_number(text) else text  # 1 and 1.0 are one label


def _letters(text: str) -> str:
    return re.sub(r"[ _-]", "", text.casefold())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(words: Iterable[str]) -> str:
    ordered = sorted(words)
    more = f" and {len(ordered) - _MOST_SHOWN} more" if len(ordered) > _MOST_SHOWN else ""
    return ", ".join(json.dumps(word, ensure_ascii=False) for word in ordered[:_MOST_SHOWN]) + more

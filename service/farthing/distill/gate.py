"""The int8 gate: a bundle whose integers lose too much of its metric to float32 is refused (ADR 3)."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.errors import BundleError

MAX_LOSS_POINTS = 0.2
"""A larger loss in points is refused, if it is more than chance on that many rows."""


@dataclass(frozen=True, slots=True)
class RoundingLoss:
    """How much int8 loses to float32 on rows that no student has learnt from."""

    metric: str
    points: float  # hundredths of the metric; negative for a gain
    rows: str  # which rows: "test", "dev and test"
    interval: tuple[float, float] | None = None  # 95 %; None for metrics of ranks, which change little with one row

    @property
    def too_much(self) -> bool:
        """Whether it is over the limit and, if there is an interval, all of that is above 0."""
        return self.points > MAX_LOSS_POINTS and (self.interval is None or self.interval[0] > 0)

    def __str__(self) -> str:
        """Return the loss in words."""
        interval = "" if self.interval is None else f" ({self.interval[0]:.2f} to {self.interval[1]:.2f})"
        return f"int8 loses {self.points:.2f} points of {self.metric}{interval}"

    def check(self, mend: str = "train with another seed or a larger student", *, of: str = "") -> None:
        """Raise BundleError if it is too much; ``of`` names the head or the data set, ``mend`` says what to do."""
        if self.too_much:
            where = f"{of}: " if of else ""
            raise BundleError(f"{where}{self} to float32 on {self.rows}, at most {MAX_LOSS_POINTS} are allowed; {mend}")

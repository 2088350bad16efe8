"""The int8 gate: a bundle whose integers lose too much of its metric to float32 is refused (ADR 3)."""

from __future__ import annotations

from dataclasses import dataclass

from farthing.errors import BundleError

MAX_LOSS_POINTS = 0.2
"""More than this many points are too much, where the rows can tell the loss from chance."""


@dataclass(frozen=True, slots=True)
class RoundingLoss:
    """What int8 loses to float32 on rows that no student learnt from."""

    metric: str
    points: float  # hundredths of the metric; a gain is below 0
    rows: str  # which: "test", "dev and test"
    interval: tuple[float, float] | None = None  # of 95 %; None for metrics of ranks, which a row moves little

    @property
    def too_much(self) -> bool:
        """Whether it is over the limit, and its interval, where there is one, above 0."""
        return self.points > MAX_LOSS_POINTS and (self.interval is None or self.interval[0] > 0)

    def __str__(self) -> str:
        """Say it in words."""
        interval = "" if self.interval is None else f" ({self.interval[0]:.2f} to {self.interval[1]:.2f})"
        return f"int8 loses {self.points:.2f} points of {self.metric}{interval}"

    def check(self, mend: str = "train with another seed or a larger student", *, of: str = "") -> None:
        """Raise BundleError where it is too much; ``of`` names the head or the data set, ``mend`` what to do."""
        if self.too_much:
            where = f"{of}: " if of else ""
            raise BundleError(f"{where}{self} to float32 on {self.rows}, at most {MAX_LOSS_POINTS} are allowed; {mend}")

"""What whoever measures may choose. The command line shows these before there is anything to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

Advance = Callable[[int], None]
"""Called with the number of resamples done since the last call, for progress bars."""

RESAMPLES: Final = 1000

EPISODE: Final = 1000
"""Number of auctions in an episode in the published setting."""

Strategy = Literal["ortb", "linear", "constant"]
"""How bids are made."""

"""Where a model came from, which decides what it can be verified against: its files, and the results they state."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farthing.errors import BundleError
from farthing.model import golden
from farthing.model.golden import Verification
from farthing.model.stages import Stages
from farthing.scoring.bundle import Bundle
from farthing.scoring.column_bundle import ColumnBundle
from farthing.scoring.columns import ColumnSession
from farthing.scoring.signature import NO_KEYS, TrustedKeys


class Source(Protocol):
    """Where a model came from."""

    def verify(self, stages: Stages) -> Verification:
        """Check files and model, now and on this machine.

        Raises
        ------
        BundleError
            The files changed since they were loaded, the model does not give the right results, or there is nothing to
            check it against.
        """


@dataclass(frozen=True, slots=True, eq=False)
class HashedSource:
    """A bundle from ``farthing distill``: it has golden vectors, and integers that do not depend on the batch."""

    bundle: Bundle
    trusted: TrustedKeys = NO_KEYS

    def verify(self, stages: Stages) -> Verification:
        """Check the signature, digests, golden vectors and batch invariance."""
        now = Bundle.load(self.bundle.path, trusted=self.trusted)
        _check_unchanged(now.path, self.bundle.digest, now.digest)
        return golden.verify(stages, self.bundle.golden)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnSource:
    """A classifier over number columns: it has no golden vectors, but its scores must not depend on the batch."""

    bundle: ColumnBundle
    session: ColumnSession
    trusted: TrustedKeys = NO_KEYS

    def verify(self, stages: Stages) -> Verification:
        """Check the signature, the digest and batch invariance."""
        now = ColumnBundle.load(self.bundle.path, trusted=self.trusted)
        _check_unchanged(now.path, self.bundle.digest, now.digest)
        checked = now.check(self.session)
        return Verification(0, 0, 0.0, checked.batch_sizes, checked.rows, checked.worst_difference)


@dataclass(frozen=True, slots=True)
class NoSource:
    """No files to check: a model that was never saved, or that has other settings than its bundle."""

    why: str = "was not loaded from a bundle"

    def verify(self, stages: Stages) -> Verification:
        """Raise BundleError: there is nothing to check."""
        raise BundleError(f"model {stages.model_id} {self.why}: there are no golden vectors")


def _check_unchanged(path: Path, loaded: str, now: str) -> None:
    if now != loaded:
        raise BundleError(f"bundle {path}: digest was {loaded} when loaded and is {now} now; reload")

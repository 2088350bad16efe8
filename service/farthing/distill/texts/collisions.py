"""Counts how many features share a bucket, which is the price of a small table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from farthing.distill.texts.prepare import featurize_events
from farthing.features import FeatureSpec
from farthing.payload import FieldPlan

FINE_BITS = 30
"""A bucket is the top bits of a hash. With 30 bits, a million features have about 500 collisions: as good as none."""


@dataclass(frozen=True, slots=True)
class Collisions:
    """Counts over the training events."""

    features: int  # distinct ones
    buckets: int
    buckets_used: int
    sharing: int  # distinct features that are not alone in their bucket
    occurrences_sharing: float  # share of all occurrences that belong to such features

    def sentence(self) -> str:
        """Return the counts in words."""
        return (
            f"{self.features:,} different features in {self.buckets_used:,} of {self.buckets:,} buckets; "
            f"{self.sharing:,} ({self.sharing / max(self.features, 1):.0%}) share theirs, which are "
            f"{self.occurrences_sharing:.0%} of all occurrences"
        )


def count_collisions(plan: FieldPlan, spec: FeatureSpec, events: Sequence[bytes]) -> Collisions:
    """Count features, buckets and features that share a bucket with another."""
    fine = featurize_events(plan, replace(spec, n_buckets=1 << FINE_BITS), events).indices
    features, counts = np.unique(fine, return_counts=True)
    _, which, members = np.unique(features >> (FINE_BITS - spec.bits), return_inverse=True, return_counts=True)
    shares = members[which] > 1
    return Collisions(
        features=len(features),
        buckets=spec.n_buckets,
        buckets_used=len(members),
        sharing=int(shares.sum()),
        occurrences_sharing=float(counts[shares].sum() / counts.sum()),
    )

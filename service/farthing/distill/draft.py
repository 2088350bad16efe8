"""A bundle in the making: a student in integers that is scored as in serving, judged, and then written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from farthing.distill.recipe_file import Recipe
from farthing.features import FeatureSpec
from farthing.model.golden import make_golden
from farthing.model.nets import HashedNet
from farthing.model.stages import Stages
from farthing.payload import FieldPlan
from farthing.scoring.bundle import write_bundle
from farthing.scoring.graph import build_model
from farthing.scoring.manifest import Manifest
from farthing.scoring.tensors import QuantizedTensors

UNSAVED: Final = "unsaved"
"""The model id that scores carry before there is a bundle."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A model that can score, and its manifest, at first without an evaluation."""

    manifest: Manifest
    stages: Stages
    lexicon: bytes | None  # features.npz, of a rerank bundle

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        tensors: QuantizedTensors,
        *,
        plan: FieldPlan,
        spec: FeatureSpec,
        heads: tuple[str, ...],
        labels: tuple[str, ...],
        training_data: Iterable[Mapping[str, Any]],
        thresholds: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        lexicon: bytes | None = None,
    ) -> Draft:
        """Make a model of integers and the manifest that describes it.

        Parameters
        ----------
        recipe, tensors:
            The recipe, which names the bundle and its task, and the model.
        plan, spec, lexicon:
            The field plan, the feature spec, and the bytes of ``features.npz`` if there are any.
        heads, labels, thresholds, settings:
            As the task defines them.
        training_data:
            Name, licence, rows and SHA-256 of each source.
        """
        manifest = Manifest(
            name=recipe.name,
            task=recipe.task,
            field_plan=plan.to_manifest(),
            feature_spec=spec.to_manifest(),
            feature_fingerprint=spec.fingerprint(),
            heads=heads,
            labels=labels,
            thresholds=thresholds or {},
            quantization={"kind": "static int8", "dense_weight_bits": 7, "table_bits": 8},
            training_data=tuple(training_data),
            settings=settings or {},
        )
        model = build_model(tensors, {"task": manifest.task, "feature_fingerprint": manifest.feature_fingerprint})
        net = HashedNet(manifest, model, features=lexicon)
        return cls(manifest, Stages.of(manifest, net, model_id=UNSAVED), lexicon)

    def finished(self, evaluation: Mapping[str, Any], thresholds: Mapping[str, Any] | None = None) -> Draft:
        """Return the draft with a complete manifest; thresholds that are not given stay."""
        manifest = replace(self.manifest, evaluation=evaluation)
        if thresholds is not None:
            manifest = replace(manifest, thresholds=thresholds)
        return Draft(manifest, Stages.of(manifest, self.stages.net, model_id=UNSAVED), self.lexicon)

    def write(self, out: Path, *, golden: Sequence[bytes], card: Callable[[Manifest], str]) -> None:
        """Write the bundle.

        Parameters
        ----------
        out:
            The folder, which is created if needed.
        golden:
            Events from which golden vectors are made.
        card:
            Makes the card from the manifest.

        Raises
        ------
        BundleError
            The parts do not belong together.
        """
        write_bundle(
            out, manifest=self.manifest, model=self.stages.hashed.model, golden=make_golden(self.stages, golden),
            card=card(self.manifest), features=self.lexicon,
        )  # fmt: skip

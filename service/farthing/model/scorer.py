"""Scores events in the caller's process, without Kafka: event bytes in, score records out.

::

    from farthing import Scorer

    scorer = Scorer.load("moderation")
    scorer.score_texts(["You are a wonderful person."]).values[0]  # b'{"id":0,"score":0.0123,"label":"allow",...}'

``scorer.stages`` are its single stages, on blocks (:class:`farthing.model.stages.Stages`). A scorer keeps no state
between calls; calls from several threads are independent.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farthing.blocks import Bytes, DecisionInputs, Int64s, RecordBlock
from farthing.bundle_files import refusing
from farthing.errors import BundleError
from farthing.limits import MAX_EVENT_BYTES
from farthing.model import golden
from farthing.model.golden import Verification
from farthing.model.nets import ColumnNet, HashedNet
from farthing.model.shipped import find_bundle
from farthing.model.sources import ColumnSource, HashedSource, NoSource, Source
from farthing.model.stages import Stages
from farthing.model.task_table import ID_FIELD
from farthing.payload import Field, FieldPlan
from farthing.scoring.bundle import Bundle
from farthing.scoring.column_bundle import ColumnBundle, is_column_bundle
from farthing.scoring.manifest import Manifest
from farthing.scoring.signature import TrustedKeys


@dataclass(frozen=True, slots=True)
class ScoredEvents:
    """What became of events scored in process.

    ``status`` and ``row_indptr`` cover every event, including refused ones. The others are shorter if events were
    refused: row r of ``scores`` and ``labels`` belongs to the event k with ``row_indptr[k] <= r < row_indptr[k + 1]``,
    and ``values[j]`` to the event ``numpy.flatnonzero(status == 0)[j]``. Do not zip any of these with the events.
    """

    status: Bytes  # (n,) farthing.blocks.Status: 0 is scored
    row_indptr: Int64s  # (n+1,) events -> rows of scores and labels; a refused event has none
    scores: NDArray[np.float32]  # (n_rows, n_heads)
    labels: tuple[str, ...]  # (n_rows,)
    values: tuple[bytes, ...]  # score records of the events with status 0, in order, as Kafka would carry them

    def __len__(self) -> int:
        return len(self.status)


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """A model ready to score.

    Most callers want :meth:`load`. A model that is not in a bundle yet needs only its stages.

    Parameters
    ----------
    stages:
        The model's stages.
    source:
        Where the model came from, which decides what it can be verified against.
    """

    stages: Stages
    source: Source = field(default_factory=NoSource)

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        threads: int = 1,
        verify: bool = True,
        fields: Mapping[str, str] | None = None,
        trusted_keys: Sequence[str | Path] = (),
    ) -> Scorer:
        """Load a bundle.

        Parameters
        ----------
        path_or_name:
            A bundle's folder, or the name of a shipped one (``"moderation"``).
        max_event_bytes:
            Longer values are refused as TOO_LARGE.
        threads:
            Threads of ONNX Runtime; scores do not depend on it.
        verify:
            Also check the golden vectors and batch invariance on this machine. Digests and fingerprints are always
            checked.
        fields:
            Paths of fields that are elsewhere in the events than the bundle says: ``{"text": "comment.text"}``, by the
            name or path that its field plan has. The bundle and its checks are not affected.
        trusted_keys:
            PEM files of ed25519 public keys: the bundle must be signed with one of them. None: it need not be signed.

        Raises
        ------
        BundleError
            There is no such bundle, or it fails a check; the message gives both values.
        ConfigError
            ``fields`` names a field that the model does not read, or has an invalid path; or a key cannot be read.
        """
        folder, trusted = find_bundle(path_or_name), TrustedKeys.read(trusted_keys)
        if is_column_bundle(folder):
            with _naming(folder), refusing(folder):
                columns = ColumnBundle.load(folder, trusted=trusted)
                session = columns.session(threads=threads)
                stages = Stages.of(
                    columns.manifest.as_manifest(),
                    ColumnNet(session, columns.manifest.fields, fill=columns.manifest.fill),
                    model_id=columns.model_id,
                    max_event_bytes=max_event_bytes,
                    fields=fields,
                )
            return cls(stages, ColumnSource(columns, session, trusted))
        bundle = Bundle.load(folder, trusted=trusted)
        with _naming(folder), refusing(folder):
            stages = Stages.of(
                bundle.manifest,
                HashedNet(bundle.manifest, bundle.model, threads=threads, features=bundle.features),
                model_id=bundle.model_id,
                max_event_bytes=max_event_bytes,
                fields=fields,
            )
            if verify:
                golden.verify(stages, bundle.golden)
        return cls(stages, HashedSource(bundle, trusted))

    @property
    def model_id(self) -> str:
        """The model id that scores carry, such as ``moderation@1a2b3c4d``."""
        return self.stages.model_id

    @property
    def manifest(self) -> Manifest:
        """The bundle's description of the model."""
        return self.stages.manifest

    @property
    def task(self) -> str:
        """The kind of decision: ``moderation``, ``classify``, ``rerank`` or ``bidding``."""
        return self.stages.task

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the scores; the first is ``score`` in a score record."""
        return self.stages.heads

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, by number."""
        return self.stages.labels

    @property
    def field_plan(self) -> FieldPlan:
        """Which fields of an event are read, and where they are."""
        return self.stages.field_plan

    def verify(self) -> Verification:
        """Check digests, golden vectors and batch invariance, now and on this machine.

        Raises
        ------
        BundleError
            The files changed since they were loaded, or the model does not give its golden results.
        """
        return self.source.verify(self.stages)

    def with_settings(self, settings: Mapping[str, Any]) -> Scorer:
        """Return the same model with other settings of its task, such as another campaign.

        Golden vectors are for the bundle's own settings, so the new scorer has none to verify.

        Raises
        ------
        BundleError
            The task does not accept these settings.
        """
        return Scorer(self.stages.with_settings(settings), NoSource("has other settings than its bundle"))

    def score_events(self, events: Sequence[bytes | None], *, now_ms: int = 0, pacing: float = 1.0) -> ScoredEvents:
        """Score event values as they would be in Kafka; ``None`` is a tombstone.

        A bad event never raises: its ``status`` says what is wrong with it. ``now_ms`` (since the events were made) and
        ``pacing`` are for bidding.
        """
        stages, records = self.stages, self.records_of(events)
        columns = stages.parse(records)
        scores = stages.score(stages.prepare(columns, records))
        inputs = DecisionInputs(records.buffer, records.timestamps_ms, now_ms, pacing)
        decisions = stages.decide(columns, scores, inputs)
        rendered = stages.render(records, columns, decisions)
        data, bounds = rendered.data.tobytes(), rendered.indptr.tolist()
        return ScoredEvents(
            status=decisions.status,
            row_indptr=columns.row_indptr,
            scores=decisions.scores,
            labels=tuple(self.labels[label] for label in decisions.labels),
            values=tuple(data[start:stop] for start, stop in itertools.pairwise(bounds)),
        )

    @staticmethod
    def records_of(values: Sequence[bytes | None]) -> RecordBlock:
        """Lay values out as the records of one block: no keys, no headers, offsets 0, 1, 2, ..."""
        return RecordBlock.of_values(values)

    def score_texts(self, texts: Sequence[str | None]) -> ScoredEvents:
        """Score plain texts: each becomes an event with that text in the plan's one text field, numbered by ``id``.

        ``None`` and a text with half a surrogate pair are refused by their status, as by :meth:`score_events`. Of
        ``["a", None, "b"]`` two are scored: ``labels`` and ``values`` have two entries, the second of "b" with
        ``"id": 2``, and ``row_indptr`` is 0, 1, 1, 2. :class:`ScoredEvents` says how to align them.

        Raises
        ------
        TypeError
            ``texts`` is one text and not a sequence, or one of them cannot be JSON, such as bytes.
        ValueError
            The plan does not have exactly one text field.
        """
        if isinstance(texts, str | bytes | bytearray):
            raise TypeError(
                f"score_texts takes a sequence of texts and was given one {type(texts).__name__}: put it in a list"
            )
        plan = self.field_plan
        text_fields = [planned for planned in plan.fields if planned.kind == "text"]
        if len(text_fields) != 1:
            raise ValueError(f"model {self.model_id} reads {len(text_fields)} text fields; use score_events")
        return self.score_events([_event(plan, text_fields[0], number, text) for number, text in enumerate(texts)])


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Prefix an error in a bundle with the bundle's folder."""
    try:
        yield
    except BundleError as error:
        named = f"bundle {folder}: "
        raise BundleError(str(error) if str(error).startswith(named) else named + str(error)) from error


def _event(plan: FieldPlan, text_field: Field, number: int, text: str | None) -> bytes:
    event: dict[str, Any] = {}
    for planned in plan.fields:
        if planned.name == ID_FIELD:
            planned.parsed.put(event, number)
    text_field.parsed.put(event, text)
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")

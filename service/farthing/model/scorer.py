"""Event bytes in, decisions out: the pure stages of a bundle as one object. No Kafka.

::

    from farthing import Scorer

    scorer = Scorer.load("moderation")
    scorer.score_texts(["You are a wonderful person."]).values[0]  # b'{"id":0,"score":0.0123,"label":"allow",...}'

Every stage is a method: :meth:`Scorer.parse`, :meth:`~Scorer.featurize`, :meth:`~Scorer.score`,
:meth:`~Scorer.decide`, :meth:`~Scorer.render`. A scorer keeps no state between calls; calls from several threads are
independent.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from farthing.blocks import (
    MAX_EVENT_BYTES,
    BidBlock,
    Bytes,
    DecisionBlock,
    DecisionInputs,
    FeatureBlock,
    FieldColumns,
    Int32s,
    Int64s,
    RecordBlock,
    RenderedValues,
    ScoreBlock,
)
from farthing.errors import BundleError, ConfigError
from farthing.features import FeatureSpec
from farthing.model import golden as golden_vectors
from farthing.model import prompt_fields as prompted
from farthing.model.golden import Verification
from farthing.model.nets import ColumnNet, Features, HashedNet, Net
from farthing.model.shipped import find_bundle
from farthing.model.task_table import ID_FIELD, SPARE_FIELDS, TASKS
from farthing.payload import Field, FieldPlan, parse, parse_path
from farthing.scoring.bundle import Bundle, Manifest
from farthing.scoring.column_bundle import ColumnBundle, is_column_bundle
from farthing.scoring.tensors import QuantizedTensors

Decisions = DecisionBlock | BidBlock  # a RankingBlock is a DecisionBlock


@dataclass(frozen=True, slots=True)
class ScoredEvents:
    """What became of events scored in process.

    ``status`` and ``row_indptr`` have an entry for each event, refused ones too. The rest are shorter where events were
    refused: row r of ``scores`` and ``labels`` is of the event k with ``row_indptr[k] <= r < row_indptr[k + 1]``, and
    ``values[j]`` is of the event ``numpy.flatnonzero(status == 0)[j]``. Zip none of them with the events.
    """

    status: Bytes  # (n,) farthing.blocks.Status: 0 is scored
    row_indptr: Int64s  # (n+1,) events -> rows of scores and labels; a refused event has none
    scores: NDArray[np.float32]  # (n_rows, n_heads)
    labels: tuple[str, ...]  # (n_rows,)
    values: tuple[bytes, ...]  # score records of the events with status 0, in order, as Kafka would carry them

    def __len__(self) -> int:
        return len(self.status)


class Scorer:
    """A model ready to score.

    Most callers want :meth:`load`. The constructor takes a model that need not lie in a bundle yet.

    Parameters
    ----------
    manifest, model:
        What the model is, and the model.
    model_id:
        What scores are signed with.
    max_event_bytes:
        Longer values are refused as TOO_LARGE.
    threads:
        Threads of ONNX Runtime; scores do not depend on it.
    features:
        The bytes of ``features.npz``, which the feature spec names by their SHA-256; None where it names none.
    fields:
        Where fields lie in the events, where it is not where the manifest says: ``{"text": "comment.text"}``.

    Raises
    ------
    BundleError
        The manifest's parts disagree with each other or with the model.
    ConfigError
        ``fields`` names a field that the model does not read, or a path that cannot be.
    """

    def __init__(
        self,
        manifest: Manifest,
        model: onnx.ModelProto,
        *,
        model_id: str,
        max_event_bytes: int = MAX_EVENT_BYTES,
        threads: int = 1,
        features: bytes | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        net = HashedNet(manifest, model, threads=threads, features=features)
        self._assemble(manifest, net, fields or {}, model_id=model_id, max_event_bytes=max_event_bytes)

    def _assemble(
        self, manifest: Manifest, net: Net, fields: Mapping[str, str], *, model_id: str, max_event_bytes: int
    ) -> None:
        if manifest.task not in TASKS:
            raise BundleError(f"task is {manifest.task!r}, this Farthing knows {', '.join(TASKS)}; update Farthing")
        self.model_id = model_id
        self.task: str = manifest.task
        self.heads: tuple[str, ...] = manifest.heads
        self.labels: tuple[str, ...] = manifest.labels
        self.manifest = manifest
        self.net = net
        self._max_event_bytes = max_event_bytes
        self._bundle: Bundle | None = None
        self._columns: ColumnBundle | None = None
        try:
            self.field_plan = FieldPlan.from_manifest(manifest.field_plan)
        except ConfigError as error:
            raise BundleError(f"the manifest's field plan: {error}; build the bundle again") from error
        self.settled: Any = TASKS[manifest.task].from_manifest(manifest)
        try:  # on no events: does the plan give what the model and the task read?
            self.featurize(self.parse(self.records_of([])))
            self._decide_nothing()
        except ConfigError as error:
            raise BundleError(f"the manifest's field plan and feature spec: {error}; build the bundle again") from error
        self.field_plan = self.field_plan.mapped(fields, spare=SPARE_FIELDS)

    @classmethod
    def of_columns(
        cls,
        bundle: ColumnBundle,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        threads: int = 1,
        fields: Mapping[str, str] | None = None,
    ) -> Scorer:
        """Make a scorer of an ONNX classifier over number columns; ``fields`` as of the constructor.

        Raises
        ------
        BundleError
            The model does not fit its manifest, or its scores depend on the batch.
        ConfigError
            ``fields`` names a column that the model does not read, or a path that cannot be.
        """
        manifest = bundle.manifest.as_manifest()
        net = ColumnNet(bundle.session(threads=threads), bundle.manifest.fields, fill=bundle.manifest.fill)
        scorer = cls.__new__(cls)
        scorer._assemble(manifest, net, fields or {}, model_id=bundle.model_id, max_event_bytes=max_event_bytes)
        scorer._columns = bundle
        return scorer

    @classmethod
    def load(
        cls,
        path_or_name: str | Path,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        threads: int = 1,
        verify: bool = True,
        fields: Mapping[str, str] | None = None,
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
            Also check the golden vectors and batch invariance on this machine. Digests and fingerprints always are.
        fields:
            Where fields lie in the events, where it is not where the bundle says: ``{"text": "comment.text"}``, by the
            names in its field plan or the paths there. The bundle and its checks are not touched by it.

        Raises
        ------
        BundleError
            There is no such bundle, or it fails a check; the message gives both values.
        ConfigError
            ``fields`` names a field that the model does not read, or a path that cannot be.
        """
        folder = find_bundle(path_or_name)
        if is_column_bundle(folder):
            try:
                given = ColumnBundle.load(folder)
                return cls.of_columns(given, max_event_bytes=max_event_bytes, threads=threads, fields=fields)
            except BundleError as error:
                raise BundleError(f"bundle {folder}: {error}") from error
        bundle = Bundle.load(folder)
        try:
            scorer = cls(
                bundle.manifest,
                bundle.model,
                model_id=bundle.model_id,
                max_event_bytes=max_event_bytes,
                threads=threads,
                features=bundle.features,
                fields=fields,
            )
            scorer._bundle = bundle
            if verify:
                golden_vectors.verify(scorer, bundle.golden)
        except BundleError as error:
            raise BundleError(f"bundle {bundle.path}: {error}") from error
        return scorer

    def verify(self) -> Verification:
        """Check digests, golden vectors and batch invariance, now and on this machine.

        Raises
        ------
        BundleError
            The files changed since they were loaded, or the model does not give its golden results.
        """
        if self._columns is not None and isinstance(self.net, ColumnNet):
            given = ColumnBundle.load(self._columns.path)
            _same(given.path, self._columns.digest, given.digest)
            checked = given.check(self.net.session)
            return Verification(0, 0, 0.0, checked.batch_sizes, checked.rows, checked.worst_difference)
        if self._bundle is None:
            raise BundleError(f"model {self.model_id} was not loaded from a bundle: there are no golden vectors")
        now = Bundle.load(self._bundle.path)
        _same(now.path, self._bundle.digest, now.digest)
        return golden_vectors.verify(self, self._bundle.golden)

    def parse(self, records: RecordBlock) -> FieldColumns:
        """Read the wanted fields of each event."""
        return parse(records, self.field_plan, max_event_bytes=self._max_event_bytes)

    def featurize(self, columns: FieldColumns, records: RecordBlock | None = None) -> Features:
        """Make each row's features: hashed ids, or numbers.

        ``records`` are those that were parsed; only features of raw fields, which are views, need them.
        """
        return self.net.featurize(columns, None if records is None else records.buffer)

    def score(self, features: Features) -> ScoreBlock:
        """Compute each row's scores."""
        return self.net.score(features)

    @property
    def hashed(self) -> HashedNet:
        """The net of a model with hashed features.

        Raises
        ------
        BundleError
            The model reads number columns as they are.
        """
        if not isinstance(self.net, HashedNet):
            raise BundleError(f"{self.model_id} reads number columns: it has no hashed features, table or integers")
        return self.net

    @property
    def model(self) -> onnx.ModelProto:
        """The whole model of hashed features."""
        return self.hashed.model

    @property
    def tensors(self) -> QuantizedTensors:
        """All numbers of a model of hashed features."""
        return self.hashed.tensors

    @property
    def feature_spec(self) -> FeatureSpec:
        """What is made of the fields by a model of hashed features."""
        return self.hashed.spec

    @property
    def words(self) -> NDArray[np.uint64]:
        """The packed table of a model of hashed features."""
        return self.hashed.words

    def accumulate(self, features: Features) -> Int32s:
        """Sum the embeddings of each row: int32 (n_rows, dim). A part of :meth:`score`."""
        assert isinstance(features, FeatureBlock)
        return self.hashed.accumulate(features)

    def dense(self, inputs: Bytes) -> Int32s:
        """Run the dense part: uint8 (n_rows, dim) to int32 (n_rows, n_heads). A part of :meth:`score`."""
        return self.hashed.dense(inputs)

    def decide(self, columns: FieldColumns, scores: ScoreBlock, inputs: DecisionInputs) -> Decisions:
        """Give each event its label and its final status; ``inputs`` (the time, pacing) are what a task may read."""
        decisions: Decisions = self.settled.decide(columns, scores, inputs)
        return decisions

    def render(self, records: RecordBlock, columns: FieldColumns, decisions: Decisions) -> RenderedValues:
        """Write the score records of the events with status OK."""
        return TASKS[self.task].render(self, records, columns, decisions)

    def with_settings(self, settings: Mapping[str, Any]) -> Scorer:
        """Give the same model under other settings of its task, such as another campaign.

        Golden vectors speak of the bundle's own settings, so the scorer that is given has none to verify.

        Raises
        ------
        BundleError
            The task cannot be settled so.
        """
        other = copy.copy(self)
        other.manifest = replace(self.manifest, settings=settings)
        other.settled = TASKS[self.task].from_manifest(other.manifest)
        other._bundle = None
        other._decide_nothing()
        return other

    def reading_also(self, path: str) -> tuple[Scorer, Field]:
        """Give a scorer that also reads the field at ``path``, whatever JSON value it is, and how that field is read.

        Neither the model nor its task knows of it. Where the plan reads that path anyway, it is the plan's own field.

        Raises
        ------
        ConfigError
            The path is none, goes through an array, or lies above or below a field of the plan.
        """
        wanted = parse_path(path)
        known = next((field for field in self.field_plan.fields if field.parsed == wanted), None)
        if known is None:
            known = Field("_also", path, "raw")
        if known.in_array or known.kind == "number":
            raise ConfigError(f"field path {path!r} gives numbers or an entry a row; name a field with one value")
        if known in self.field_plan.fields:
            return self, known
        other = copy.copy(self)
        other.field_plan = FieldPlan((*self.field_plan.fields, known), self.field_plan.max_rows)
        return other, known

    def _decide_nothing(self) -> None:
        """Decide on a refused event: raises BundleError where the field plan does not give what the task reads."""
        records = self.records_of([b""])
        no_scores = ScoreBlock(np.zeros((0, len(self.heads)), np.int32), np.zeros((0, len(self.heads)), np.float32))
        self.decide(self.parse(records), no_scores, DecisionInputs(records.buffer, records.timestamps_ms))

    def prompt_bytes(self, columns: FieldColumns) -> Int64s:
        """Count the bytes of the fields that the model reads, which an API would be sent: int64 (n,)."""
        return prompted.count_bytes(columns, self.field_plan, self.net.read)

    def prompt_text(self, columns: FieldColumns, records: RecordBlock, event: int) -> str:
        """Give what the model reads of one event, field after field."""
        return prompted.text_of(columns, self.field_plan, self.net.read, records.buffer, event)

    def score_events(self, events: Sequence[bytes | None], *, now_ms: int = 0, pacing: float = 1.0) -> ScoredEvents:
        """Score event values as they would lie in Kafka; ``None`` is a tombstone.

        A bad event never raises: its ``status`` says what is wrong with it. ``now_ms`` (since the events were made) and
        ``pacing`` are for bidding.
        """
        records = self.records_of(events)
        columns = self.parse(records)
        scores = self.score(self.featurize(columns, records))
        inputs = DecisionInputs(records.buffer, records.timestamps_ms, now_ms, pacing)
        decisions = self.decide(columns, scores, inputs)
        rendered = self.render(records, columns, decisions)
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
            ``texts`` is one text and no sequence of them, or one of them is what JSON cannot say, such as bytes.
        ValueError
            The plan has not exactly one text field.
        """
        if isinstance(texts, str | bytes | bytearray):
            raise TypeError(
                f"score_texts takes a sequence of texts and was given one {type(texts).__name__}: put it in a list"
            )
        fields = [field for field in self.field_plan.fields if field.kind == "text"]
        if len(fields) != 1:
            raise ValueError(f"model {self.model_id} reads {len(fields)} text fields; use score_events")
        plan, field = self.field_plan, fields[0]
        return self.score_events([_event(plan, field, number, text) for number, text in enumerate(texts)])


def _same(path: Path, loaded: str, now: str) -> None:
    if now != loaded:
        raise BundleError(f"bundle {path}: digest was {loaded} when loaded and is {now} now; reload")


def _event(plan: FieldPlan, field: Field, number: int, text: str | None) -> bytes:
    event: dict[str, Any] = {}
    for one in plan.fields:
        if one.name == ID_FIELD:
            one.parsed.put(event, number)
    field.parsed.put(event, text)
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")

"""Rerank events on Apache Kafka: the rankings are the scorer's, bad candidates come last, bad events are dead letters."""

import gzip
import itertools
import json
from pathlib import Path

import pytest

from farthing import Scorer
from farthing.blocks import Status
from farthing.local.comments import ranking_events
from farthing.model.shipped import shipped_bundles
from tests.bundle_factory import make_rerank_bundle

from .running import Service

pytestmark = pytest.mark.kafka

DATA = Path(__file__).parents[3] / "shared" / "data" / "rerank" / "medquad" / "test.jsonl.gz"
BAD = {
    b"{": Status.SYNTAX,
    b'{"id":1}': Status.MISSING_FIELD,
    b'{"query":null,"candidates":[{"text":"a"}]}': Status.NULL_FIELD,
    b'{"query":7,"candidates":[{"text":"a"}]}': Status.WRONG_TYPE,
    b'{"query":"a","candidates":[]}': Status.NO_ROWS,
    b'{"query":"a","candidates":[{"id":1},{"id":2}]}': Status.MISSING_FIELD,
    b'{"query":"a","candidates":[{"id":1,"text":null}]}': Status.NULL_FIELD,
    b'{"query":"a","candidates":[' + b",".join([b'{"text":"b"}'] * 1001) + b"]}": Status.TOO_MANY_ROWS,
}


def real_events():
    """Queries with their candidates: real ones where the data are, made-up ones elsewhere."""
    if not DATA.is_file():
        return ranking_events(500)
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        json.dumps(
            {
                "id": qid,
                "query": members[0]["query"],
                "candidates": [{"id": r["docid"], "title": r["title"], "text": r["text"]} for r in members],
            }
        ).encode()
        for qid, members in ((qid, list(group)) for qid, group in itertools.groupby(rows, lambda r: r["qid"]))
    ]


async def test_rankings_come_out_bit_equal_and_in_order(apache_kafka, tmp_path):
    bundle = shipped_bundles().get("rerank") or make_rerank_bundle(tmp_path / "rerank").path
    events = real_events()
    with_gaps = [
        b'{"id":"g1","query":"what causes fever","candidates":[{"id":"none"},{"id":"a","text":"fever"},{"text":"ice"}]}',
        b'{"query":"bones","candidates":[{"id":1,"text":null},{"id":2,"text":5},{"id":3,"text":"","score":1e308}]}',
    ]
    mixed = []
    for k, value in enumerate(BAD):
        mixed += [*events[40 * k : 40 * k + 40], value, with_gaps[k % 2]]
    mixed += events[40 * len(BAD) :]
    service = Service(apache_kafka, tmp_path, partitions=3, bundle=str(bundle))
    await service.create_topics()
    service.start()
    try:
        sent = await service.send(mixed, batch_records=37)
        await service.ready()
        found = await service.read(service.sink, len(mixed) - len(BAD))
        dead = await service.read(service.dead, len(BAD))
        status, metrics = service.get("/metrics")
    finally:
        assert service.stop() == 0
    scored = Scorer.load(bundle).score_events([value for _, value in sent])
    answers = iter(scored.values)
    expected = {p: [] for p in range(service.partitions)}
    for (partition, _), code in zip(sent, scored.status, strict=True):
        expected[partition].append(None if code else next(answers))
    for partition, values in expected.items():
        records = [r for r in found if r.partition == partition]
        assert [r.value for r in records] == [v for v in values if v is not None]
        offsets = [int(dict(r.headers)["farthing.offset"]) for r in records]
        assert offsets == [k for k, v in enumerate(values) if v is not None]
    for record in found:
        ranking = json.loads(record.value)["ranking"]
        scores = [c["score"] for c in ranking if c["score"] is not None]
        assert scores == sorted(scores, reverse=True)
        assert all(c["score"] is not None for c in ranking[: len(scores)])
    assert sorted(r.value for r in dead) == sorted(BAD)
    for record in dead:
        headers = {name: value.decode() for name, value in record.headers}
        assert headers["farthing.error.reason"] == BAD[record.value].name.lower()
    assert status == 200
    assert 'outcome="scored"' in metrics

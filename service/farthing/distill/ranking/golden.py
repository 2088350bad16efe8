"""Chooses the events from which a rerank bundle's golden vectors are made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from farthing.distill.ranking.data import Query

GOLDEN_REFUSED = (
    b"",
    b"{",
    b'{"id":1}',
    b'{"query":null,"candidates":[{"text":"a"}]}',
    b'{"query":"a"}',
    b'{"query":"a","candidates":[]}',
    b'{"query":"a","candidates":[{"id":1}]}',
    b'{"query":"a","candidates":[{"text":null},{"text":5}]}',
    b'{"query":"a","candidates":{"text":"b"}}',
    b"[1]",
    b"\xff\xfe{}",
)
GOLDEN_ODD = (
    b'{"id":"o1","query":"","candidates":[{"id":"a","text":""},{"id":"b","text":"x"}]}',
    '{"query":"what is a café 🎈","candidates":[{"text":"café"},{"id":2},{"text":"a café is"}]}'.encode(),
    b'{"id":null,"query":"same same","candidates":[{"id":1,"text":"same"},{"id":2,"text":"same"}]}',
    json.dumps(
        {"query": "w " * 99, "candidates": [{"text": "w x " * 4000, "title": "w", "score": 1e300}] * 2}
    ).encode(),
)


def golden_events(queries: Sequence[Query]) -> list[bytes]:
    """Choose training queries of all sizes as golden events, some with scores, some without candidates' texts."""
    events = []
    for k, query in enumerate(queries[:: max(len(queries) // 48, 1)][:48]):
        if k % 3 == 0:
            scored = tuple(replace(c, score=float(j)) for j, c in enumerate(query.candidates))
            query = replace(query, candidates=scored)
        event = json.loads(query.event())
        if k % 4 == 0:
            event["candidates"].insert(1, {"id": "nothing"})
        events.append(json.dumps(event, ensure_ascii=False).encode())
    return events

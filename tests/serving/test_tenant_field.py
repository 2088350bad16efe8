"""The field that names an event's tenant: read beside the model's own, without a trace in the scores."""

import json

import numpy as np
import pytest

from farthing import Scorer
from farthing.blocks import FetchedPartition
from farthing.errors import ConfigError
from farthing.local.comments import comment_events
from farthing.serving.route import Route, RouteTopics
from farthing.wire import encode_records, stamp_producer

TOPICS = RouteTopics("e", "s", "d")


@pytest.fixture(scope="module")
def stages():
    return Scorer.load("moderation", verify=False).stages


def answer(route, values, partition=0):
    indptr = np.cumsum([0, *map(len, values)], dtype=np.int64)
    batch = encode_records(
        "e", partition, np.frombuffer(b"".join(values), np.uint8), indptr, np.zeros(len(values), int)
    )
    stamp_producer(batch.data, 0, 0, 0)
    return route.answer([FetchedPartition("e", partition, 0, len(values), batch.data.tobytes())])


def told(found):
    names = found.tenants.names
    return {names.text(tenant): tuple(counts) for _, tenant, *counts in found.tenants.rows.tolist()}


def test_scores_are_the_same_and_tenants_add_up_to_the_usage(stages, monkeypatch):
    monkeypatch.setattr("farthing.serving.route.time.time_ns", lambda: 1_700_000_000_000_000_000)  # letters have a time
    values = [*comment_events(500), b"{", b'{"user":"u1"}', b'{"text":"no user"}', b'{"text":"null","user":null}']
    plain, with_tenants = answer(Route(TOPICS, stages), values), answer(Route(TOPICS, stages, tenant="user"), values)
    assert plain.tenants is None
    assert [b.data.tobytes() for b in plain.batches] == [b.data.tobytes() for b in with_tenants.batches]
    np.testing.assert_array_equal(plain.usage, with_tenants.usage)
    expected = {}
    for value in values[:500]:
        user = json.loads(value)["user"]
        expected[user] = expected.get(user, 0) + 1
    counts = told(with_tenants)
    assert {name: count[0] for name, count in counts.items() if name and count[0]} == expected
    assert counts[""][:2] == (2, 2)  # two that name nobody; a refused event has no fields, its tenant neither
    assert sum(count[2] for count in counts.values()) == with_tenants.usage[0, 4 + 84 :].sum()


@pytest.mark.parametrize(
    "path, event, name",
    [
        ("account.id", {"text": "x", "account": {"id": 17}}, "17"),
        ("account.id", {"text": "x", "account": {"id": "caf\u00e9"}}, "café"),
        ("id", {"text": "x", "id": "a-1"}, "a-1"),  # a raw field of the plan
        ("text", {"text": "a\tb"}, "a\tb"),  # a text of the plan
        ("tenant", {"text": "x", "tenant": "y" * 70}, ""),
        ("account.id", {"text": "x", "account": "acme"}, ""),
        ("account.id", {"text": "x", "account": ["acme"]}, ""),
        ("account.id", {"text": "x", "account": None}, ""),
        ("account.id", {"text": "x", "account": 5}, ""),
        ("account.id", {"text": "x", "account": [{"id": "acme"}]}, ""),
        ("a.b.c.d", {"text": "x", "a": {"b": {"c": "near"}}}, ""),
    ],
)
def test_any_value_is_a_name(stages, path, event, name):
    found = answer(Route(TOPICS, stages, tenant=path), [json.dumps(event).encode()])
    assert list(told(found)) == [name]
    assert not found.status.any()  # scored, whatever it says of its tenant


@pytest.mark.parametrize("path", ["", "a..b", "text.inner", "items[*].owner", "a[*]"])
def test_what_cannot_be_read_beside_the_models_fields(stages, path):
    with pytest.raises(ConfigError, match="field"):
        Route(TOPICS, stages, tenant=path)

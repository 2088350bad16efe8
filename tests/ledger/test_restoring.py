"""The place from which topics are read again: late, kept only while every write has arrived, and never trusted blindly."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from farthing.kafka import KafkaSettings
from farthing.ledger import restoring
from farthing.ledger.restoring import LATE_S, NOTE_EVERY_S, Restoring

USAGE, BEATS = ("u", 0), ("h", 0)


@pytest.fixture
def clock(monkeypatch):
    one = SimpleNamespace(now_s=1_000.0)
    monkeypatch.setattr(restoring.time, "monotonic", lambda: one.now_s)
    return one


@pytest.fixture
def app():
    return SimpleNamespace(
        started=True,
        consumer=SimpleNamespace(_committed_offset={}),
        assignor=SimpleNamespace(assigned_actives=lambda: {USAGE, BEATS, ("x", 3)}),
    )


def make(app, table):
    return Restoring(app, KafkaSettings(), table, [USAGE, BEATS])


def test_a_place_is_kept_two_minutes_late(app, clock):
    table = {}
    one = make(app, table)
    for second in range(0, 200, 5):
        clock.now_s = 1_000.0 + second
        app.consumer._committed_offset = {USAGE: second, BEATS: 10 * second}
        one.note()
        kept = {name: int(value) for name, value in table.items()}
        late = int((second - LATE_S) // NOTE_EVERY_S * NOTE_EVERY_S)
        assert kept == ({b"u": late, b"h": 10 * late} if late >= 0 else {})


def test_after_a_write_that_failed_it_stays_where_it_is(app, clock):
    table = {}
    one = make(app, table)
    app.consumer._committed_offset = {USAGE: 5}
    one.note()
    clock.now_s += LATE_S
    one.note()
    assert table == {b"u": b"5"}
    app.consumer._committed_offset = {USAGE: 9}
    with capture_logs() as logs:
        one.on_lost(TimeoutError())
        one.on_lost(TimeoutError())
    assert [log["event"] for log in logs] == ["changelog_write_lost"]
    for _ in range(5):
        clock.now_s += LATE_S
        one.note()
    assert table == {b"u": b"5"}


def test_nothing_is_noted_before_faust_has_committed_or_runs(app, clock):
    table = {}
    one = make(app, table)
    app.started = False
    for _ in range(3):
        clock.now_s += LATE_S
        one.note()
    app.started = True
    for _ in range(3):
        clock.now_s += LATE_S
        one.note()
    assert table == {}
    assert one.is_ours
    app.assignor.assigned_actives = set
    assert not one.is_ours


@pytest.mark.parametrize(
    ("kept", "since"),
    [
        (None, None),
        (b"12", 12),
        (b"-1", None),
        (b"9" * 400, None),
        (b"[" * 9_000, None),
        ("٣".encode(), None),
        (b"", None),
    ],
)
async def test_the_topic_is_read_from_the_kept_place_or_whole(app, monkeypatch, kept, since):
    asked = []

    async def read_tail(kafka, topic, since, take, *, whole_if, progress):
        asked.append((topic, since))
        progress(3, 7)
        take([(b"a", b'{"v":1,"n":1}'), (b"b", b'{"v":1,"n":2}'), (b"a", b'{"v":1,"n":3}'), (b"a", b"garbage")])
        take([(b"c", None)])
        return 3, 7

    monkeypatch.setattr(restoring, "read_tail", read_tail)
    said, posted = [], []
    one = make(app, {b"u": kept} if kept is not None else {})
    assert await one.catch_up("u", lambda values: posted.append(list(values)) or len(values), said.append) == 4
    assert asked == [("u", since)]
    kept = [(b"a", b'{"v":1,"n":3}'), (b"b", b'{"v":1,"n":2}')]  # the last of each key that may be a record
    assert posted == [[*kept, (b"a", b"garbage")], [(b"c", None)]]
    assert "4 offsets are left" in said[0]

"""Where a partition begins that has no commit: what was chosen stays, however often it is asked for."""

from types import SimpleNamespace

import pytest

from farthing.kafka import KafkaSettings
from farthing.kafka.log_watch import NewLog
from farthing.kafka.recovery import Recovery, no_logs

PLACE, OTHER = ("e", 0), ("e", 1)


class Log:
    """A broker with a group and a log that grows."""

    def __init__(self):
        self.start, self.end, self.committed, self.number = 0, 100, {}, 0

    async def bounds(self, partitions, *, end):
        return dict.fromkeys(partitions, self.end if end else self.start)

    async def read_committed(self, partitions, _timeout_s):
        return {p: self.committed[p] for p in partitions if p in self.committed}


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def recovery(log):
    settings = KafkaSettings(auto_offset_reset="latest", on_new_log="latest")
    watch = SimpleNamespace(remembered=lambda _: None, number=lambda _: log.number)

    async def known(partitions):
        return dict.fromkeys(partitions) | await no_logs(partitions)

    return Recovery(settings, watch, log.bounds, log.read_committed, known)


async def where(recovery, *partitions):
    return {p: (begin.offset, begin.committed) for p, begin in (await recovery.begin(list(partitions))).items()}


async def test_after_an_undone_transaction_it_begins_where_it_began(recovery, log):
    """Events that were scored in between would be left out, and counted nowhere."""
    assert await where(recovery, PLACE) == {PLACE: (100, False)}
    log.end = 150
    assert await where(recovery, PLACE, OTHER) == {PLACE: (100, False), OTHER: (150, False)}
    log.committed[PLACE] = (120, "")
    assert await where(recovery, PLACE, OTHER) == {PLACE: (120, True), OTHER: (150, False)}
    del log.committed[PLACE]  # with its topic
    assert await where(recovery, PLACE) == {PLACE: (150, False)}
    log.end = 200
    recovery.clear()  # another member had it meanwhile
    assert await where(recovery, PLACE) == {PLACE: (200, False)}


async def test_the_same_of_a_log_that_took_anothers_place(recovery, log):
    assert (await recovery.new_log(PLACE, 500, NewLog("why"))).offset == 100
    log.end = 150
    assert (await recovery.new_log(PLACE, 500, NewLog("why"))).offset == 100
    log.end = 60  # it is yet another one
    assert (await recovery.new_log(PLACE, 500, NewLog("why"))).offset == 60
    log.number, log.end = 1, 70
    assert (await recovery.new_log(PLACE, 500, NewLog("why"))).offset == 70

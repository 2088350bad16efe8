"""Where books and topics differ, and that it is said."""

from dataclasses import replace

import numpy as np
import pytest

from farthing.audit.compare import LedgerCount, compare, counted_to
from farthing.audit.recount import Outcomes, place_of


def account(base, stop, *, scored=None, dead=0, partition=0, model="m@1"):
    return LedgerCount("e", partition, model, base, stop, stop - base - dead if scored is None else scored, dead)


def answered(scored, dead=(), **more):
    found = Outcomes(**more)
    found.scored.add(np.array(list(scored), np.int64))
    found.dead.add(np.array(list(dead), np.int64))
    return found


def one(accounts, found, deleted=None):
    (compared,) = compare("e", accounts, {0: found}, {} if deleted is None else {0: deleted})
    return compared


def test_they_agree():
    accounts = [account(0, 10, dead=2), account(10, 15, model="m@2")]
    found = one(accounts, answered({*range(15)} - {3, 4}, {3, 4}, later=7))
    assert found.findings == ()
    assert (found.ledger_scored, found.scored, found.ledger_dead, found.dead, found.later) == (13, 13, 2, 2, 7)
    assert counted_to(accounts) == {0: 15}


@pytest.mark.parametrize(
    "accounts, scored, dead, said",
    [
        ([account(0, 10)], range(9), (), "the ledger has 10 scored, the topics 9"),
        ([account(0, 10, dead=1)], range(10), (), "the ledger has 1 dead, the topics 0"),
        # The sums are right, the counts are not.
        ([account(0, 5), account(5, 10, scored=4, model="m@2")], {*range(10)} - {2}, (), "has 5 scored, the topics 4"),
        ([account(0, 5), account(7, 10, model="m@2")], range(10), (), "2 scored and 0 dead events lie between"),
        ([account(0, 8), account(5, 10, model="m@2")], range(10), (), "offsets 5 to 8 are in two counts"),
        ([account(0, 10, scored=10, dead=1)], range(10), {4}, "1 events were scored and are dead letters too"),
    ],
)
def test_differences_are_named(accounts, scored, dead, said):
    found = one(accounts, answered(scored, dead))
    assert any(said in finding for finding in found.findings), found.findings


def test_answers_without_any_count():
    assert "12 answers and no count" in one([], answered((), later=12)).findings[0]


def test_a_count_without_any_answer():
    (found,) = compare("e", [account(0, 3)], {}, {})
    assert "the ledger has 3 scored, the topics 0" in found.findings[0]


def test_what_retention_deleted_is_unknown_and_no_difference():
    found = one([account(0, 10)], answered(range(5, 10)), "s[0] begins at offset 5")
    assert found.findings == ()
    assert "begins at offset 5" in found.unknown


def test_each_log_is_compared_with_its_own_counts():
    accounts = [account(0, 10), replace(account(0, 5), log=1, lost=0)]
    found = {0: answered(range(10)), place_of(0, 1): answered(range(5))}
    one_, two = compare("e", accounts, found, {})
    assert [(c.partition, c.log, c.scored, c.findings) for c in (one_, two)] == [(0, 0, 10, ()), (0, 1, 5, ())]


def test_lost_events_are_said():
    found = one([account(0, 10), replace(account(30, 40), lost=20)], answered([*range(10), *range(30, 40)]))
    assert (found.lost, found.findings) == (20, ())

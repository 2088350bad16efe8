"""What an audit says and returns, with the topics' counts and the books given."""

import json

import numpy as np
import pytest

from farthing.audit import report as module
from farthing.audit.compare import LedgerCount, compare
from farthing.audit.recount import Outcomes
from farthing.audit.without_ledger import Books, books_of_topic
from farthing.errors import StartError
from farthing.kafka import reading
from farthing.sections import Settings

SETTINGS = Settings(route=[{"bundle": "moderation", "source": "e", "sink": "s", "dead_letters": "d"}])


@pytest.fixture
def audited(monkeypatch, capsys):
    """Audits with ``counts`` in the ledger (None: there is no ledger) or else in the usage topic."""

    async def run(outcomes, *, ledger=None, usage=None):
        def accounts(*_):
            if ledger is None:
                raise StartError("no ledger answers at http://here; start one")
            return ledger

        async def books_of_topic(_, why):
            return Books(usage, f"{why}; compared with the workers' totals in u" if usage else why)

        async def audit(_, route, books):
            ours = books.counts
            return compare(route.source, ours, outcomes, {}, books.name)

        monkeypatch.setattr(module, "_accounts", accounts)
        monkeypatch.setattr(module, "books_of_topic", books_of_topic)
        monkeypatch.setattr(module, "_audit", audit)
        code = await module.run(SETTINGS, ledger=None, as_json=True)
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return run


def answered(n, dead=()):
    found = Outcomes()
    found.scored.add(np.arange(n))
    found.dead.add(np.array(list(dead), np.int64))
    return {0: found}


COUNT = LedgerCount("e", 0, "m@1", 0, 10, 10, 0)


async def test_nothing_compared_is_no_agreement(audited):
    code, said, err = await audited({})
    assert (code, said["agrees"], said["recounted_only"]) == (4, False, True)
    assert "not compared with any books" in err
    code, said, _ = await audited(answered(3, dead=(1,)))
    assert (code, said["agrees"]) == (1, False)  # a finding is one without books too


async def test_empty_books_and_empty_topics_agree(audited):
    code, said, _ = await audited({}, ledger=[])
    assert (code, said["agrees"]) == (0, True)


@pytest.mark.parametrize("n, code", [(10, 0), (9, 1)])
async def test_only_a_ledger_is_called_one(audited, n, code):
    got, _, err = await audited(answered(n), usage=[COUNT])
    assert got == code
    assert "the books" in err
    assert "ledger" not in err.replace("no ledger answers at http://here", "")
    got, _, err = await audited(answered(n), ledger=[COUNT])
    assert got == code
    assert "the ledger" in err
    assert "the books" not in err


async def test_what_others_wrote_cannot_move_the_cursor(audited):
    other = LedgerCount("\x1b[2Jx", 0, "m", 0, 1, 1, 0)
    _, _, err = await audited(answered(9), usage=[LedgerCount("e", 0, "\x1b]0;m\x07", 0, 10, 10, 0), other])
    assert "\x1b" not in err
    assert "\\x1b]0;m\\x07" in err
    assert "\\x1b[2Jx" in err


async def test_a_usage_topic_that_is_missing_names_its_own_setting(monkeypatch):
    async def none(*_):
        return {}

    monkeypatch.setattr(reading, "partition_counts", none)
    books = await books_of_topic(SETTINGS, "no ledger")
    assert books.counts is None
    assert "the topic does not exist; check meter.usage_topic in the settings" in books.source

"""Made-up events laid out as a service with a map reads them."""

import pytest
from loadtest.events import TASKS, made_up
from loadtest.field_map import layout_of, of_task

from farthing import Scorer
from farthing.errors import ConfigError
from farthing.payload import FieldPlan

FIELDS = {
    "moderation": {"text": "comment.text", "id": "user_id"},
    "rerank": {
        "query": "q", "text": "docs[*].body", "candidate_id": "docs[*].key", "title": "docs[*].text",
        "score": "docs[*].s",
    },
    "bidding": {"id": r"request\.id", "test": "is.test", "imp_id": "imp[*].pmp.key"},
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_a_mapped_service_scores_them_as_one_without_a_map_scores_the_others(task):
    own, mapped = Scorer.load(task, verify=False), Scorer.load(task, verify=False, fields=FIELDS[task])
    lay_out = layout_of(own.field_plan, FIELDS[task])
    plain, laid = (
        [value for batch in made_up(task, 40, batch_events=20, lay_out=how).batches for value, _ in batch.messages]
        for how in (None, lay_out)
    )
    assert mapped.score_events(laid).values == own.score_events(plain).values
    assert len(laid[0]) > len(plain[0]) / 2
    assert layout_of(own.field_plan, {}) is None


@pytest.mark.parametrize("task", TASKS)
def test_malformed_events_stay_malformed(task):
    scorer = Scorer.load(task, verify=False, fields=FIELDS[task])
    lay_out = layout_of(Scorer.load(task, verify=False).field_plan, FIELDS[task])
    pool = made_up(task, 60, batch_events=20, malformed_share=0.5, lay_out=lay_out)
    values = [value for batch in pool.batches for value, _ in batch.messages]
    assert int((scorer.score_events(values).status != 0).sum()) == pool.malformed


def test_pairs_go_to_the_tasks_that_have_the_name():
    plans = {task: FieldPlan.from_manifest(Scorer.load(task, verify=False).manifest.field_plan) for task in TASKS}
    parted = of_task(plans, {"test": "t", "query": "q"})
    assert parted == {"moderation": {}, "rerank": {"query": "q"}, "bidding": {"test": "t"}}
    with pytest.raises(ConfigError, match="--map txt=a: nothing is called"):
        of_task(plans, {"txt": "a"})
    with pytest.raises(ConfigError, match=r"--map query=a\.\.b: .*empty key"):
        of_task(plans, {"query": "a..b"})

"""The oracle finds each anomaly that is put into a clean history, and nothing in one that is only full of repeats."""

import dataclasses
import random

import pytest

from .oracle import ANOMALIES, Answer, Commit, Due, History, judge

SEEDS = range(12)
PARTITIONS = 3


def clean(seed):
    """A history of several producers that go back, take over from each other and repeat, as crashes make them."""
    random_ = random.Random(seed)
    due, scores, dead, commits = {}, [], [], []
    for partition in range(PARTITIONS):
        offset = random_.randrange(100)
        for n in range(random_.randint(60, 120)):
            offset += random_.choice((1, 1, 1, 3))  # control batches and aborted events leave gaps
            key = f"k{n % 5}".encode()
            is_dead = random_.random() < 0.2
            due[partition, offset] = Due(key, b"%d:%d" % (partition, offset), is_dead)
        answers, committed = _answers(random_, [p for p in sorted(due) if p[0] == partition], due)
        commits += committed
        for kind, topic in ((False, scores), (True, dead)):
            topic += [answer for answer in answers if due[answer.place].dead == kind]
    usage = {
        p: (sum(not due[q].dead for q in due if q[0] == p), sum(due[q].dead for q in due if q[0] == p))
        for p in range(PARTITIONS)
    }
    return History(due, scores, dead, usage=usage, commits=commits, audit="")


def _answers(random_, places, due):
    """Answers of one partition, and its commits: each owner begins where the one before it had committed."""
    found, commits, at, committed, producer, now = [], [], 0, 0, 0, 0

    def write(block, producer):
        batch = len(found)
        found.extend(Answer(p, due[p].key, due[p].value, (producer, 0), batch, time_ms=now) for p in block)

    while at < len(places):
        now += 10
        if random_.random() < 0.2:
            producer = random_.randrange(4)
            at = committed = max(committed, at - random_.randrange(8))
            commits.append(Commit(places[at][0], places[at][1], now - 5))
            if random_.random() < 0.3:  # one that had lost the partition without noticing ends its block
                write(places[max(at - 3, 0) : at], 100 + now)
        count = random_.randint(1, 9)
        write(places[at : at + count], producer)
        at += count
    return found, commits


def at_random(seed, answers, condition=lambda answer: True):
    return random.Random(seed).choice([k for k, answer in enumerate(answers) if condition(answer)])


def unique(history, kind):
    """Places with one answer only."""
    answers = getattr(history, kind)
    return lambda answer: sum(other.place == answer.place for other in answers) == 1


def changed(history, kind, change):
    answers = list(getattr(history, kind))
    change(answers)
    return dataclasses.replace(history, **{kind: answers})


def losing_one(history, seed, kind="scores"):
    return changed(history, kind, lambda a: a.pop(at_random(seed, a, unique(history, kind))))


def losing_a_dead_one(history, seed):
    return losing_one(history, seed, "dead")


def losing_a_write(history, seed):
    return dataclasses.replace(history, unwritten=[f"event-{seed}"])


def with_another_value(history, seed):
    k = at_random(seed, history.scores)
    return changed(history, "scores", lambda a: a.__setitem__(k, a[k]._replace(value=b"else")))


def with_a_repeat_of_other_bytes(history, seed):
    k = at_random(seed, history.scores)
    again = history.scores[k]._replace(value=history.scores[k].value + b" ", batch=1 << 40, producer=(99, 0))
    return changed(history, "scores", lambda a: a.append(again))


def with_another_key(history, seed):
    k = at_random(seed, history.dead)
    return changed(history, "dead", lambda a: a.__setitem__(k, a[k]._replace(key=None)))


def scoring_a_bad_event(history, seed):
    letter = history.dead[at_random(seed, history.dead)]
    return changed(history, "scores", lambda a: a.append(letter._replace(batch=1 << 40)))


def answering_nothing(history, seed):
    partition = seed % PARTITIONS
    return changed(history, "scores", lambda a: a.append(a[-1]._replace(place=(partition, 10_000), batch=1 << 40)))


def answering_an_aborted_event(history, seed):
    last = max(offset for partition, offset in history.due if partition == 0)
    gap = next(n for n in range(last) if (0, n) not in history.due)
    return changed(history, "scores", lambda a: a.insert(3, a[0]._replace(place=(0, gap))))


def saying_nothing(history, seed):
    return changed(history, "scores", lambda a: a.append(a[-1]._replace(place=None)))


def swapping_two_in_a_batch(history, seed):
    answers, once = history.scores, unique(history, "scores")
    k = at_random(
        seed, answers[:-1], lambda a: once(a) and a.batch == answers[answers.index(a) + 1].batch and
        a.place[0] == answers[answers.index(a) + 1].place[0] and a.producer == answers[answers.index(a) + 1].producer
    )  # fmt: skip
    return changed(history, "scores", lambda a: a.__setitem__(slice(k, k + 2), [a[k + 1], a[k]]))


def swapping_two_batches(history, seed):
    """Two whole batches that nobody wrote again stand the wrong way round."""
    places = sorted(place for place, due in history.due.items() if place[0] == 1 and not due.dead)
    blocks = [places[k : k + 5] for k in range(0, len(places), 5)]
    blocks[1], blocks[2] = blocks[2], blocks[1]
    answers = [
        Answer(place, history.due[place].key, history.due[place].value, (7, 0), number)
        for number, block in enumerate(blocks)
        for place in block
    ]
    others = [answer for answer in history.scores if answer.place[0] != 1]
    return dataclasses.replace(history, scores=others + answers)


def skipping_and_coming_back(history, seed):
    """An answer that comes at the end, long after the later ones."""

    def move(answers):
        once = unique(history, "scores")
        last = {answer.place[0]: answer.place for answer in answers}.values()
        k = at_random(seed, answers, lambda answer: once(answer) and answer.place not in last)
        answers.append(answers.pop(k)._replace(batch=1 << 40))

    return changed(history, "scores", move)


def counting_one_too_many(history, seed):
    scored, dead = history.usage[0]
    return dataclasses.replace(history, usage={**history.usage, 0: (scored, dead + 1)})


def counting_repeats(history, seed):
    scored, dead = history.usage[1]
    return dataclasses.replace(history, usage={**history.usage, 1: (scored + 5, dead)})


def counting_a_partition_not_at_all(history, seed):
    return dataclasses.replace(history, usage={p: count for p, count in history.usage.items() if p != 2})


def committing_too_early(history, seed):
    """A commit that comes before the first answer to what it covers."""
    first = history.scores[at_random(seed, history.scores, lambda a: unique(history, "scores")(a))]
    partition, offset = first.place
    return dataclasses.replace(history, commits=[Commit(partition, offset + 1, first.time_ms - 1)])


def going_back_too_far(history, seed):
    """Two batches more, of places that were committed."""
    whole = Commit(0, 10_000, (1 << 40) - 1)
    history = dataclasses.replace(history, commits=[*history.commits, whole])
    again = [
        answer._replace(producer=(99, 0), batch=(1 << 40) + k, time_ms=1 << 40)
        for k, answer in enumerate(history.scores[:2])
    ]
    return changed(history, "scores", lambda a: a.extend(again))


def an_audit_that_disagrees(history, seed):
    return dataclasses.replace(history, audit="the ledger has 3 events, the topics 4")


MUTANTS = [
    (losing_one, {"lost", "poll-skip", "books"}),
    (losing_a_dead_one, {"lost", "poll-skip", "books"}),
    (losing_a_write, {"lost"}),
    (with_another_value, {"corrupted"}),
    (with_a_repeat_of_other_bytes, {"corrupted"}),
    (with_another_key, {"corrupted"}),
    (scoring_a_bad_event, {"corrupted", "books"}),
    (answering_nothing, {"foreign"}),
    (answering_an_aborted_event, {"foreign"}),
    (saying_nothing, {"foreign"}),
    (swapping_two_in_a_batch, {"reordered", "poll-skip"}),
    (swapping_two_batches, {"reordered", "poll-skip"}),
    (skipping_and_coming_back, {"reordered", "poll-skip"}),
    (committing_too_early, {"early"}),
    (going_back_too_far, {"late"}),
    (counting_one_too_many, {"books"}),
    (counting_repeats, {"books"}),
    (counting_a_partition_not_at_all, {"books"}),
    (an_audit_that_disagrees, {"books"}),
]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clean_history_is_full_of_repeats_and_nothing_is_wrong_with_it(seed):
    verdict = judge(clean(seed))
    assert verdict.wrong() == {}
    assert verdict.counts["duplicated"] > 0
    assert set(verdict.wrong(exactly_once=True)) == {"duplicated"}
    assert verdict.incarnations > PARTITIONS


@pytest.mark.parametrize(("mutant", "names"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_put_in_is_found_and_named(mutant, names):
    for seed in SEEDS:
        found = set(judge(mutant(clean(seed), seed)).wrong())
        # The last place of a partition can be lost without anything being skipped.
        assert names - {"poll-skip"} <= found <= names, (seed, found)


def test_every_anomaly_has_a_mutant():
    assert {name for _, names in MUTANTS for name in names} | {"duplicated"} == set(ANOMALIES)


def test_a_letter_with_a_whole_batch_answers_all_its_places():
    due = {(0, n): Due(None, b"%d" % n, n == 3) for n in range(10)}
    scores = [Answer((0, n), None, b"%d" % n, (1, 0), n) for n in (0, 1, 2, 7, 8, 9)]
    letter = Answer((0, 3), None, b"raw", (1, 0), 0, next_offset=7)
    whole = judge(History(due, scores, [letter], usage={0: (6, 0)}))
    assert whole.wrong() == {}
    assert {"lost", "poll-skip"} <= set(judge(History(due, scores, [])).wrong())


def test_examples_are_bounded():
    due = {(0, n): Due(None, b"", False) for n in range(1_000)}
    verdict = judge(History(due, [], []))
    assert verdict.counts["lost"] == 1_000
    assert len(verdict.examples["lost"]) <= 5

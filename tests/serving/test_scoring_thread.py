"""Small calls run at once while they are quick and nothing runs on the thread; all others run there, one by one."""

import asyncio
import threading
import time

import pytest

from farthing.errors import ScoreError
from farthing.serving.scoring_thread import QUICK_S, ScoringThread

HERE = threading.get_ident()


@pytest.fixture
def scoring():
    made = ScoringThread(60)
    yield made
    made.close()


def burn(seconds):
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


async def test_a_small_call_runs_at_once_and_others_on_the_thread(scoring):
    assert await scoring.call(threading.get_ident, small=True) == HERE
    assert await scoring.call(threading.get_ident) != HERE
    assert await scoring.call(threading.get_ident, small=True) == HERE
    with pytest.raises(ZeroDivisionError):
        await scoring.call(lambda: 1 // 0, small=True)
    with pytest.raises(ZeroDivisionError):
        await scoring.call(lambda: 1 // 0)


async def test_what_is_slow_moves_to_the_thread_until_it_is_quick_again(scoring):
    seconds, places = 3 * QUICK_S, []

    def work():
        places.append(threading.get_ident() == HERE)
        burn(seconds)

    await scoring.call(work, small=True)
    await scoring.call(work, small=True)
    seconds = 0.0
    await scoring.call(work, small=True)
    await scoring.call(work, small=True)
    assert places == [True, False, False, True]
    assert await scoring.call(threading.get_ident, small=True) == HERE  # each function by itself


async def test_a_small_call_waits_for_the_thread(scoring):
    """A route's state is not for two calls at once."""
    go, begun, order = threading.Event(), threading.Event(), []

    def long():
        begun.set()
        assert go.wait(30)
        order.append("long")

    one = asyncio.create_task(scoring.call(long))
    await asyncio.to_thread(begun.wait, 30)
    two = asyncio.create_task(scoring.call(order.append, "small", small=True))
    await asyncio.sleep(0.01)
    go.set()
    await asyncio.gather(one, two)
    assert order == ["long", "small"]


async def test_a_call_on_the_thread_has_a_limit():
    scoring, go = ScoringThread(0.2), threading.Event()
    with pytest.raises(ScoreError, match=r"worker.stall_timeout_ms = 200"):
        await scoring.call(go.wait, 30)
    go.set()
    scoring.close()

"""A worker that its group has put out for want of a right joins anew until it is let in; a start fails."""

import asyncio

import pytest

from farthing.errors import BrokerError, PutOutError
from farthing.process.probes import Health
from farthing.serving import rejoining
from farthing.serving.rejoining import keep_running


class Pipelines:
    """Makes pipelines that end one after the other, each as it is said: (whether it had joined, what it raises)."""

    def __init__(self, stop, *ends):
        self.stop, self.ends, self.made = stop, list(ends), 0

    def __call__(self):
        self.made += 1
        self.joined, self.error = self.ends.pop(0)
        return self

    async def run(self, stop, *, drain_timeout_s):
        assert (stop, drain_timeout_s) == (self.stop, 1.0)
        if self.error is not None:
            raise self.error


@pytest.fixture
def stop():
    return asyncio.Event()


async def run(pipelines, health=None):
    await asyncio.wait_for(keep_running(pipelines, pipelines.stop, health or Health(), drain_timeout_s=1.0), 20)


PUT_OUT = PutOutError("the group: grant this client the right to read it")
REFUSED = BrokerError("refused", retriable=True)


async def test_it_tries_until_it_is_let_in(stop, monkeypatch):
    monkeypatch.setattr(rejoining, "AGAIN_S", 0.001)
    pipelines, health = Pipelines(stop, (True, PUT_OUT), (False, REFUSED), (False, REFUSED), (True, None)), Health()
    await run(pipelines, health)
    assert pipelines.made == 4
    assert health.now == ("stalled", str(PUT_OUT))


@pytest.mark.parametrize("ends", [[(False, REFUSED)], [(True, PUT_OUT), (True, BrokerError("bad", retriable=False))]])
async def test_a_start_fails_and_so_does_one_that_was_let_in_again(stop, ends, monkeypatch):
    monkeypatch.setattr(rejoining, "AGAIN_S", 0.001)
    with pytest.raises(BrokerError, match=r"refused|bad"):
        await run(Pipelines(stop, *ends))


async def test_a_signal_ends_the_wait(stop):
    pipelines = Pipelines(stop, (True, PUT_OUT))
    running = asyncio.create_task(run(pipelines))
    await asyncio.sleep(0)
    stop.set()
    await running
    assert pipelines.made == 1

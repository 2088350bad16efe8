"""The probes' port: a list of what is there, which process this is, and no difference for a slash or HEAD."""

import contextlib
import os

import pytest
from aiohttp import ClientSession

from farthing.process.probes import PROBES, Health, listen


@contextlib.asynccontextmanager
async def listening():
    async def ready():
        return False, "stalled: a reason"

    async def metrics():
        return b"farthing_up 1\n"

    endpoint = await listen("127.0.0.1", 0, ready=ready, metrics=metrics, what="worker 3, under a supervisor")
    try:
        async with ClientSession(f"http://{endpoint.host}:{endpoint.port}") as client:
            yield client
    finally:
        await endpoint.close()


async def asked(client, path, method="get"):
    async with client.request(method, path, allow_redirects=False) as response:
        return response.status, await response.text(), response.headers


async def test_the_index_lists_the_probes_and_names_the_process():
    async with listening() as client:
        status, text, headers = await asked(client, "/")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        assert "worker 3, under a supervisor" in text
        assert f"process {os.getpid()} on " in text
        assert all(path in text for path in PROBES)


@pytest.mark.parametrize("path", ["/nothing", "/live/er", "/favicon.ico", "/%00", "/metrics/x/"])
async def test_unknown_paths_are_answered_with_the_list(path):
    async with listening() as client:
        status, text, _ = await asked(client, path)
        assert status == 404
        assert all(path in text for path in PROBES)
        assert (await asked(client, path, "head"))[:2] == (404, "")
        assert (await asked(client, path, "post"))[0] == 404


@pytest.mark.parametrize(("path", "status"), [("/live", 200), ("/ready", 503), ("/metrics", 200)])
async def test_a_slash_at_the_end_and_head_change_nothing(path, status):
    async with listening() as client:
        plain = await asked(client, path)
        assert plain[0] == status
        for other in (f"{path}/", f"{path}//", f"{path}/?a=b"):
            assert (await asked(client, other))[:2] == plain[:2]
        for other in (path, f"{path}/"):
            found, text, headers = await asked(client, other, "head")
            assert (found, text) == (status, "")
            assert headers["Content-Type"] == plain[2]["Content-Type"]
            assert (await asked(client, other, "post"))[0] == 405


def test_a_process_that_drains_is_never_ready_again():
    health = Health()
    health.set("running", "scoring")
    assert health.ready
    health.set("draining", "SIGTERM received")
    for late in ("running", "stalled", "joining", "starting"):
        health.set(late)
        assert health.now == ("draining", "SIGTERM received")
    health.set("failed", "a bug")
    assert health.now == ("failed", "a bug")

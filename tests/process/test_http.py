"""Applications on an address: one that is taken is a sentence that names the setting, and nothing is left open."""

import socket

import pytest
from aiohttp import ClientSession, web

from farthing.errors import StartError
from farthing.process.http import bind


@pytest.mark.parametrize("section", ["http", "ledger"])
async def test_an_address_in_use_is_one_sentence(section):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as raised:
            await bind(web.Application(), "127.0.0.1", port, section=section)
    said = str(raised.value)
    assert said.startswith(f"{section}.host = '127.0.0.1', {section}.port = {port}: cannot listen there (")
    assert said.endswith(f"set {section}.port")
    assert "\n" not in said


async def test_a_free_port_is_given_and_is_free_again_after_close():
    endpoint = await bind(web.Application(), "127.0.0.1", 0, section="http")
    async with ClientSession() as client, client.get(f"http://{endpoint.host}:{endpoint.port}/") as response:
        assert response.status == 404
    await endpoint.close()
    again = await bind(web.Application(), "127.0.0.1", endpoint.port, section="http")
    await again.close()

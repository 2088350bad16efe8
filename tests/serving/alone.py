"""A broker, a worker and the ledger in a network with nothing else: ``python -m tests.serving.alone FOLDER``.

Events are scored, counted and shown. The last line of the output is JSON: the ports that belong to this run.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from farthing.errors import FarthingError
from farthing.ledger.client import ask
from farthing.local.broker import Tansu
from farthing.local.process import free_port
from tests.serving.running import Service, event

EVENTS = 50


async def counted(address, ledger):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and ledger.poll() is None:
        with contextlib.suppress(FarthingError):
            if sum(one["scored"] for one in await asyncio.to_thread(ask, address, "/api/accounts")) == EVENTS:
                return
        await asyncio.sleep(0.3)
    raise AssertionError("the ledger has not counted the events")


async def run(folder):
    ledger_port = free_port()
    with Tansu() as broker:
        more = f'[ledger]\nport = {ledger_port}\ndata_dir = "{folder / "ledger"}"\n'
        service = Service(broker, folder, partitions=2, extra=more)
        await service.create_topics()
        service.start()
        with (folder / "ledger.log").open("wb") as log:
            ledger = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-m", "farthing", "ledger", "-c", str(service.config)], stdout=log, stderr=log
            )
        try:
            await service.ready()
            await service.send([event(n, f"comment {n}") for n in range(EVENTS)], batch_records=10)
            assert len(await service.read(service.sink, EVENTS)) == EVENTS
            await counted(f"http://127.0.0.1:{ledger_port}", ledger)
            assert service.get("/metrics")[0] == 200
        finally:
            ledger.send_signal(signal.SIGTERM)
            ledger.wait(30)
            service.stop()
        print(json.dumps({"broker": broker.port, "worker": service.port, "ledger": ledger_port}))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))

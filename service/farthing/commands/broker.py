"""``farthing broker``: a broker on a fixed port of this machine, for trying your own producer."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Final, Literal

from rich.console import Console

from farthing.errors import ConfigError
from farthing.local.broker import ApacheKafka, Tansu

Kind = Literal["tansu", "apache-kafka"]

LOOK_EVERY_S: Final = 0.5
EVENT: Final = '{"id": 1, "text": "have a nice day"}'
# Tansu waits for more members of a group for half of the session's timeout before it lets one begin.
_JOINS_SLOWLY: Final = "  (on this broker it joins after half of kafka.session_timeout_ms)"
_NEW_CLIENTS: Final = "\n            (this broker refuses kcat and others with librdkafka before 2.2: kcat -V says)"
TOPIC: Final = "events.moderation"  # of `farthing config init`


def run(kind: Kind, *, port: int) -> int:
    """Run the broker until SIGINT, SIGTERM or SIGHUP; nothing is left of it then.

    The address goes to standard output as soon as the broker takes connections.

    Raises
    ------
    ConfigError
        The port is none.
    StartError
        The broker is not installed here, the port is taken, or the broker did not start or has died.
    """
    if not 1 <= port <= 65_535:
        raise ConfigError(f"--port {port}: a port is a number from 1 to 65535")
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    stop = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the last one: the terminal is closed
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: stop.set())
    broker = Tansu(port) if kind == "tansu" else _apache_kafka(port)
    console.print("starting a broker ...", style="dim")
    with broker:
        if not stop.is_set():
            sys.stdout.write(f"{broker.bootstrap_servers}\n")
            sys.stdout.flush()
            console.print(how_to(broker.bootstrap_servers, port, kind))
        while not stop.wait(LOOK_EVERY_S):
            broker.check()
    return 0


def _apache_kafka(port: int) -> ApacheKafka:
    """Make a node that creates a topic when it is first asked for, as the other broker does."""
    return ApacheKafka(port=port, properties={"auto.create.topics.enable": "true", "num.partitions": "4"})


def how_to(address: str, port: int, kind: Kind) -> str:
    """Say how to score events on the broker, and how to send one."""
    from farthing import config

    settings = "farthing config init"
    if f'"localhost:{port}"' not in config.EXAMPLE:
        settings += f', then bootstrap_servers = ["{address}"] in farthing.toml'
    return (
        f"a broker is listening on {address}; Ctrl-C stops it, and its data is then gone\n"
        f"settings:   {settings}\n"
        "topics:     farthing topics create -c farthing.toml --partitions 4\n"
        f"scores:     farthing serve -c farthing.toml{_JOINS_SLOWLY if kind == 'tansu' else ''}\n"
        f"an event:   echo '{EVENT}' | kcat -P -b {address} -t {TOPIC}\n"
        f"its score:  kcat -C -b {address} -t scores.moderation{_NEW_CLIENTS if kind == 'tansu' else ''}"
    )

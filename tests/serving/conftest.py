"""Services that end with their test, however it ends, and a broker that may be killed."""

import os

import pytest

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka

from .running import Service


@pytest.fixture
def make_service(tmp_path):
    """Make services; whatever state they are in at the end, nothing of them is left running."""
    made = []

    def make(broker, **options):
        made.append(Service(broker, tmp_path, **options))
        return made[-1]

    yield make
    for service in made:
        for member in service.family:
            member.end()


@pytest.fixture(scope="module")
def module_kafka():
    """An Apache Kafka node of the module's own."""
    try:
        broker = ApacheKafka()
    except StartError as error:
        if os.environ.get("FARTHING_REQUIRE_KAFKA", "") not in ("", "0"):
            pytest.fail(f"FARTHING_REQUIRE_KAFKA is set, but: {error}")
        pytest.skip(str(error))
    with broker:
        yield broker


@pytest.fixture
def mortal_kafka(module_kafka):
    """The module's node, to be killed, stopped and started; it runs again for the next test."""
    if module_kafka.process is None:
        module_kafka.start()
    return module_kafka

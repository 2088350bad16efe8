"""A right on the source or on the group that is withdrawn while a worker runs: it waits, says so, and goes on by itself."""

import pytest

from farthing.errors import StartError
from farthing.local.broker import ApacheKafka

from .acls import denied
from .running import SESSION_TIMEOUT_MS, event

pytestmark = pytest.mark.kafka

KAFKA = {"session_timeout_ms": SESSION_TIMEOUT_MS, "heartbeat_interval_ms": 300, "metadata_max_age_ms": 1_000}


@pytest.fixture(scope="module")
def strict_kafka():
    """A broker with an authorizer, which allows what no rule is about."""
    try:
        broker = ApacheKafka(properties={
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        })  # fmt: skip
    except StartError as error:
        pytest.skip(str(error))
    with broker:
        yield broker


@pytest.mark.parametrize(
    ("which", "hidden", "delivery"),
    [
        ("source", False, "exactly_once"), ("source", True, "at_least_once"),
        ("group", False, "at_least_once"), ("group", True, "exactly_once"),
    ],
)  # fmt: skip
async def test_a_worker_waits_for_its_right(strict_kafka, make_service, which, hidden, delivery):
    service = make_service(strict_kafka, partitions=2, kafka=KAFKA | {"delivery": delivery})
    await service.create_topics()
    service.start()
    await service.ready()
    await service.send([event(n, f"text {n}") for n in range(100)], batch_records=10)
    await service.all_committed()
    name = getattr(service, which)
    async with denied(service, which, name, hidden=hidden):
        if not hidden:
            await service.send([event(n, f"text {n}") for n in range(100, 200)], batch_records=10)
        said = await service.stalled()
        assert name in said and "right" in said, said
    if hidden:
        await service.send([event(n, f"text {n}") for n in range(100, 200)], batch_records=10)
    await service.ready()
    await service.all_committed()
    assert service.process.poll() is None
    answered, repeats = await service.check_delivery()
    assert answered == 200 and (not repeats or delivery == "at_least_once")
    assert service.stop() == 0

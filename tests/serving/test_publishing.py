"""A publisher's batches: small enough, and what the broker refuses of one does not hold up the others."""

from collections import Counter

import numpy as np
import pytest

from farthing.blocks import FetchedPartition
from farthing.errors import BrokerError
from farthing.meter.records import TenantCount, UsageRecord
from farthing.meter.usage import UsageTotals
from farthing.serving.publishing import MOST_BATCH_BYTES, Publisher, batch_of
from farthing.wire import Arena, decode


def record(partition, n_tenants=0):
    tenants = {f"tenant-{n:050}": TenantCount(n, n, n) for n in range(n_tenants)}
    return UsageRecord("e", partition, "m@1", "moderation", 0, partition, 1, UsageTotals(), tenants)


class Broker:
    """Takes batches whose every value is at most so long."""

    def __init__(self, longest=1 << 30, error="the broker refuses a batch"):
        self.longest, self.error = longest, error
        self.batches, self.tried = [], 0

    async def start(self):
        pass

    async def send(self, batches):
        (batch,) = batches
        self.tried += 1
        block = decode([FetchedPartition("u", 0, 0, 1, batch.data.data)], Arena())
        if int((block.value_stop - block.value_start).max()) > self.longest:
            raise BrokerError(self.error, retriable=False)
        self.batches.append((len(batch.data), len(block)))


def publisher(broker):
    return Publisher(broker, "u", make_topics=None)


def test_records_have_no_timestamp_for_a_broker_to_refuse():
    batch = batch_of("u", [record(1), record(2)])
    block = decode([FetchedPartition("u", 0, 0, 2, batch.data.data)], Arena())
    assert np.all(block.timestamps_ms == -1)


async def test_a_thousand_partitions_with_tenants_are_many_batches():
    broker = Broker()
    records = [record(n, 150) for n in range(1_000)]
    assert await publisher(broker).send(records) == records
    assert len(broker.batches) > 10
    assert max(size for size, _ in broker.batches) < 2 * MOST_BATCH_BYTES
    assert sum(n for _, n in broker.batches) == 1_000


async def test_a_record_that_is_too_large_holds_up_no_other():
    broker = Broker(longest=2_000)
    records = [record(n, 100 if n in (3, 40) else 0) for n in range(64)]
    one = publisher(broker)
    acknowledged = await one.send(records)
    assert Counter(r.partition for r in acknowledged) == Counter(set(range(64)) - {3, 40})
    assert one.trouble == "the broker refuses a batch"
    assert broker.tried < 30


async def test_a_topic_that_takes_nothing_is_tried_twice_not_for_each_record():
    broker = Broker(longest=1, error="TopicAuthorizationFailedError")
    one = publisher(broker)
    assert await one.send([record(n) for n in range(200)]) == []
    assert broker.tried == 2
    assert "Authorization" in one.trouble


@pytest.mark.parametrize("failures", [1, 3, 9])
async def test_attempts_become_rarer_and_a_good_one_ends_that(failures):
    broker = Broker(longest=1)
    one = publisher(broker)
    assert one.pause_s == 0
    for _ in range(failures):
        await one.send([record(1)])
    assert one.pause_s == {1: 1.0, 3: 5.0, 9: 30.0}[failures]
    broker.longest = 10_000
    assert len(await one.send([record(1)])) == 1
    assert (one.pause_s, one.trouble, one.trouble_s) == (0, None, 0)

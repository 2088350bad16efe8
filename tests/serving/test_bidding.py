"""Bid requests in, bid responses out, paced from a compacted topic, on Apache Kafka with the shipped bundle."""

import asyncio
import json
import re
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from farthing import Scorer

from .running import Service, eventually

pytestmark = pytest.mark.kafka

NATIVE = {"request": '{"ver":"1.2"}'}


def request(number, *, floor=None, **fields):
    impression = {"id": "1", "native": NATIVE, "ext": {"item_id": "all-14", "position": 1}}
    if floor is not None:
        impression["bidfloor"] = floor
    return json.dumps({"id": f"r{number}", "cur": ["USD"], "imp": [impression], **fields}).encode()


@pytest.fixture
async def service(apache_kafka, tmp_path):
    made = Service(apache_kafka, tmp_path, partitions=2, bundle="bidding", route='pacing = "PACING"\n')
    made.pacing = f"pacing.{made.name}"
    made.config.write_text(made.config.read_text().replace("PACING", made.pacing))
    command = [sys.executable, "-m", "farthing", "topics", "create", "-c", str(made.config), "--partitions", "2"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
    yield made
    made.stop()


async def pace(service, *records):
    producer = AIOKafkaProducer(bootstrap_servers=service.servers, acks="all")
    await producer.start()
    for campaign, value in records:
        await producer.send_and_wait(service.pacing, value, key=campaign)
    await producer.stop()


async def multiplier(service, expected):
    def shown():
        found = re.search(r"^farthing_pacing_multiplier\{[^}]*\} (\S+)", service.get("/metrics")[1], re.MULTILINE)
        return found is not None and float(found[1]) == expected

    await eventually(shown, 30, lambda: service.log.read_text()[-2000:])


def counts(service, name):
    text = service.get("/metrics")[1]
    return {
        tuple(re.findall(r'(?:outcome|test)="([^"]*)"', labels)): float(value)
        for labels, value in re.findall(rf"^{name}_total{{(.*)}} (\S+)", text, re.MULTILINE)
    }


async def test_bid_requests_are_answered_paced_and_counted(service):
    admin = AIOKafkaAdminClient(bootstrap_servers=service.servers)
    await admin.start()
    [described] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, service.pacing)])
    await admin.close()
    assert ("cleanup.policy", "compact") in [entry[:2] for entry in described.resources[0][4]]

    await pace(
        service,
        (b"demonstration", b'{"multiplier":0.9}'), (b"demonstration", b'{"multiplier":0.5}'),
        (b"demonstration", b'{"multiplier":7}'), (b"another", b'{"multiplier":0.1}'),
    )  # fmt: skip
    service.start()
    await service.ready()
    await multiplier(service, 0.5)  # read before the first request, the last good value
    assert counts(service, "farthing_pacing_updates") == {("applied",): 2, ("invalid",): 1, ("unknown_campaign",): 1}

    plain = [request(n) for n in range(300)]
    fresh = [
        *plain,
        request("floor", floor=1e5),
        request("test", test=1),
        request("currency", cur=["EUR"]),
        request("in time", tmax=600_000),
        b'{"id":"broken"',
        b'{"id":"no imp"}',
        b'{"id":5,"imp":[{"id":"1"}]}',
    ]
    await service.send(fresh, batch_records=40)
    await service.send([request("late", tmax=100), request("late test", tmax=100, test=1)], age_ms=5_000)
    answers = await service.read(service.sink, len(fresh) - 3 + 2)
    dead = await service.read(service.dead, 3)
    assert len(answers) == len(fresh) - 3 + 2
    assert {dict(r.headers)["farthing.error.reason"] for r in dead} == {b"syntax", b"no_rows", b"wrong_type"}
    assert len(dead) == 3
    by_id = {json.loads(record.value)["id"]: record.value for record in answers}

    # Time and pacing that an answer names are all that it depends on beside the request.
    scorer = Scorer.load("bidding")
    for number, value in enumerate(plain):
        stamped = json.loads(by_id[f"r{number}"])["ext"]["farthing"]
        assert stamped["pacing"] == 0.5
        again = scorer.score_events([value], now_ms=stamped["now_ms"], pacing=stamped["pacing"])
        assert again.values[0] == by_id[f"r{number}"]

    def told(name):
        response = json.loads(by_id[f"r{name}"])
        return response.get("nbr"), response["ext"]["farthing"].get("reason"), response["ext"]["farthing"]["billable"]

    assert told("floor") == (509, "below_floor", False)
    assert told("currency") == (502, "currency_not_accepted", False)
    assert told("late") == told("late test") == (15, "expired", False)
    assert told("in time") == (None, None, True)
    assert told("test") == (None, None, False)
    assert json.loads(by_id["rtest"])["seatbid"][0]["bid"][0]["price"] > 0

    assert counts(service, "farthing_bid_requests") == {
        ("bid", "false"): 301, ("bid", "true"): 1, ("below_floor", "false"): 1, ("currency_not_accepted", "false"): 1,
        ("expired", "false"): 1, ("expired", "true"): 1,
    }  # fmt: skip

    # The next value changes what comes after it; a bad one changes nothing.
    await pace(service, (b"demonstration", b'{"multiplier":0.25}'), (b"demonstration", b'{"multiplier":"all"}'))
    await multiplier(service, 0.25)
    await service.send([request("slower")])
    all_answers = await service.read(service.sink, len(answers) + 1)
    [slower] = [response for response in map(json.loads, (r.value for r in all_answers)) if response["id"] == "rslower"]
    price = slower["seatbid"][0]["bid"][0]["price"]
    assert slower["ext"]["farthing"]["pacing"] == 0.25
    assert price == pytest.approx(json.loads(by_id["r0"])["seatbid"][0]["bid"][0]["price"] / 2, abs=2e-6)
    assert service.stop() == 0

    # A tombstone takes the multiplier back; a new worker reads the whole topic before it bids.
    await pace(service, (b"demonstration", None))
    service.start()
    await service.ready()
    await multiplier(service, 1.0)
    assert service.stop() == 0


async def test_a_missing_pacing_topic_stops_the_start(service):
    service.config.write_text(service.config.read_text().replace(service.pacing, "pacing.none"))
    service.start()
    await eventually(lambda: service.process.poll() is not None, 90)
    assert service.process.returncode == 3
    assert "the pacing topic does not exist" in service.log.read_text()


async def test_pacing_is_for_bidding(apache_kafka, tmp_path):
    made = Service(apache_kafka, tmp_path, route='pacing = "p"\n')
    await made.create_topics()
    made.start()
    await eventually(lambda: made.process.poll() is not None, 90)
    assert made.process.returncode == 2
    assert "pacing and campaign are for bidding" in made.log.read_text()


async def test_a_route_may_have_a_campaign_of_its_own(apache_kafka, tmp_path):
    campaign = (
        '[route.campaign]\ncampaign = "own"\nvalue_per_click = 2.0\ncrid = "own-1"\nstrategy = "ortb"\n'
        "c = 0.4\nlambda = 3.5\nmax_cpm = 30\n"
    )
    made = Service(apache_kafka, tmp_path, partitions=1, bundle="bidding", route=campaign)
    await made.create_topics()
    made.start()
    await made.ready()
    value = request(1)
    await made.send([value])
    [answer] = await made.read(made.sink, 1)
    made.stop()
    own = Scorer.load("bidding").with_settings(
        {"campaign": "own", "currency": "USD", "value_per_click": 2.0, "crid": "own-1", "strategy": "ortb",
         "c": 0.4, "lambda": 3.5, "max_cpm": 30}
    )  # fmt: skip
    stamped = json.loads(answer.value)["ext"]["farthing"]
    assert stamped["strategy"] == "ortb" and stamped["pacing"] == 1.0
    assert own.score_events([value], now_ms=stamped["now_ms"]).values[0] == answer.value

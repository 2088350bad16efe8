"""Writes captured.txt: what a live Apache Kafka and we said, in hex. Run as ``python -m tests.kafka.protocol.capture``."""

import asyncio
import datetime

from farthing.local.broker import ApacheKafka
from tests.kafka.protocol.talking import say_everything, talking
from tests.kafka.protocol.test_live import CAPTURED, new_topic

KAFKA = "Apache Kafka 4.1.0"
LONGEST = 600  # bytes of a frame; ApiVersions' is longer in every version


async def capture(broker):
    topic = await new_topic(broker.bootstrap_servers)
    async with talking(broker.bootstrap_servers) as talk:
        await say_everything(talk, topic)
    lines = [f"# {KAFKA}, {datetime.date.today()}; API, version, kind, the frame without its size"]
    kept = set()
    for api, version, request, response in talk.frames:
        flexible = version in api.flexible
        chosen = version in (api.flexible.first - 1, api.flexible.first, talk.versions(api)[-1])
        chosen |= (api.name, version) in {("Metadata", 12), ("Fetch", 13), ("OffsetFetch", 8)}
        if (api.key, version) in kept or not chosen or (api.name == "ApiVersions" and not flexible):
            continue
        kept.add((api.key, version))
        lines.append(f"{api} {version} request {request.hex()}")
        if len(response) <= LONGEST or api.name == "ApiVersions":
            lines.append(f"{api} {version} response {response.hex()}")
    CAPTURED.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    with ApacheKafka() as broker:
        asyncio.run(capture(broker))

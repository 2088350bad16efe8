"""Rights that are withdrawn from everybody for a while, on a broker with an authorizer."""

import contextlib

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from farthing.kafka import KafkaSettings
from farthing.kafka.client import connect, disconnect, make_client

KINDS = {"source": 2, "group": 3}  # Kafka's numbers of resource types: topic, group
LITERAL = 3
READ, WRITE, DESCRIBE = 3, 4, 8
ANY, DENY, ALLOW = 1, 2, 3
USER = "User:ANONYMOUS"


async def ask(service, request):
    """Send one request of aiokafka's to the broker."""
    client = make_client(KafkaSettings(bootstrap_servers=(service.servers,)))
    await connect(client)
    try:
        return await client.send(client.get_random_node(), request)
    finally:
        await disconnect(client, 5)


@contextlib.asynccontextmanager
async def denied(service, which, name, *, hidden=False):
    """Deny reading, and with ``hidden`` describing too; the rest has to be allowed, once there is a rule."""
    kind = KINDS[which]
    describe = DENY if hidden else ALLOW
    for operation, permission in ((WRITE, ALLOW), (DESCRIBE, describe), (READ, DENY))[which == "group" :]:
        response = await ask(service, CreateAclsRequest(kind, name, LITERAL, USER, "*", operation, permission))
        assert response.creation_responses[0][0] == 0, response
    try:
        yield
    finally:
        await ask(service, DeleteAclsRequest(kind, name, LITERAL, USER, "*", ANY, ANY))

"""The tables against Kafka's published message schema, which Apache Kafka's own client library carries."""

import json
import re
import zipfile

import pytest

from farthing.errors import StartError
from farthing.kafka.protocol.table import Versions
from farthing.kafka.protocol.transactions import DESCRIBE_TRANSACTIONS
from farthing.local.broker import kafka_jars
from tests.kafka.protocol.messages import APIS


@pytest.fixture(scope="module")
def schema():
    """Reads one message's schema out of the jar."""
    try:
        (jar,) = kafka_jars().glob("kafka-clients-*.jar")
    except (StartError, ValueError) as error:
        pytest.skip(f"Apache Kafka's client library is not here: {error}")
    with zipfile.ZipFile(jar) as archive:
        yield lambda name: json.loads(
            re.sub(r"^\s*//.*$", "", archive.read(f"common/message/{name}.json").decode(), flags=re.M)
        )


@pytest.mark.parametrize("kind", ["request", "response"])
@pytest.mark.parametrize("api", [*APIS, DESCRIBE_TRANSACTIONS], ids=str)
def test_a_table_is_what_kafka_publishes(schema, api, kind):
    published = schema(f"{api}{kind.capitalize()}")
    shared = {struct["name"]: struct["fields"] for struct in published.get("commonStructs", [])}
    assert published["apiKey"] == api.key
    assert Versions.read(published["flexibleVersions"]) == api.flexible
    valid = Versions.read(published["validVersions"])
    assert api.versions.first == valid.first
    # An unstable version may still change; brokers do not offer it.
    assert api.versions.last == valid.last - (schema(f"{api}Request").get("latestVersionUnstable") is True)
    ours = api.request if kind == "request" else api.response
    for version in range(api.versions.first, api.versions.last + 1):
        assert _of_table(ours, version) == _of_schema(published["fields"], shared, version), (api, version)


def _of_table(fields, version):
    return [
        (
            f.kafka_name, f.type, version in f.nullable, f.tag if version in f.tagged else None, f.ignorable,
            _default(f.default) if not f.fields and not f.is_array else None, _of_table(f.fields, version),
        )
        for f in fields
        if version in f.versions
    ]  # fmt: skip


def _of_schema(fields, shared, version):
    found = []
    for field in fields:
        if version not in Versions.read(field["versions"]):
            continue
        type_ = field["type"]
        inner = field.get("fields") or shared.get(type_.removeprefix("[]"), [])
        tagged = version in Versions.read(field.get("taggedVersions", "none"))
        found.append(
            (
                field["name"], type_, version in Versions.read(field.get("nullableVersions", "none")),
                field["tag"] if tagged else None, field.get("ignorable") in (True, "true"),
                None if inner or type_.startswith("[]") else _published_default(type_, field.get("default")),
                _of_schema(inner, shared, version),
            )
        )  # fmt: skip
    return found


def _default(value):
    return None if value in (b"", bytes(16)) else value


def _published_default(type_, text):
    if text == "null" or type_ in ("bytes", "records", "uuid"):
        return None
    if type_ == "string":
        return text or ""
    if type_ == "bool":
        return str(text).lower() == "true"
    return int(str(text or 0), 0)

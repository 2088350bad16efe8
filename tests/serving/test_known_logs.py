"""What the books know of a source's logs is worth asking for, and no reason to stop."""

import structlog

from farthing.kafka import KafkaSettings
from farthing.serving.known_logs import known_logs


async def test_a_secret_that_cannot_be_read_for_a_moment_is_no_reason_to_stop(tmp_path):
    settings = KafkaSettings(
        security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_plain_username="bob",
        sasl_plain_password_file=tmp_path / "being-written",
    )  # fmt: skip
    with structlog.testing.capture_logs() as said:
        assert await known_logs(settings, "usage", [("events", 0)]) == {}
    (line,) = said
    assert line["event"] == "books_not_read"
    assert "being-written" in line["error"]

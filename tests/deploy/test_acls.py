"""deploy/kafka/acls.sh grants its rights by names that kafka-acls.sh knows."""

import os
import subprocess
from itertools import pairwise
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.sh"
KNOWN = {"READ", "WRITE", "CREATE", "DESCRIBECONFIGS"}
"""Kafka's names of operations, as its command takes them in capitals: without what is between their words."""


def granted(tmp_path):
    """Run the script with a command of ours in place of Kafka's; gives (user, operation, kind, name) of each call."""
    said, command = tmp_path / "said", tmp_path / "kafka-acls.sh"
    command.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", SCRIPT, "broker:9092"], check=True, timeout=60, env=os.environ | {"PATH": path})
    rows = []
    for line in said.read_text().splitlines():
        words = line.split()
        options = dict(pairwise(words))
        (kind,) = options.keys() & {"--topic", "--group"}
        user = options["--allow-principal"].removeprefix("User:")
        rows.append((user, options["--operation"], kind[2:], options[kind]))
    return rows


def test_it_grants_what_kafka_knows_and_the_sight_of_what_the_output_topics_take(tmp_path):
    rows = granted(tmp_path)
    assert {operation for _, operation, _, _ in rows} == KNOWN
    for topic in ("scores.moderation", "events.moderation.dead"):
        assert {
            ("farthing-worker", "WRITE", "topic", topic),
            ("farthing-worker", "DESCRIBECONFIGS", "topic", topic),
        } <= {*rows}

"""``farthing topics``: create what is missing, or check what is there."""

from __future__ import annotations

from pathlib import Path

from farthing.config import Settings, with_file
from farthing.kafka import create_topics
from farthing.process.output import report_console, write_json
from farthing.serving.topics import look, topics_of


async def check(settings: Settings, *, as_json: bool, given: Path | None = None) -> int:
    """Print what is and what is wrong; returns the exit code. ``given`` is the settings file that hints are to name."""
    findings, counts = await look(settings)
    console = report_console(as_json=as_json)
    for topic, count in counts.items():
        console.print(f"{topic}: {count} partitions", highlight=False)
    sentences = [with_file(str(finding), given) for finding in findings]
    for sentence in sentences:
        console.print(sentence, style="red", highlight=False, markup=False)
    if as_json:
        report = {"partitions": counts, "findings": sentences}
        write_json(report)
    return 1 if findings else 0


async def create(settings: Settings, *, partitions: int | None, replication_factor: int) -> int:
    """Create missing topics; returns the exit code."""
    created = await create_topics(
        settings.kafka,
        topics_of(settings),
        partitions=partitions,
        replication_factor=replication_factor,
    )
    console = report_console()
    for name in created:
        console.print(f"created {name}", highlight=False)
    if not created:
        console.print("all topics exist", highlight=False)
    return 0

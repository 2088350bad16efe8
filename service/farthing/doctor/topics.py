"""Looks at the topics: that they exist, how wide they are, what we may do with them, and what they accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from farthing.doctor.checks import Row, failed, ok, skipped, warning
from farthing.kafka.looking import NO_GROUPS, Cluster, GroupState
from farthing.kafka.rights import TopicState
from farthing.sections import RouteSettings, Settings

NONE: Final = 3
FORBIDDEN: Final = 29
GROUP_FORBIDDEN: Final = 30
RECORD_BYTES: Final = 64 << 10
"""For what a score or a dead letter has besides the event: headers, reasons, framing."""

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Use:
    """A topic, what it is for, and what a worker does with it."""

    topic: str
    role: str
    right: str
    source: str | None = None
    max_event_bytes: int = 0
    optional: bool = False
    """Whether a worker makes it at its first start."""


def uses(settings: Settings) -> list[Use]:
    """Return every topic that the settings name."""
    found = []
    for route in settings.route:
        found += _of_route(route)
    if settings.meter.enabled:
        meter = settings.meter
        found += [
            Use(meter.usage_topic, "usage", "WRITE", optional=True),
            Use(meter.heartbeat_topic, "heartbeats", "WRITE", optional=True),
        ]
    return found


def _of_route(route: RouteSettings) -> list[Use]:
    return [
        Use(route.source, "source", "READ"),
        Use(route.sink, "scores", "WRITE", route.source),
        Use(route.dead_letters, "dead letters", "WRITE", route.source, route.max_event_bytes),
        *([] if route.pacing is None else [Use(route.pacing, "pacing", "READ")]),
    ]


def existence(use: Use, cluster: Cluster) -> Row:
    """Check that a topic exists, has its partitions and a leader for each, and that we may use it."""
    check = f"{use.role} {use.topic}"
    topic = cluster.topics.get(use.topic, TopicState(use.topic, NONE))
    if topic.error == FORBIDDEN:
        return failed(
            check, "this client may not see it, or it does not exist", f"grant {use.right} on it: {_acl(use)}"
        )
    if topic.error or not topic.partitions:
        if use.optional:
            made = topic.error == NONE and (cluster.rights is None or "CREATE" in cluster.rights)
            note = "does not exist yet; a worker makes it at its first start"
            return (
                ok(check, note) if made else warning(check, note, "grant CREATE, or make it: one partition, compacted")
            )
        mend = "create it" if use.role == "source" else "run `farthing topics create`"
        return failed(check, "does not exist" if topic.error in (0, NONE) else f"Kafka's error {topic.error}", mend)
    wide = 0 if use.source is None else getattr(cluster.topics.get(use.source), "partitions", 0)
    if topic.partitions < wide:
        return failed(
            check, f"has {_many(topic.partitions, 'partition')}, its source {use.source} has {wide}",
            "add partitions: a score goes to the partition number of its event",
        )  # fmt: skip
    if topic.rights is not None and use.right not in topic.rights:
        return failed(check, f"this client may not {use.right.lower()} it", f"grant {use.right}: {_acl(use)}")
    if topic.leaderless:
        return failed(check, f"no broker leads partition {topic.leaderless[0]}", "start the broker that has it")
    if topic.behind:
        return warning(
            check, f"{len(topic.behind)} of {topic.partitions} partitions have replicas that are behind",
            "look at the brokers: one is down or slow",
        )  # fmt: skip
    if use.role == "usage" and topic.rights is not None and "READ" not in topic.rights:
        return warning(
            check, "this client may write it, and not read it: totals cannot go on where a source is created again",
            f"grant READ: {_acl(replace(use, right='READ'))}",
        )  # fmt: skip
    may = f", {use.right.lower()} allowed" if topic.rights is not None else ", rights not told by this broker"
    return ok(check, f"{_many(topic.partitions, 'partition')}{may}")


def limits(use: Use, topic: TopicState, configs: Mapping[str, str], settings: Settings) -> list[Row]:
    """Check what a topic accepts and keeps. ``configs`` are its settings, as the broker has them."""
    check = f"limits of {use.topic}"
    rows: list[Row] = []
    policy = configs.get("cleanup.policy", "delete")
    most = int(configs.get("max.message.bytes", 0))
    if use.right == "WRITE":
        if use.optional and policy != "compact":
            rows.append(warning(check, f"cleanup.policy = {policy}", "set it to compact, or the books are cut off"))
        if not use.optional and "compact" in policy:
            mend = "set cleanup.policy = delete: compaction drops scores of events with the same key"
            rows.append(warning(check, f"cleanup.policy = {policy}: a record without a key is refused", mend))
        if use.max_event_bytes and most and most < use.max_event_bytes + RECORD_BYTES:
            rows.append(
                warning(
                    check,
                    f"max.message.bytes = {most:,}, and route.max_event_bytes = {use.max_event_bytes:,}",
                    f"set it to {use.max_event_bytes + RECORD_BYTES:,}, or long events arrive cut",
                )
            )
        if configs.get("message.timestamp.type") != "LogAppendTime":
            before, after = (_bound(configs, f"message.timestamp.{side}.max.ms") for side in ("before", "after"))
            if (before and before < 7 * DAY_MS) or (after and after < 60_000):
                rows.append(
                    warning(
                        check,
                        "timestamps far from the broker's clock are refused (message.timestamp.*.max.ms)",
                        "allow a week before and an hour after, or the timestamps that the source allows",
                    )
                )
        in_sync = int(configs.get("min.insync.replicas", 1))
        if in_sync > topic.least_replicas:
            found = f"min.insync.replicas = {in_sync}, and {_many(topic.least_replicas, 'replica')}"
            rows.append(failed(check, found, "no write can succeed: lower it, or add replicas"))
        elif topic.least_replicas == 1 or in_sync == 1:
            rows.append(
                warning(
                    check,
                    f"{_many(topic.least_replicas, 'replica')}, min.insync.replicas = {in_sync}: "
                    "a lost disk loses records",
                    "with three brokers or more: 3 replicas and min.insync.replicas = 2",
                )
            )
    elif use.role == "source":
        kept = _bound(configs, "retention.ms")
        if kept and 0 < kept < DAY_MS:
            mend = "keep them longer than the longest outage that you plan for"
            rows.append(warning(check, f"events are deleted after {kept / 3_600_000:.1f} h, scored or not", mend))
    told = f"max.message.bytes = {most:,}" if most else "max.message.bytes not told by this broker"
    return rows or [ok(check, f"cleanup.policy = {policy}, {told}, {_many(topic.least_replicas, 'replica')}")]


def group(settings: Settings, found: GroupState) -> list[Row]:
    """Check that we may join the group."""
    check, name = "group", settings.kafka.group_id
    mend = f"grant READ on it: kafka-acls.sh --add --allow-principal User:... --operation Read --group {name}"
    if found.error == GROUP_FORBIDDEN:
        return [failed(check, f"this client may not see the group {name}", mend)]
    if found.error:
        return [failed(check, f"{name}: Kafka's error {found.error}", "look at the coordinator's log")]
    if found.rights is not None and "READ" not in found.rights:
        return [failed(check, f"this client may not join the group {name}", mend)]
    if found.state == NO_GROUPS:
        return [ok(check, f"{name}: no group yet; the broker makes its topic of offsets for the first that joins")]
    state = "has no members" if not found.members else f"{_many(found.members, 'member')}, {found.state}"
    return [ok(check, f"{name}: {state}")]


def idempotence(settings: Settings, cluster: Cluster) -> list[Row]:
    """Check that a producer gets an id: since Apache Kafka 3.0 the right to write any topic is enough."""
    rights = [cluster.topics[use.topic].rights for use in uses(settings) if use.topic in cluster.topics]
    told = [one for one in (cluster.rights, *rights) if one is not None]
    if not told:
        return [skipped("idempotent write", "this broker does not say what we may do")]
    if any({"IDEMPOTENT_WRITE", "WRITE"} & one for one in told):
        return [ok("idempotent write", "allowed: a retry is not written twice")]
    return [failed("idempotent write", "not allowed", "grant WRITE on the score topics, or IDEMPOTENT_WRITE")]


def committed(found: Mapping[tuple[str, int], tuple[int, str]], readable: Sequence[bool]) -> list[Row]:
    """Say whether the totals that were committed with the offsets can be read."""
    if not found:
        return [ok("committed offsets", "none yet: the group begins where kafka.auto_offset_reset says")]
    unreadable = sum(not good for good in readable)
    if unreadable:
        return [
            warning(
                "committed offsets",
                f"{len(found)}, but the metadata of {unreadable} is not as this Farthing reads it",
                "scoring goes on; counting of those partitions begins anew. Was another program committing?",
            )
        ]
    return [ok("committed offsets", f"of {len(found)} partitions, with metadata that can be read")]


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _acl(use: Use) -> str:
    operation = {"READ": "Read", "WRITE": "Write"}[use.right]
    return f"kafka-acls.sh --add --allow-principal User:... --operation {operation} --topic {use.topic}"


def _bound(configs: Mapping[str, str], name: str) -> int | None:
    try:
        return int(configs[name])
    except (KeyError, ValueError):
        return None

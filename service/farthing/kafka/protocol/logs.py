"""Offsets in a log: its ends, the end of a leader epoch, and deleting records before one."""

from __future__ import annotations

from typing import Final

from farthing.kafka.protocol.table import Api, Field

LIST_OFFSETS: Final = Api.of(
    "ListOffsets",
    2,
    "1-10",
    flexible="6+",
    request=(
        Field("ReplicaId", "int32", "0+"),
        Field("IsolationLevel", "int8", "2+"),
        Field(
            "Topics",
            "[]ListOffsetsTopic",
            "0+",
            Field("Name", "string", "0+"),
            Field(
                "Partitions",
                "[]ListOffsetsPartition",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("CurrentLeaderEpoch", "int32", "4+", default=-1, ignorable=True),
                Field("Timestamp", "int64", "0+"),
            ),
        ),
        Field("TimeoutMs", "int32", "10+", ignorable=True),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "2+", ignorable=True),
        Field(
            "Topics",
            "[]ListOffsetsTopicResponse",
            "0+",
            Field("Name", "string", "0+"),
            Field(
                "Partitions",
                "[]ListOffsetsPartitionResponse",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("ErrorCode", "int16", "0+"),
                Field("Timestamp", "int64", "1+", default=-1),
                Field("Offset", "int64", "1+", default=-1),
                Field("LeaderEpoch", "int32", "4+", default=-1),
            ),
        ),
    ),
)

OFFSET_FOR_LEADER_EPOCH: Final = Api.of(
    "OffsetForLeaderEpoch",
    23,
    "2-4",
    flexible="4+",
    request=(
        Field("ReplicaId", "int32", "3+", default=-2, ignorable=True),
        Field(
            "Topics",
            "[]OffsetForLeaderTopic",
            "0+",
            Field("Topic", "string", "0+"),
            Field(
                "Partitions",
                "[]OffsetForLeaderPartition",
                "0+",
                Field("Partition", "int32", "0+"),
                Field("CurrentLeaderEpoch", "int32", "2+", default=-1, ignorable=True),
                Field("LeaderEpoch", "int32", "0+"),
            ),
        ),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "2+", ignorable=True),
        Field(
            "Topics",
            "[]OffsetForLeaderTopicResult",
            "0+",
            Field("Topic", "string", "0+"),
            Field(
                "Partitions",
                "[]EpochEndOffset",
                "0+",
                Field("ErrorCode", "int16", "0+"),
                Field("Partition", "int32", "0+"),
                Field("LeaderEpoch", "int32", "1+", default=-1, ignorable=True),
                Field("EndOffset", "int64", "0+", default=-1),
            ),
        ),
    ),
)

DELETE_RECORDS: Final = Api.of(
    "DeleteRecords",
    21,
    "0-2",
    flexible="2+",
    request=(
        Field(
            "Topics",
            "[]DeleteRecordsTopic",
            "0+",
            Field("Name", "string", "0+"),
            Field(
                "Partitions",
                "[]DeleteRecordsPartition",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("Offset", "int64", "0+"),
            ),
        ),
        Field("TimeoutMs", "int32", "0+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field(
            "Topics",
            "[]DeleteRecordsTopicResult",
            "0+",
            Field("Name", "string", "0+"),
            Field(
                "Partitions",
                "[]DeleteRecordsPartitionResult",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("LowWatermark", "int64", "0+"),
                Field("ErrorCode", "int16", "0+"),
            ),
        ),
    ),
)

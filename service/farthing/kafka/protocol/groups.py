"""Groups: their members, and the offsets that they have committed."""

from __future__ import annotations

from typing import Final

from farthing.kafka.protocol.cluster import LEAST_INT32
from farthing.kafka.protocol.table import Api, Field

OFFSET_FETCH: Final = Api.of(
    "OffsetFetch",
    9,
    "1-9",
    flexible="6+",
    request=(
        Field("GroupId", "string", "0-7"),
        Field(
            "Topics",
            "[]OffsetFetchRequestTopic",
            "0-7",
            Field("Name", "string", "0-7"),
            Field("PartitionIndexes", "[]int32", "0-7"),
            nullable="2-7",
        ),
        Field(
            "Groups",
            "[]OffsetFetchRequestGroup",
            "8+",
            Field("GroupId", "string", "8+"),
            Field("MemberId", "string", "9+", nullable="9+", default=None, ignorable=True),
            Field("MemberEpoch", "int32", "9+", default=-1, ignorable=True),
            Field(
                "Topics",
                "[]OffsetFetchRequestTopics",
                "8+",
                Field("Name", "string", "8-9", ignorable=True),
                Field("TopicId", "uuid", "10+", ignorable=True),
                Field("PartitionIndexes", "[]int32", "8+"),
                nullable="8+",
            ),
        ),
        Field("RequireStable", "bool", "7+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "3+", ignorable=True),
        Field(
            "Topics",
            "[]OffsetFetchResponseTopic",
            "0-7",
            Field("Name", "string", "0-7"),
            Field(
                "Partitions",
                "[]OffsetFetchResponsePartition",
                "0-7",
                Field("PartitionIndex", "int32", "0-7"),
                Field("CommittedOffset", "int64", "0-7"),
                Field("CommittedLeaderEpoch", "int32", "5-7", default=-1, ignorable=True),
                Field("Metadata", "string", "0-7", nullable="0-7"),
                Field("ErrorCode", "int16", "0-7"),
            ),
        ),
        Field("ErrorCode", "int16", "2-7", ignorable=True),
        Field(
            "Groups",
            "[]OffsetFetchResponseGroup",
            "8+",
            Field("GroupId", "string", "8+"),
            Field(
                "Topics",
                "[]OffsetFetchResponseTopics",
                "8+",
                Field("Name", "string", "8-9", ignorable=True),
                Field("TopicId", "uuid", "10+", ignorable=True),
                Field(
                    "Partitions",
                    "[]OffsetFetchResponsePartitions",
                    "8+",
                    Field("PartitionIndex", "int32", "8+"),
                    Field("CommittedOffset", "int64", "8+"),
                    Field("CommittedLeaderEpoch", "int32", "8+", default=-1, ignorable=True),
                    Field("Metadata", "string", "8+", nullable="8+"),
                    Field("ErrorCode", "int16", "8+"),
                ),
            ),
            Field("ErrorCode", "int16", "8+"),
        ),
    ),
)

OFFSET_COMMIT: Final = Api.of(
    "OffsetCommit",
    8,
    "2-9",
    flexible="8+",
    request=(
        Field("GroupId", "string", "0+"),
        Field("GenerationIdOrMemberEpoch", "int32", "1+", default=-1, ignorable=True),
        Field("MemberId", "string", "1+", ignorable=True),
        Field("GroupInstanceId", "string", "7+", nullable="7+", default=None),
        Field("RetentionTimeMs", "int64", "2-4", default=-1, ignorable=True),
        Field(
            "Topics",
            "[]OffsetCommitRequestTopic",
            "0+",
            Field("Name", "string", "0-9", ignorable=True),
            Field("TopicId", "uuid", "10+", ignorable=True),
            Field(
                "Partitions",
                "[]OffsetCommitRequestPartition",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("CommittedOffset", "int64", "0+"),
                Field("CommittedLeaderEpoch", "int32", "6+", default=-1, ignorable=True),
                Field("CommittedMetadata", "string", "0+", nullable="0+"),
            ),
        ),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "3+", ignorable=True),
        Field(
            "Topics",
            "[]OffsetCommitResponseTopic",
            "0+",
            Field("Name", "string", "0-9", ignorable=True),
            Field("TopicId", "uuid", "10+", ignorable=True),
            Field(
                "Partitions",
                "[]OffsetCommitResponsePartition",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("ErrorCode", "int16", "0+"),
            ),
        ),
    ),
)

DESCRIBE_GROUPS: Final = Api.of(
    "DescribeGroups",
    15,
    "0-6",
    flexible="5+",
    request=(
        Field("Groups", "[]string", "0+"),
        Field("IncludeAuthorizedOperations", "bool", "3+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "1+", ignorable=True),
        Field(
            "Groups",
            "[]DescribedGroup",
            "0+",
            Field("ErrorCode", "int16", "0+"),
            Field("ErrorMessage", "string", "6+", nullable="6+", default=None),
            Field("GroupId", "string", "0+"),
            Field("GroupState", "string", "0+"),
            Field("ProtocolType", "string", "0+"),
            Field("ProtocolData", "string", "0+"),
            Field(
                "Members",
                "[]DescribedGroupMember",
                "0+",
                Field("MemberId", "string", "0+"),
                Field("GroupInstanceId", "string", "4+", nullable="4+", default=None, ignorable=True),
                Field("ClientId", "string", "0+"),
                Field("ClientHost", "string", "0+"),
                Field("MemberMetadata", "bytes", "0+"),
                Field("MemberAssignment", "bytes", "0+"),
            ),
            Field("AuthorizedOperations", "int32", "3+", default=LEAST_INT32),
        ),
    ),
)

LEAVE_GROUP: Final = Api.of(
    "LeaveGroup",
    13,
    "0-5",
    flexible="4+",
    request=(
        Field("GroupId", "string", "0+"),
        Field("MemberId", "string", "0-2"),
        Field(
            "Members",
            "[]MemberIdentity",
            "3+",
            Field("MemberId", "string", "3+"),
            Field("GroupInstanceId", "string", "3+", nullable="3+", default=None),
            Field("Reason", "string", "5+", nullable="5+", default=None, ignorable=True),
        ),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "1+", ignorable=True),
        Field("ErrorCode", "int16", "0+"),
        Field(
            "Members",
            "[]MemberResponse",
            "3+",
            Field("MemberId", "string", "3+"),
            Field("GroupInstanceId", "string", "3+", nullable="3+"),
            Field("ErrorCode", "int16", "3+"),
        ),
    ),
)

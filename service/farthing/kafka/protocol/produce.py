"""Produce: record batches to be appended, one for each partition."""

from __future__ import annotations

from typing import Final

from farthing.kafka.protocol.table import Api, Field

PRODUCE: Final = Api.of(
    "Produce",
    0,
    "3-13",
    flexible="9+",
    often=True,
    request=(
        Field("TransactionalId", "string", "3+", nullable="3+", default=None),
        Field("Acks", "int16", "0+"),
        Field("TimeoutMs", "int32", "0+"),
        Field(
            "TopicData",
            "[]TopicProduceData",
            "0+",
            Field("Name", "string", "0-12", ignorable=True),
            Field("TopicId", "uuid", "13+", ignorable=True),
            Field(
                "PartitionData",
                "[]PartitionProduceData",
                "0+",
                Field("Index", "int32", "0+"),
                Field("Records", "records", "0+", nullable="0+"),
            ),
        ),
    ),
    response=(
        Field(
            "Responses",
            "[]TopicProduceResponse",
            "0+",
            Field("Name", "string", "0-12", ignorable=True),
            Field("TopicId", "uuid", "13+", ignorable=True),
            Field(
                "PartitionResponses",
                "[]PartitionProduceResponse",
                "0+",
                Field("Index", "int32", "0+"),
                Field("ErrorCode", "int16", "0+"),
                Field("BaseOffset", "int64", "0+"),
                Field("LogAppendTimeMs", "int64", "2+", default=-1, ignorable=True),
                Field("LogStartOffset", "int64", "5+", default=-1, ignorable=True),
                Field(
                    "RecordErrors",
                    "[]BatchIndexAndErrorMessage",
                    "8+",
                    Field("BatchIndex", "int32", "8+"),
                    Field("BatchIndexErrorMessage", "string", "8+", nullable="8+", default=None),
                    ignorable=True,
                ),
                Field("ErrorMessage", "string", "8+", nullable="8+", default=None, ignorable=True),
                Field(
                    "CurrentLeader",
                    "LeaderIdAndEpoch",
                    "10+",
                    Field("LeaderId", "int32", "10+", default=-1),
                    Field("LeaderEpoch", "int32", "10+", default=-1),
                    tagged="10+",
                    tag=0,
                ),
            ),
        ),
        Field("ThrottleTimeMs", "int32", "1+", ignorable=True),
        Field(
            "NodeEndpoints",
            "[]NodeEndpoint",
            "10+",
            Field("NodeId", "int32", "10+"),
            Field("Host", "string", "10+"),
            Field("Port", "int32", "10+"),
            Field("Rack", "string", "10+", nullable="10+", default=None),
            tagged="10+",
            tag=0,
        ),
    ),
)

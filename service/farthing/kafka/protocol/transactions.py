"""Transactions and producer ids."""

from __future__ import annotations

from typing import Final

from farthing.kafka.protocol.table import Api, Field

INIT_PRODUCER_ID: Final = Api.of(
    "InitProducerId",
    22,
    "0-5",
    flexible="2+",
    request=(
        Field("TransactionalId", "string", "0+", nullable="0+"),
        Field("TransactionTimeoutMs", "int32", "0+"),
        Field("ProducerId", "int64", "3+", default=-1),
        Field("ProducerEpoch", "int16", "3+", default=-1),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+", ignorable=True),
        Field("ErrorCode", "int16", "0+"),
        Field("ProducerId", "int64", "0+", default=-1),
        Field("ProducerEpoch", "int16", "0+"),
    ),
)

_TOPIC = (
    Field("Name", "string", "0+"),
    Field("Partitions", "[]int32", "0+"),
)
_PARTITION_RESULT = (
    Field("PartitionIndex", "int32", "0+"),
    Field("PartitionErrorCode", "int16", "0+"),
)
_TOPIC_RESULT = (
    Field("Name", "string", "0+"),
    Field("ResultsByPartition", "[]AddPartitionsToTxnPartitionResult", "0+", *_PARTITION_RESULT),
)
ADD_PARTITIONS_TO_TXN: Final = Api.of(
    "AddPartitionsToTxn",
    24,
    "0-5",
    flexible="3+",
    request=(
        Field(
            "Transactions",
            "[]AddPartitionsToTxnTransaction",
            "4+",
            Field("TransactionalId", "string", "4+"),
            Field("ProducerId", "int64", "4+"),
            Field("ProducerEpoch", "int16", "4+"),
            Field("VerifyOnly", "bool", "4+"),
            Field("Topics", "[]AddPartitionsToTxnTopic", "4+", *_TOPIC),
        ),
        Field("V3AndBelowTransactionalId", "string", "0-3"),
        Field("V3AndBelowProducerId", "int64", "0-3"),
        Field("V3AndBelowProducerEpoch", "int16", "0-3"),
        Field("V3AndBelowTopics", "[]AddPartitionsToTxnTopic", "0-3", *_TOPIC),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field("ErrorCode", "int16", "4+", ignorable=True),
        Field(
            "ResultsByTransaction",
            "[]AddPartitionsToTxnResult",
            "4+",
            Field("TransactionalId", "string", "4+"),
            Field("TopicResults", "[]AddPartitionsToTxnTopicResult", "4+", *_TOPIC_RESULT),
        ),
        Field("ResultsByTopicV3AndBelow", "[]AddPartitionsToTxnTopicResult", "0-3", *_TOPIC_RESULT),
    ),
)

ADD_OFFSETS_TO_TXN: Final = Api.of(
    "AddOffsetsToTxn",
    25,
    "0-4",
    flexible="3+",
    request=(
        Field("TransactionalId", "string", "0+"),
        Field("ProducerId", "int64", "0+"),
        Field("ProducerEpoch", "int16", "0+"),
        Field("GroupId", "string", "0+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field("ErrorCode", "int16", "0+"),
    ),
)

END_TXN: Final = Api.of(
    "EndTxn",
    26,
    "0-5",
    flexible="3+",
    request=(
        Field("TransactionalId", "string", "0+"),
        Field("ProducerId", "int64", "0+"),
        Field("ProducerEpoch", "int16", "0+"),
        Field("Committed", "bool", "0+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field("ErrorCode", "int16", "0+"),
        Field("ProducerId", "int64", "5+", default=-1, ignorable=True),
        Field("ProducerEpoch", "int16", "5+", default=-1, ignorable=True),
    ),
)

TXN_OFFSET_COMMIT: Final = Api.of(
    "TxnOffsetCommit",
    28,
    "0-5",
    flexible="3+",
    request=(
        Field("TransactionalId", "string", "0+"),
        Field("GroupId", "string", "0+"),
        Field("ProducerId", "int64", "0+"),
        Field("ProducerEpoch", "int16", "0+"),
        Field("GenerationId", "int32", "3+", default=-1),
        Field("MemberId", "string", "3+"),
        Field("GroupInstanceId", "string", "3+", nullable="3+", default=None),
        Field(
            "Topics",
            "[]TxnOffsetCommitRequestTopic",
            "0+",
            Field("Name", "string", "0+"),
            Field(
                "Partitions",
                "[]TxnOffsetCommitRequestPartition",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("CommittedOffset", "int64", "0+"),
                Field("CommittedLeaderEpoch", "int32", "2+", default=-1, ignorable=True),
                Field("CommittedMetadata", "string", "0+", nullable="0+"),
            ),
        ),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field(
            "Topics",
            "[]TxnOffsetCommitResponseTopic",
            "0+",
            Field("Name", "string", "0+"),
            Field(
                "Partitions",
                "[]TxnOffsetCommitResponsePartition",
                "0+",
                Field("PartitionIndex", "int32", "0+"),
                Field("ErrorCode", "int16", "0+"),
            ),
        ),
    ),
)

DESCRIBE_TRANSACTIONS: Final = Api.of(
    "DescribeTransactions",
    65,
    "0",
    flexible="0+",
    request=(Field("TransactionalIds", "[]string", "0+"),),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field(
            "TransactionStates",
            "[]TransactionState",
            "0+",
            Field("ErrorCode", "int16", "0+"),
            Field("TransactionalId", "string", "0+"),
            Field("TransactionState", "string", "0+"),
            Field("TransactionTimeoutMs", "int32", "0+"),
            Field("TransactionStartTimeMs", "int64", "0+"),
            Field("ProducerId", "int64", "0+"),
            Field("ProducerEpoch", "int16", "0+"),
            Field("Topics", "[]TopicData", "0+", Field("Topic", "string", "0+"), Field("Partitions", "[]int32", "0+")),
        ),
    ),
)

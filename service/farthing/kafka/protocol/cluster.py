"""Metadata and what else a client asks about a cluster: versions, coordinators, settings of topics."""

from __future__ import annotations

from typing import Final

from farthing.kafka.protocol.table import Api, Field

LEAST_INT32: Final = -(2**31)
"""Stands for operations that were not asked for."""

API_VERSIONS: Final = Api.of(
    "ApiVersions",
    18,
    "0-4",
    flexible="3+",
    request=(
        Field("ClientSoftwareName", "string", "3+", ignorable=True),
        Field("ClientSoftwareVersion", "string", "3+", ignorable=True),
    ),
    response=(
        Field("ErrorCode", "int16", "0+"),
        Field(
            "ApiKeys",
            "[]ApiVersion",
            "0+",
            Field("ApiKey", "int16", "0+"),
            Field("MinVersion", "int16", "0+"),
            Field("MaxVersion", "int16", "0+"),
        ),
        Field("ThrottleTimeMs", "int32", "1+", ignorable=True),
        Field(
            "SupportedFeatures",
            "[]SupportedFeatureKey",
            "3+",
            Field("Name", "string", "3+"),
            Field("MinVersion", "int16", "3+"),
            Field("MaxVersion", "int16", "3+"),
            tagged="3+",
            tag=0,
            ignorable=True,
        ),
        Field("FinalizedFeaturesEpoch", "int64", "3+", tagged="3+", tag=1, default=-1, ignorable=True),
        Field(
            "FinalizedFeatures",
            "[]FinalizedFeatureKey",
            "3+",
            Field("Name", "string", "3+"),
            Field("MaxVersionLevel", "int16", "3+"),
            Field("MinVersionLevel", "int16", "3+"),
            tagged="3+",
            tag=2,
            ignorable=True,
        ),
        Field("ZkMigrationReady", "bool", "3+", tagged="3+", tag=3, ignorable=True),
    ),
)

METADATA: Final = Api.of(
    "Metadata",
    3,
    "0-13",
    flexible="9+",
    request=(
        Field(
            "Topics",
            "[]MetadataRequestTopic",
            "0+",
            Field("TopicId", "uuid", "10+", ignorable=True),
            Field("Name", "string", "0+", nullable="10+"),
            nullable="1+",
        ),
        Field("AllowAutoTopicCreation", "bool", "4+", default=True),
        Field("IncludeClusterAuthorizedOperations", "bool", "8-10"),
        Field("IncludeTopicAuthorizedOperations", "bool", "8+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "3+", ignorable=True),
        Field(
            "Brokers",
            "[]MetadataResponseBroker",
            "0+",
            Field("NodeId", "int32", "0+"),
            Field("Host", "string", "0+"),
            Field("Port", "int32", "0+"),
            Field("Rack", "string", "1+", nullable="1+", default=None, ignorable=True),
        ),
        Field("ClusterId", "string", "2+", nullable="2+", default=None, ignorable=True),
        Field("ControllerId", "int32", "1+", default=-1, ignorable=True),
        Field(
            "Topics",
            "[]MetadataResponseTopic",
            "0+",
            Field("ErrorCode", "int16", "0+"),
            Field("Name", "string", "0+", nullable="12+"),
            Field("TopicId", "uuid", "10+", ignorable=True),
            Field("IsInternal", "bool", "1+", ignorable=True),
            Field(
                "Partitions",
                "[]MetadataResponsePartition",
                "0+",
                Field("ErrorCode", "int16", "0+"),
                Field("PartitionIndex", "int32", "0+"),
                Field("LeaderId", "int32", "0+"),
                Field("LeaderEpoch", "int32", "7+", default=-1, ignorable=True),
                Field("ReplicaNodes", "[]int32", "0+"),
                Field("IsrNodes", "[]int32", "0+"),
                Field("OfflineReplicas", "[]int32", "5+", ignorable=True),
            ),
            Field("TopicAuthorizedOperations", "int32", "8+", default=LEAST_INT32),
        ),
        Field("ClusterAuthorizedOperations", "int32", "8-10", default=LEAST_INT32),
        Field("ErrorCode", "int16", "13+", ignorable=True),
    ),
)

FIND_COORDINATOR: Final = Api.of(
    "FindCoordinator",
    10,
    "0-6",
    flexible="3+",
    request=(
        Field("Key", "string", "0-3"),
        Field("KeyType", "int8", "1+"),
        Field("CoordinatorKeys", "[]string", "4+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "1+", ignorable=True),
        Field("ErrorCode", "int16", "0-3"),
        Field("ErrorMessage", "string", "1-3", nullable="1-3", ignorable=True),
        Field("NodeId", "int32", "0-3"),
        Field("Host", "string", "0-3"),
        Field("Port", "int32", "0-3"),
        Field(
            "Coordinators",
            "[]Coordinator",
            "4+",
            Field("Key", "string", "4+"),
            Field("NodeId", "int32", "4+"),
            Field("Host", "string", "4+"),
            Field("Port", "int32", "4+"),
            Field("ErrorCode", "int16", "4+"),
            Field("ErrorMessage", "string", "4+", nullable="4+", ignorable=True),
        ),
    ),
)

DESCRIBE_CONFIGS: Final = Api.of(
    "DescribeConfigs",
    32,
    "1-4",
    flexible="4+",
    request=(
        Field(
            "Resources",
            "[]DescribeConfigsResource",
            "0+",
            Field("ResourceType", "int8", "0+"),
            Field("ResourceName", "string", "0+"),
            Field("ConfigurationKeys", "[]string", "0+", nullable="0+"),
        ),
        Field("IncludeSynonyms", "bool", "1+"),
        Field("IncludeDocumentation", "bool", "3+"),
    ),
    response=(
        Field("ThrottleTimeMs", "int32", "0+"),
        Field(
            "Results",
            "[]DescribeConfigsResult",
            "0+",
            Field("ErrorCode", "int16", "0+"),
            Field("ErrorMessage", "string", "0+", nullable="0+"),
            Field("ResourceType", "int8", "0+"),
            Field("ResourceName", "string", "0+"),
            Field(
                "Configs",
                "[]DescribeConfigsResourceResult",
                "0+",
                Field("Name", "string", "0+"),
                Field("Value", "string", "0+", nullable="0+"),
                Field("ReadOnly", "bool", "0+"),
                Field("ConfigSource", "int8", "1+", default=-1, ignorable=True),
                Field("IsSensitive", "bool", "0+"),
                Field(
                    "Synonyms",
                    "[]DescribeConfigsSynonym",
                    "1+",
                    Field("Name", "string", "1+"),
                    Field("Value", "string", "1+", nullable="0+"),
                    Field("Source", "int8", "1+"),
                    ignorable=True,
                ),
                Field("ConfigType", "int8", "3+", ignorable=True),
                Field("Documentation", "string", "3+", nullable="0+", ignorable=True),
            ),
        ),
    ),
)

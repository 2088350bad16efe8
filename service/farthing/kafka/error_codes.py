"""Error codes of brokers as exception types: aiokafka's, and those that it does not know (it calls them UnknownError).

What each says about trying again is Kafka's own: ``retriable``, and ``invalid_metadata`` where our picture of the
cluster is out of date.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.errors import BrokerResponseError, UnknownError, for_code


class FencedLeaderEpoch(BrokerResponseError):  # type: ignore[misc]  # aiokafka is untyped
    """We named an older leader epoch than the broker's: there is a new leader."""

    errno, message = 74, "FENCED_LEADER_EPOCH"
    retriable = invalid_metadata = True


class UnknownLeaderEpoch(BrokerResponseError):  # type: ignore[misc]
    """We named a later leader epoch than the broker knows."""

    errno, message = 75, "UNKNOWN_LEADER_EPOCH"
    retriable = True


class UnsupportedCompressionType(BrokerResponseError):  # type: ignore[misc]
    """The batches are compressed in a way that the version of Fetch has no name for."""

    errno, message = 76, "UNSUPPORTED_COMPRESSION_TYPE"


class OffsetNotAvailable(BrokerResponseError):  # type: ignore[misc]
    """A new leader does not know its high watermark yet (KIP-207)."""

    errno, message = 78, "OFFSET_NOT_AVAILABLE"
    retriable = True


class FencedInstanceId(BrokerResponseError):  # type: ignore[misc]
    """Another member has our static instance id."""

    errno, message = 82, "FENCED_INSTANCE_ID"


class InvalidRecord(BrokerResponseError):  # type: ignore[misc]
    """The broker refuses a record: its timestamp, or a missing key in a compacted topic."""

    errno, message = 87, "INVALID_RECORD"


class UnstableOffsetCommit(BrokerResponseError):  # type: ignore[misc]
    """A transaction that commits offsets of these partitions is still open."""

    errno, message = 88, "UNSTABLE_OFFSET_COMMIT"
    retriable = True


class ThrottlingQuotaExceeded(BrokerResponseError):  # type: ignore[misc]
    """A quota of requests is used up for now."""

    errno, message = 89, "THROTTLING_QUOTA_EXCEEDED"
    retriable = True


class ProducerFenced(BrokerResponseError):  # type: ignore[misc]
    """A newer producer has our transactional id."""

    errno, message = 90, "PRODUCER_FENCED"


class UnknownTopicId(BrokerResponseError):  # type: ignore[misc]
    """No topic has this id: it was deleted, and perhaps created again under the same name."""

    errno, message = 100, "UNKNOWN_TOPIC_ID"
    retriable = invalid_metadata = True


class InconsistentTopicId(BrokerResponseError):  # type: ignore[misc]
    """The broker's log belongs to another topic id than the one in the request."""

    errno, message = 103, "INCONSISTENT_TOPIC_ID"
    retriable = invalid_metadata = True


class TransactionalIdNotFound(BrokerResponseError):  # type: ignore[misc]
    """The coordinator has no such transactional id."""

    errno, message = 105, "TRANSACTIONAL_ID_NOT_FOUND"


class TransactionAbortable(BrokerResponseError):  # type: ignore[misc]
    """The transaction can only be aborted (KIP-890)."""

    errno, message = 120, "TRANSACTION_ABORTABLE"


_OURS: Final = {
    error.errno: error
    for error in (
        FencedLeaderEpoch, UnknownLeaderEpoch, UnsupportedCompressionType, OffsetNotAvailable, FencedInstanceId,
        InvalidRecord, UnstableOffsetCommit, ThrottlingQuotaExceeded, ProducerFenced, UnknownTopicId,
        InconsistentTopicId, TransactionalIdNotFound, TransactionAbortable,
    )
}  # fmt: skip

NEW_TOPIC: Final = (UnknownTopicId, InconsistentTopicId)
"""The answers to the id of a topic that no longer exists."""


def error_of(code: int) -> type[Any]:
    """Return the exception type of a code; ``NoError`` for 0, ``UnknownError`` for one that nobody knows."""
    known: type[Any] = for_code(code)
    return _OURS.get(code, known) if known is UnknownError else known

"""Codes that aiokafka does not know, and those that it does."""

import pytest
from aiokafka import errors as kafka_errors

from farthing.kafka.error_codes import _OURS, InconsistentTopicId, UnknownTopicId, error_of


def test_known_codes_are_aiokafkas_and_the_rest_are_ours():
    assert error_of(0) is kafka_errors.NoError
    assert error_of(1) is kafka_errors.OffsetOutOfRangeError
    assert (error_of(100), error_of(103)) == (UnknownTopicId, InconsistentTopicId)
    assert error_of(-1) is error_of(32_000) is kafka_errors.UnknownError
    for code, error in _OURS.items():
        assert kafka_errors.for_code(code) is kafka_errors.UnknownError  # else aiokafka has one of its own by now
        assert error_of(code) is error
        assert error.errno == code


@pytest.mark.parametrize(("code", "retriable", "refreshes"), [(74, True, True), (75, True, False), (87, False, False)])
def test_they_say_whether_to_try_again(code, retriable, refreshes):
    assert (error_of(code).retriable, error_of(code).invalid_metadata) == (retriable, refreshes)

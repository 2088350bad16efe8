"""Turns failures to connect to a broker into one error that says what went wrong.

aiokafka tries one server after another, logs the reason for each failure (a refused password, an unknown certificate
authority, a closed port) and raises an error without any of them. Here the reasons are taken from its log records.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka.errors import KafkaError

from farthing.errors import BrokerError
from farthing.kafka.settings import KafkaSettings


class Complaints(logging.Handler):
    """Collects the errors that aiokafka logs as arguments of its messages, in order and without repeats."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take the errors of one message."""
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException):
                text = f"{type(argument).__name__}: {argument}" if str(argument) else type(argument).__name__
                self.texts.pop(text, None)
                self.texts[text] = None

    @property
    def last(self) -> str:
        """The last one; empty while there is none."""
        return next(reversed(self.texts), "")


@contextmanager
def broker_complaints() -> Iterator[Complaints]:
    """Collect what aiokafka's clients complain about, all of them in this process."""
    complaints = Complaints()
    logger = logging.getLogger("aiokafka")
    logger.addHandler(complaints)
    try:
        yield complaints
    finally:
        logger.removeHandler(complaints)


def _ignore_dropped_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Stay silent about failed connections whose futures aiokafka drops: our error gives the reason."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


@contextmanager
def connecting(settings: KafkaSettings) -> Iterator[None]:
    """Turn a failure to connect, join or ask into one BrokerError with the reason, the servers and what to do.

    Raises
    ------
    BrokerError
        From KafkaError, TimeoutError and OSError; always ``retriable``.
    """
    with broker_complaints() as reasons:
        try:
            yield
        except (KafkaError, TimeoutError, OSError) as error:
            asyncio.get_running_loop().set_exception_handler(_ignore_dropped_connections)
            servers = ", ".join(settings.bootstrap_servers)
            reason = "; ".join(reasons.texts) or f"{type(error).__name__}: {error}"
            raise BrokerError(
                f"kafka.bootstrap_servers = {servers}: {reason}; check that a broker listens there and "
                f"kafka.security_protocol = {settings.security_protocol} with the other security settings",
                retriable=True,
            ) from error

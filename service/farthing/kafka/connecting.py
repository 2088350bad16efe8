"""Turns failures to connect to a broker into one error that says what went wrong and what to do.

aiokafka tries one server after another, logs the reason for each failure (a refused password, an unknown certificate
authority, a closed port) and raises an error without any of them. So :mod:`farthing.kafka.diagnosis` looks at the
servers first, and reasons that come later are taken from aiokafka's log records.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError

from farthing.errors import BrokerError
from farthing.kafka.diagnosis import FIRST_ANSWER_S, Fault, look
from farthing.kafka.oauth import TokenError
from farthing.kafka.settings import KafkaSettings

LISTENS = "check that a broker listens there"

ROOM_S = 0.5  # for the threads of looks to end in

REACH_S = 9.0
"""For a look at all servers, the token included: an error should be there within ten seconds."""


class Complaints(logging.Handler):
    """Collects the errors that aiokafka logs as arguments of its messages, in order and without repeats."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: dict[str, BaseException] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take the errors of one message."""
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, BaseException):
                text = f"{type(argument).__name__}: {argument}" if str(argument) else type(argument).__name__
                self.errors.pop(text, None)
                self.errors[text] = argument

    @property
    def last(self) -> str:
        """The last one; empty while there is none."""
        return next(reversed(self.errors), "")


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


async def reach(settings: KafkaSettings) -> None:
    """Look whether any of the servers is the broker that the settings describe; logins are tried later.

    Raises
    ------
    ConfigError
        A certificate, key or secret cannot be read.
    BrokerError
        None is: what is wrong with each, within :data:`REACH_S`.
    """
    options = settings.client_options()
    try:
        faults = await asyncio.wait_for(_faults(settings, options), REACH_S)
    except TimeoutError:
        said = f"{', '.join(settings.bootstrap_servers)}: no answer within {REACH_S:g} s; {LISTENS}"
        raise _error(settings, said, secured=settings.sasl_mechanism == "OAUTHBEARER") from None
    if all(faults):
        by_fault: dict[Fault, list[str]] = {}
        for server, fault in zip(settings.bootstrap_servers, faults, strict=True):
            if fault is not None:
                by_fault.setdefault(fault, []).append(server)
        said = "; ".join(f"{', '.join(names)}: {fault}" for fault, names in by_fault.items())
        raise _error(settings, said, secured=any(fault.of_security for fault in by_fault))


async def _faults(settings: KafkaSettings, options: Mapping[str, Any]) -> list[Fault | None]:
    """Look at each server, with a token where one is used; the looks end by themselves before the limit."""
    deadline = time.monotonic() + REACH_S
    token = None
    if "sasl_oauth_token_provider" in options:
        try:
            token = await options["sasl_oauth_token_provider"].token()
        except TokenError as error:
            raise _error(settings, f"{', '.join(settings.bootstrap_servers)}: {error}") from error
    left_s = max(deadline - time.monotonic() - ROOM_S, ROOM_S)
    limit_s = min(FIRST_ANSWER_S, settings.request_timeout_ms / 1000, left_s)
    return await asyncio.gather(
        *(
            asyncio.to_thread(
                look,
                server,
                options.get("ssl_context"),
                protocol=settings.security_protocol,
                token=token,
                limit_s=limit_s,
            )
            for server in settings.bootstrap_servers
        )
    )


@contextmanager
def connecting(settings: KafkaSettings, limit_s: float | None = None) -> Iterator[None]:
    """Turn a failure to connect, join or ask into one BrokerError with the reason, the servers and what to do.

    ``limit_s`` is the time limit of each request, for the message.

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
            known = [fault for one in (*reasons.errors.values(), error) if (fault := _fault(settings, one))]
            others = reasons.errors or {f"{type(error).__name__}: {error}": error}
            reason = (
                str(known[0]) if known else "; ".join(dict.fromkeys(_said(*one, limit_s) for one in others.items()))
            )
            secured = not known or known[0].of_security
            raise _error(settings, f"{servers}: {reason}", advised=bool(known), secured=secured) from error


def refused_topics(names: Iterable[str]) -> BrokerError:
    """Say that the broker does not let this user see topics."""
    return BrokerError(
        f"{', '.join(names)}: the broker refuses to describe them to this user (TOPIC_AUTHORIZATION_FAILED); check the "
        "names and the login, and allow the user what deploy/kafka/acls.sh lists",
        retriable=False,
    )


def _error(settings: KafkaSettings, said: str, *, advised: bool = True, secured: bool = True) -> BrokerError:
    """Make the error; ``advised``: what to do is said; ``secured``: the security settings may be to blame."""
    text = f"kafka.bootstrap_servers = {said}" + ("" if advised else f"; {LISTENS}")
    if secured:
        text += f"; see kafka.security_protocol = {settings.security_protocol} and the other security settings"
    return BrokerError(text, retriable=True)


def _said(text: str, error: BaseException, limit_s: float | None) -> str:
    """Put what is no refusal into words."""
    if isinstance(error, TimeoutError | kafka_errors.RequestTimedOutError):
        return "no answer in time" if limit_s is None else f"no answer within {limit_s:g} s"
    return text


def lacks_right(error: BaseException) -> bool:
    """Return whether the broker refused for want of a right."""
    return isinstance(
        error,
        kafka_errors.TopicAuthorizationFailedError
        | kafka_errors.GroupAuthorizationFailedError
        | kafka_errors.ClusterAuthorizationFailedError,
    )


def _fault(settings: KafkaSettings, error: BaseException) -> Fault | None:
    """Put one of the broker's refusals into words; None if it is none."""
    said = str(error.args[0]) if error.args else ""
    mechanism = settings.sasl_mechanism
    if isinstance(error, kafka_errors.SaslAuthenticationFailed) and mechanism != "OAUTHBEARER":
        return Fault(
            f"SASL authentication of the user {settings.sasl_plain_username!r} by {mechanism} failed: {said}",
            "check kafka.sasl_plain_username and the password in kafka.sasl_plain_password_file",
        )
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError):
        return Fault(f"the broker does not offer the SASL mechanism {mechanism} at this port", "set another one")
    if isinstance(error, kafka_errors.IllegalSaslStateError):
        better = "SSL" if settings.security_protocol == "SASL_SSL" else "PLAINTEXT"
        return Fault("the broker takes no SASL login at this port", f"set kafka.security_protocol to {better}")
    if isinstance(error, kafka_errors.GroupAuthorizationFailedError):
        return Fault(
            f"the user may not use the consumer group (GROUP_AUTHORIZATION_FAILED): {said}",
            "allow it READ on the group, as deploy/kafka/acls.sh does",
            of_security=False,
        )
    if isinstance(error, kafka_errors.TopicAuthorizationFailedError):
        return Fault(
            f"the user may not use a topic (TOPIC_AUTHORIZATION_FAILED): {said}",
            "allow it what deploy/kafka/acls.sh lists",
            of_security=False,
        )
    if isinstance(error, kafka_errors.ClusterAuthorizationFailedError):
        return Fault(
            f"the user lacks a right on the cluster (CLUSTER_AUTHORIZATION_FAILED): {said}",
            "allow it what deploy/kafka/acls.sh lists",
            of_security=False,
        )
    if isinstance(error, TokenError):
        what, _, remedy = str(error).partition("; ")
        return Fault(what, remedy)
    return None

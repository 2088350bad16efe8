"""Logging: readable lines on a terminal, JSON lines elsewhere, always on standard error; never event contents."""

from __future__ import annotations

import logging
import sys
import threading
import time

import structlog
from structlog.typing import Processor

from farthing.process.failure import reason, report

ERROR = logging.ERROR
REPEAT_S = 10.0


class _Repeats(logging.Filter):
    """Lets a message through once in ``REPEAT_S``: while a broker is gone aiokafka says so a hundred times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # filters run in whatever thread logs, before the handler takes its own lock
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, str(record.msg)), time.monotonic()
        with self._lock:
            if now - self._last.get(key, -REPEAT_S) < REPEAT_S:
                return False
            if len(self._last) > 1_000:  # there are few messages; if not, some are let through too often
                self._last.clear()
            self._last[key] = now
            return True


class _OneLine(logging.Filter):
    """Puts an exception's type and text in place of its traceback; those of asyncio, which are bugs, go to a file."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line = f"{record.getMessage().splitlines()[0]} ({reason(error)})"
            record.msg = f"{line}; {report(error)}" if record.name == "asyncio" else line
            record.args, record.exc_info, record.exc_text = (), None, None
        return True


def configure(*, level: int = logging.INFO, json: bool | None = None) -> None:
    """Set up structlog, and send what our libraries log through the standard library's logging the same way.

    ``json`` None means: JSON unless standard error is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Processor = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=True)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, last] if as_json else [*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # One write a line: workers share a standard error, and print() would write the line's end separately.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    handler.addFilter(_Repeats())
    handler.addFilter(_OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # aiokafka warns about every rebalance and reconnection; our own log says what matters.
    root.setLevel(logging.ERROR if level > logging.DEBUG else level)
    # At debug level this one writes every request as it is sent, with passwords, tokens and events.
    logging.getLogger("aiokafka.conn").setLevel(max(logging.INFO, root.level))

"""Every error that Farthing raises on purpose.

::

    FarthingError                  stage, retriable, exit_code
    ├── ConfigError                a setting or flag: names it, its value and where it came from
    ├── StartError                 start: a topic, a port or a folder is not as it must be
    ├── BundleError                a bundle is incomplete, changed, or gives other results on this machine
    ├── DataError                  a file of events cannot be read further, or a labelled row cannot be used
    ├── OutputError                standard output or an output file cannot be written: a full disk, for one
    ├── DecodeError                topic, partition, offset where known
    │   ├── CorruptBatchError      crc, length or varint is wrong: place, expected, found
    │   └── UnsupportedBatchError  a magic or codec that we do not read
    ├── ScoreError                 the model fails or hangs: a bug or a bad bundle
    ├── BlockHeldError             the model or the sink refuses nearly all of a block: tried again
    └── BrokerError                wraps a client error; ``retriable`` is copied from Kafka's own table
        ├── RightError             a right is missing: a start fails, a worker that runs waits for it
        │   └── PutOutError        the group refuses its member, which has to join anew
        └── farthing.kafka.HeldError   a topic takes nothing: its partitions are held, and tried again

A message says what is wrong, where, and what to do. One bad *event* never raises: it is a
:class:`farthing.blocks.Status` in a column.
"""

from __future__ import annotations

from typing import ClassVar, Final

INTERNAL_EXIT_CODE: Final = 70
"""What the command line exits with after any other exception, a bug of ours: EX_SOFTWARE of sysexits.h."""

NOT_TOML: Final = (OSError, ValueError, ArithmeticError, RecursionError)
"""What reading a TOML file raises: also for very long numbers, for exponents beyond decimals', and for deep nesting."""

LONGEST_BUNDLE_ERROR: Final = 2_000
"""Characters of a message about a bundle."""


def extra(name: str) -> str:
    """Say how to install one of the package's extras."""
    return f"install the extra {name} (in a checkout: pip install -e '.[{name}]')"


class FarthingError(Exception):
    """Base of all errors raised on purpose.

    Attributes
    ----------
    stage:
        The stage that failed: one of the pipeline's ten verbs, ``"config"`` or ``"start"``.
    retriable:
        Whether doing the same again may succeed.
    exit_code:
        What the command line exits with: 2 settings, 3 start, bundle or broker, 4 data, output or scoring.
    """

    stage: ClassVar[str] = "start"
    retriable: bool = False
    exit_code: ClassVar[int] = 3


class ConfigError(FarthingError):
    """A setting or flag is missing, unknown, out of range or contradicts another."""

    stage: ClassVar[str] = "config"
    exit_code: ClassVar[int] = 2


class StartError(FarthingError):
    """Something outside the process (a topic, a port, a folder) is not as it must be at the start."""


class BundleError(FarthingError):
    """A bundle is incomplete, changed, or does not give its golden results on this machine.

    Messages quote what strangers wrote into bundles: control characters are escaped, and a long message is cut.
    """

    def __init__(self, message: str) -> None:
        half = LONGEST_BUNDLE_ERROR // 2
        if len(message) > LONGEST_BUNDLE_ERROR:
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class DataError(FarthingError):
    """A file of events is damaged or cut off (what came before is good), or a labelled row cannot be used."""

    stage: ClassVar[str] = "fetch"
    exit_code: ClassVar[int] = 4


class OutputError(FarthingError):
    """Standard output or an output file cannot be written (a full disk, for one); what was written is incomplete."""

    stage: ClassVar[str] = "produce"
    exit_code: ClassVar[int] = 4


class DecodeError(FarthingError):
    """Fetched bytes cannot be read as record batches.

    ``topic``, ``partition`` and ``base_offset`` are ``None`` where they are not known; ``next_offset`` is the first
    offset after the unreadable batch, where its header could be read. ``first_offset`` is the first one that cannot be
    read: ``base_offset``, unless the damage is further on in the batch.
    """

    stage: ClassVar[str] = "decode"
    exit_code: ClassVar[int] = 4

    def __init__(
        self,
        message: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        base_offset: int | None = None,
        first_offset: int | None = None,
        next_offset: int | None = None,
    ) -> None:
        place = f"{topic}[{partition}] " if topic is not None else ""
        place += f"base_offset={base_offset}: " if base_offset is not None else ""
        super().__init__(place + message)
        self.topic = topic
        self.partition = partition
        self.base_offset = base_offset
        self.first_offset = base_offset if first_offset is None else first_offset
        self.next_offset = next_offset


class CorruptBatchError(DecodeError):
    """A record batch whose checksum, length, varint or compressed data is wrong."""


class UnsupportedBatchError(DecodeError):
    """A record batch in a format (magic, codec) that Farthing does not read."""


class ScoreError(FarthingError):
    """The model failed on well-formed features: a bug or a bad bundle."""

    stage: ClassVar[str] = "score"
    exit_code: ClassVar[int] = 4


class BlockHeldError(FarthingError):
    """A block is not answered, because the model or the sink refuses nearly all of it. Nothing of it was written."""

    stage: ClassVar[str] = "score"
    retriable = True
    exit_code: ClassVar[int] = 4


class BrokerError(FarthingError):
    """The broker or the connection to it failed; ``retriable`` says whether to try again."""

    stage: ClassVar[str] = "fetch"

    def __init__(self, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.retriable = retriable

    @property
    def passes(self) -> bool:
        """Whether a worker that runs waits until it is over."""
        return self.retriable


class RightError(BrokerError):
    """The broker refuses for want of a right. A start fails; a worker that runs waits until it is granted again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)

    @property
    def passes(self) -> bool:
        """Somebody grants the right again."""
        return True


class PutOutError(RightError):
    """The group refuses its member, so that its membership has ended: it has to join anew."""

    @property
    def passes(self) -> bool:
        """Not by waiting alone."""
        return False

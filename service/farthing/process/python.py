"""Which Python Farthing runs on; as a script, whether the one that runs it will do.

The one place beside ``requires-python`` in pyproject.toml, which a test holds against it. It must be readable by any
Python 3: an old one is to get a sentence, not a SyntaxError.
"""

import sys

OLDEST = (3, 11)
NEWEST = (3, 13)


def wrong_python(version: "tuple[int, ...] | None" = None) -> "str | None":
    """Give a sentence where ``version`` (major, minor; None: this Python's) will not do, else None."""
    running = tuple(version or sys.version_info)[:2]
    if OLDEST <= running <= NEWEST:
        return None
    oldest, newest, this = (f"{major}.{minor}" for major, minor in (OLDEST, NEWEST, running))
    return (
        f"Farthing needs Python {oldest} to {newest}, but {sys.executable} is {this}: "
        f"create the environment with another one, such as `python{newest} -m venv .venv`"
    )


if __name__ == "__main__":
    sys.exit(wrong_python())

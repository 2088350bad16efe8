"""``python -m farthing`` and the ``farthing`` command: errors become one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from farthing.errors import FarthingError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 a check failed, 2 configuration, 3 start-up, 4 data, 130 interrupted."""
    from farthing.cli import app

    try:
        app(arguments if arguments is None else list(arguments))
    except FarthingError as error:
        print(f"farthing: {error}", file=sys.stderr)  # noqa: T201 (the command's own voice)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`farthing score ... | head`): not an error, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()

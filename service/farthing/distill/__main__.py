"""Makes ``python -m farthing.distill`` the same as ``farthing distill``."""

from __future__ import annotations

import sys

from farthing.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["distill"]
    main()

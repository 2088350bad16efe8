"""Optional data beside the checkout."""

from pathlib import Path

import pytest

DATA = Path(__file__).parents[2].parent / "shared" / "data"

needs_shared_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there: it is optional")


def shared(path):
    return DATA / path

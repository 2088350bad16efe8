"""The public surface fits on one screen, and importing it is light."""

import subprocess
import sys

import farthing


def test_every_exported_name_resolves():
    assert len(farthing.__all__) <= 14
    for name in farthing.__all__:
        assert getattr(farthing, name) is not None
    assert dir(farthing) == sorted(farthing.__all__)


def test_unknown_name_is_an_attribute_error():
    assert not hasattr(farthing, "Scrorer")


def test_import_is_light():
    code = "import farthing, sys; print([m for m in ('numba', 'aiokafka', 'faust', 'onnxruntime') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"

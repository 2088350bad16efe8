"""Nothing leaves the machine: ONNX Runtime's telemetry is off before it is loaded."""

import os
import subprocess
import sys

SCRIPT = """
from farthing import Scorer
print(Scorer.load("moderation").score_texts(["have a nice day"]) is not None)
"""


def test_scoring_leaves_no_trace_of_telemetry_on_disk(tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    environment = {
        **os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home), "TMPDIR": str(temporary),
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", ""),
    }  # fmt: skip
    del environment["ORT_DISABLE_TELEMETRY"]  # which importing farthing has set for this process
    if not environment["NUMBA_CACHE_DIR"]:
        del environment["NUMBA_CACHE_DIR"]
    code = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "True"
    left = [path for folder in (home, temporary) for path in folder.rglob("*") if path.suffix not in (".nbi", ".nbc")]
    assert [path for path in left if not path.is_dir()] == []

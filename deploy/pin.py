"""Writes ``requirements.txt``: each package that Farthing needs, at one version, with the SHA-256 of each of its files.

::

    pip install uv && python deploy/pin.py            # newest versions that pyproject.toml allows
    pip install uv && python deploy/pin.py --keep     # keeps the versions in the file where they are still allowed

The file is for all platforms and Python versions: what only some of them need has a marker. It names no package index,
so it works with any. Extras are left out because an image needs none.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "deploy" / "requirements.txt"
HEADER = """\
# What Farthing needs to run, for all platforms, each at one version. Written by deploy/pin.py.
# pip install --require-hashes --only-binary :all: -r deploy/requirements.txt && pip install --no-deps .
"""
LOWEST_PYTHON = "3.11"  # requires-python
TIMEOUT_S = 300


def resolve(*, keep: bool) -> str:
    """Let uv find the versions, and return the text of the file."""
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version",
        LOWEST_PYTHON, "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url",
        "--no-emit-find-links", "--quiet",
        *(["--output-file", str(TARGET.relative_to(ROOT))] if keep else []),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        sys.exit(f"pin.py: uv found no versions (is it installed? pip install uv):\n{done.stderr.strip()}")
    text = TARGET.read_text(encoding="utf-8") if keep else done.stdout
    if "://" in text:
        sys.exit(f"pin.py: the file has an address in it, so a dependency comes from a URL:\n{text}")
    return text


def main() -> None:
    """Write the file."""
    text = HEADER + resolve(keep="--keep" in sys.argv[1:])
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(re.findall(r'^[^ #]', text, re.M))} pins, {text.count('--hash=')} hashes")  # noqa: T201


if __name__ == "__main__":
    main()

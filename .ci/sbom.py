"""Write the SBOM (CycloneDX 1.6, JSON) of what is installed with a release: ``python .ci/sbom.py [FILE]``.

It is made from ``deploy/requirements.txt``, which pins every dependency with the hashes of its files, by cyclonedx-bom
(extra ``release``). Exits if a pinned package is missing in it or has no hash. The same pins give the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "deploy" / "requirements.txt"
TIMEOUT_S = 300


def pinned(text: str) -> set[str]:
    """Give the names that a requirements file pins, normalized as indexes do it."""
    return {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", text, re.M)}


def check(document: dict[str, object], names: set[str]) -> None:
    """Exit unless the document has each of the names, with a hash."""
    components = document.get("components", [])
    assert isinstance(components, list)
    hashed = {
        re.sub(r"[-_.]+", "-", component["name"]).lower()
        for component in components
        if any(reference.get("hashes") for reference in component.get("externalReferences", []))
        or component.get("hashes")
    }
    if missing := sorted(names - hashed):
        sys.exit(f"sbom: {', '.join(missing)} are pinned in {PINS.name}, and the SBOM has no hash of them")


def main() -> None:
    """Write it, then read it again."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "farthing.cdx.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "requirements", PINS, "--pyproject", ROOT / "pyproject.toml",
         "--output-reproducible", "--output-file", file.absolute()],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if made.returncode:
        sys.exit(f"sbom: cyclonedx-bom (extra release) failed:\n{made.stdout}{made.stderr}")
    names = pinned(PINS.read_text("utf-8"))
    check(json.loads(file.read_text("utf-8")), names)
    print(f"{file}: {len(names)} packages")


if __name__ == "__main__":
    main()

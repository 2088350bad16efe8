"""Make the files of a release, under ``dist/``: ``.venv/bin/python .ci/release.py [TAG]`` (extra ``release``).

It refuses if version, changelog and tag disagree. Then it writes the wheel and the source archive to
``dist/packages/``, the SBOM to ``dist/farthing-VERSION.cdx.json`` (CycloneDX, from ``deploy/requirements.txt``), and
the version's part of the changelog to ``dist/notes.md``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
TIMEOUT_S = 300


def version() -> str:
    """Give the version of the project, which must be the package's too; exits if they differ."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    said = re.search(r'^__version__ = "(.+)"$', (ROOT / "service/farthing/__init__.py").read_text("utf-8"), re.M)
    if said is None or said[1] != project:
        sys.exit(f"release: pyproject.toml has {project}, farthing.__version__ {said and said[1]}: make them the same")
    return str(project)


def notes(text: str, number: str) -> str:
    """Give a version's part of the changelog, whose heading is ``## X.Y.Z, YYYY-MM-DD``; exits if there is none."""
    match = re.search(rf"^## {re.escape(number)}, (\S+)\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    if match is None:
        sys.exit(f"release: service/CHANGELOG.md has no heading '## {number}, YYYY-MM-DD': rename 'Unreleased' to that")
    try:
        date.fromisoformat(match[1])
    except ValueError:
        sys.exit(f"release: service/CHANGELOG.md: {number} has no date, but {match[1]!r}: write it as YYYY-MM-DD")
    if not match[2].strip():
        sys.exit(f"release: service/CHANGELOG.md says nothing about {number}: write what a user notices")
    return match[2].strip() + "\n"


def check_tag(tag: str, number: str) -> None:
    """Exit unless the tag is the version's."""
    if tag != f"v{number}":
        sys.exit(f"release: the tag is {tag} and the version {number}: tag v{number}, or change the version")


def run(*command: str | Path) -> None:
    """Run a command in the repository; exits with its output if it fails."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        sys.exit(f"release: {' '.join(map(str, command[1:]))} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Check, then build."""
    number = version()
    text = notes((ROOT / "service/CHANGELOG.md").read_text("utf-8"), number)
    if len(sys.argv) > 1:
        check_tag(sys.argv[1], number)
    shutil.rmtree(DIST, ignore_errors=True)
    (DIST / "packages").mkdir(parents=True)
    run("-m", "hatchling", "build", "-d", DIST / "packages")
    parts = DIST / f"farthing-{number}.cdx.json"
    run(".ci/sbom.py", parts)
    (DIST / "notes.md").write_text(text, "utf-8")
    made = sorted(path.relative_to(ROOT).as_posix() for path in DIST.rglob("*") if path.is_file())
    print("\n".join(made))
    if len(sys.argv) == 1:
        print(f"To release it: git tag -s v{number} -m 'Farthing {number}' && git push origin v{number}")


if __name__ == "__main__":
    main()

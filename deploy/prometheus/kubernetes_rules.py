"""Writes the rules as a PrometheusRule: ``python deploy/prometheus/kubernetes_rules.py``; ``--check`` compares.

The rules are kept only once, in rules/*.yml. Indenting their text keeps the comments and needs no YAML library.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = """\
# Made by deploy/prometheus/kubernetes_rules.py from deploy/prometheus/rules: edit those instead.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: farthing
spec:
  groups:
"""


def make() -> str:
    """Give the text of the PrometheusRule."""
    lines = [HEAD.rstrip("\n")]
    for path in sorted((HERE / "rules").glob("*.yml")):
        _, groups = path.read_text(encoding="utf-8").split("\ngroups:\n", 1)
        lines += [f"  {line}" if line else "" for line in groups.rstrip("\n").split("\n")]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the file, or with ``--check`` only exit with 1 if it is stale."""
    text = make()
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    if list(arguments) == ["--check"]:
        sys.stderr.write(f"{TARGET}: stale; run python deploy/prometheus/kubernetes_rules.py\n")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

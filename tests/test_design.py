"""Decisions are numbered without a gap; twenty words are defined, and the code has them. (The map: tests/tidy.py.)"""

import re
from pathlib import Path

SERVICE = Path(__file__).parents[1] / "service"
PACKAGE = SERVICE / "farthing"


def test_decisions_are_numbered():
    numbers = sorted(int(path.name[:4]) for path in (SERVICE / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_twenty_words_are_defined_in_one_sentence_each_and_the_code_has_them():
    section = (SERVICE / "DESIGN.md").read_text().split("## 5. Words")[1]
    rows = re.findall(r"^\| (?!word|---)([^|]+) \| ([^|]+) \|$", section, re.M)
    words = [word for cell, _ in rows for word in cell.split(", ")]
    assert len(rows) == 20 and len(set(words)) == len(words)
    for _, meaning in rows:
        assert meaning.endswith(".") and ". " not in meaning, meaning
    code = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    for name in re.findall(r"`([A-Z]\w+)`", section):
        assert f"class {name}" in code, name

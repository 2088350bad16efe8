"""The file map in service/DESIGN.md names what there is, and all of it; decisions are numbered; twenty words are defined."""

import re
from pathlib import Path

SERVICE = Path(__file__).parents[1] / "service"
PACKAGE = SERVICE / "farthing"


def named():
    """The paths of the map's first column, ``*_report.py`` and the like as patterns."""
    text = (SERVICE / "DESIGN.md").read_text()
    section = text.split("## 2.")[1].split("## 3.")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_module_and_package_is_in_the_map():
    there = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    there -= {"__init__.py", "__main__.py"}
    patterns = named()
    missing = sorted(n for n in there if not any(Path(n).match(p) for p in patterns))
    assert not missing, f"not in the file map of service/DESIGN.md: {missing}"


def test_the_map_names_nothing_that_is_gone():
    gone = sorted(p for p in named() if not list(PACKAGE.glob(p)))
    assert not gone, f"named in service/DESIGN.md and not there: {gone}"


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

"""The documentation site: its tables are the code's, and its links lead where the repository's do."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import farthing
from farthing import blocks, config, errors

ROOT = Path(__file__).parents[1]
BUILD_TIMEOUT_S = 300


@pytest.fixture(scope="module", autouse=True)
def docs_on_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / ".docs"))
        yield


@pytest.fixture(scope="module")
def tables(docs_on_path):
    return __import__("tables")


@pytest.fixture(scope="module")
def gather(docs_on_path):
    return __import__("gather")


def cells(table):
    """The first cell of each row, without what marks it up."""
    return [line.split(" | ")[0].strip("|· \u00a0`") for line in table.splitlines() if line.startswith("|")][2:]


def test_every_setting_stands_in_its_section(tables):
    schema = json.loads(config.schema())
    text = tables.settings()
    for name in schema["properties"]:
        (section,) = re.findall(rf"^## `\[+{name}\]+`\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        annotation = config.Settings.model_fields[name].annotation
        model = getattr(annotation, "__args__", (annotation,))[0]
        shown = cells(section) + re.findall(rf"^## `\[+{name}\.(\w+)\]", text, re.M)
        assert sorted(shown) == sorted(field.alias or key for key, field in model.model_fields.items())


def test_a_setting_is_shown_with_its_default_values_and_words(tables):
    text = tables.settings()
    assert "| `port` | `9464` | integer, ≥ 0, ≤ 65,535 |" in text
    assert re.search(r'\| `on_corrupt_batch` \| `"halt"` \| `"halt"`, `"skip"` \| \'halt\' stops the partition;', text)
    assert re.search(r"\| `sink` \| \*required\* \| string, not empty \| topic to write scores to,", text)


def test_every_error_is_in_the_tree_with_its_exit_code(tables):
    text = tables.error_tree()
    ours = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert set(cells(text)) == ours
    assert re.search(r"`ConfigError` \| .+ \| config \| no \| 2 \|", text)
    assert re.search(r"`BrokerError` \| .+ \| fetch \| see its `retriable` \| 3 \|", text)


def test_every_reason_of_a_dead_letter_is_explained(tables):
    rows = [line.strip("| ").split(" | ") for line in tables.dead_letters().splitlines()[2:]]
    assert [row[1].strip("`") for row in rows] == [one.name.lower() for one in blocks.Status if one]
    assert all(len(row) == 3 and len(row[2]) > 10 for row in rows)


def test_every_command_is_described(tables):
    text = tables.commands()
    for command in ("serve", "score", "demo", "topics create", "config show", "model verify"):
        assert f"farthing {command}\n" in text
    assert "Table of Contents" not in text


def test_the_public_surface_is_on_the_page_and_what_scoring_gives(tables):
    shown = tables.exported()
    assert {name for name in farthing.__all__ if name[0] != "_"} <= {name.rpartition(".")[2] for name in shown}
    assert shown[0] == "farthing.Scorer" and shown[1].endswith(".ScoredEvents")


def test_links_lead_to_pages_pictures_and_files(gather):
    placed, pictures = gather.pages(), set()
    text = (
        "[a](service/DESIGN.md#x) ![b](deploy/page.png) [c](pyproject.toml) [d](service/adr) [e](https://f.example/g)\n"
        "[report](\nloadtest/reports/2026-11-24-throughput.md). [gone](no/such.md) [here](#y) `service/OPERATIONS.md`\n"
        "```sh\n[a](service/DESIGN.md)\n```\n"
    )
    web = gather.REPOSITORY
    assert gather._relinked(text, "README.md", placed, pictures) == (
        f"[a](design.md#x) ![b](deploy/page.png) [c]({web}/blob/main/pyproject.toml) [d]({web}/tree/main/service/adr) "
        "[e](https://f.example/g)\n[report](reports/load/2026-11-24-throughput.md). [gone](no/such.md) [here](#y) "
        "[`service/OPERATIONS.md`](operations.md)\n```sh\n[a](service/DESIGN.md)\n```\n"
    )
    assert pictures == {"deploy/page.png"}
    assert gather._relinked("[m](../reports/2026-11-24-rerank.md)", "models/bundles/README.md", {
        **placed, "models/bundles/README.md": "models/bundles.md"}, pictures
    ) == "[m](../reports/models/2026-11-24-rerank.md)"  # fmt: skip


def test_every_page_has_a_place_of_its_own(gather):
    placed = gather.pages()
    assert len(set(placed.values())) == len(placed)
    assert all(list(ROOT.glob(pattern)) for pattern in gather.PAGES), "a pattern that finds no page"


@pytest.mark.parametrize(
    ("output", "loads"),
    [
        ('<script defer src="https://cdn.example/x.js"></script>', "https://cdn.example/x.js"),
        ("<link rel=stylesheet href=//fonts.example/css>", "//fonts.example/css"),
        ('<img alt="a" src="http://a.example/b.png">', "http://a.example/b.png"),
        ('<a href="https://semver.org">x</a><img src="../deploy/page.png"><script src="a.js"></script>', None),
    ],
)
def test_a_page_that_loads_from_another_host_is_a_warning(gather, caplog, output, loads):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    with caplog.at_level("WARNING", gather.log.name):  # another test may have set up logging for a command
        assert gather.on_post_page(output, page, None) == output
    assert [record.getMessage() for record in caplog.records] == (
        [f"index.md loads {loads}: a page may load from its own host only"] if loads else []
    )


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the site needs the extra docs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-f", ".mkdocs.yml", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'id="farthing.Scorer.score_texts"' in (tmp_path / "reference" / "python" / "index.html").read_text()

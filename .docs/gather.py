"""Gathers the pages of the site from the repository, adapts their links, and makes the reference pages.

MkDocs calls the ``on_`` functions (``hooks`` in ``.mkdocs.yml``). A page keeps its text, and only its links change. A
link to another page leads to it on the site, a link to a picture brings the picture along, and a link to any other file
of the repository leads to that file on the web. A path in backticks that is one of our pages becomes a link to it. A
built page that loads anything from another host is a warning, and so an error.
"""

from __future__ import annotations

import logging
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tables

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

log = logging.getLogger(f"mkdocs.hooks.{__name__}")  # in strict mode MkDocs counts the warnings under its own name

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]

# Where each page of the repository goes on the site. A pattern's pages are listed by name.
PAGES = {
    "README.md": "index.md",
    "models/README.md": "models/index.md",
    "models/bundles/*/CARD.md": "models/{folder}.md",
    "service/OPERATIONS.md": "operations.md",
    "service/GUARANTEE.md": "guarantee.md",
    "service/DESIGN.md": "design.md",
    "service/adr/*.md": "decisions/{name}.md",
    "service/CHANGELOG.md": "changes.md",
    "loadtest/reports/*.md": "reports/load/{name}.md",
    "models/reports/*.md": "reports/models/{name}.md",
    ".github/CONTRIBUTING.md": "contributing.md",
    ".github/SECURITY.md": "security.md",
    ".github/CODE_OF_CONDUCT.md": "conduct.md",
}

ENVIRONMENT = """\
Set each setting in `farthing.toml`, in the section under which it is listed here, or in an environment variable:
`session_timeout_ms` of `[kafka]` is `FARTHING_KAFKA__SESSION_TIMEOUT_MS`. A flag overrides a variable, and a variable
overrides the file. `farthing config show -c farthing.toml` says which values are in use and where each came from.
"""

ERRORS = """\
Every error that is raised on purpose is a `FarthingError`. A bad event raises nothing: it becomes a dead letter, with
one of the reasons below in its header `farthing.error.reason`. A dot before a name means that it is a subclass of the
one above.
"""

REFERENCE: dict[str, Callable[[], str]] = {
    "reference/commands.md": lambda: f"# Commands\n\n{tables.commands()}",
    "reference/settings.md": lambda: f"# Settings\n\n{ENVIRONMENT}\n{tables.settings()}",
    "reference/metrics.md": lambda: f"# Metrics\n\n{tables.metrics()}",
    "reference/errors.md": lambda: (
        f"# Errors\n\n{ERRORS}\n{tables.error_tree()}\n## Reasons of dead letters\n\n{tables.dead_letters()}"
    ),
    "reference/python.md": lambda: (
        "# Python\n\nEverything that `farthing` exports. Names load on first use, so the import itself is cheap.\n\n"
        + "".join(f"::: {name}\n" for name in tables.exported())
    ),
}

LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\]\()\s*([^)\s]+)\s*\)")
CODE_PATH = re.compile(r"(?<!\[)`([\w./-]+\.md)`(?!\])")
LOADED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?\s(?:src|href)=["']?((?:https?:)?//[^"'>\s]+)""")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.M | re.S)


def pages() -> dict[str, str]:
    """Give each page of the repository and its place on the site."""
    placed = {}
    for pattern, place in PAGES.items():
        for path in sorted(ROOT.glob(pattern)):
            placed[path.relative_to(ROOT).as_posix()] = place.format(name=path.stem, folder=path.parent.name)
    return placed


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lay out the navigation: fixed sections, with all the decisions, cards and reports that exist."""
    placed = pages().values()

    def within(folder: str, *, newest_first: bool = False) -> list[Any]:
        return sorted((p for p in placed if p.startswith(folder)), reverse=newest_first)

    config.nav = [
        {"Start": "index.md"},
        {"Your own model": "models/index.md"},
        {"Operating": ["operations.md", "guarantee.md"]},
        {"Reference": list(REFERENCE)},
        {"Shipped models": [place for place in within("models/") if place != "models/index.md"]},
        {"How it works": ["design.md", {"Decisions": within("decisions/")}]},
        {
            "Reports": [
                {"Load and speed": within("reports/load/", newest_first=True)},
                {"Models": within("reports/models/", newest_first=True)},
            ]
        },
        {"Project": ["changes.md", "contributing.md", "security.md", "conduct.md"]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the gathered pages, the pictures that they show and the reference."""
    from mkdocs.structure.files import File

    placed = pages()
    pictures: set[str] = set()
    for source, place in placed.items():
        text = _relinked((ROOT / source).read_text("utf-8"), source, placed, pictures)
        files.append(File.generated(config, place, content=text))
    for picture in sorted(pictures):
        files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    for place, made in REFERENCE.items():
        files.append(File.generated(config, place, content=made()))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn about what a page would load from another host."""
    for address in LOADED.findall(output):
        log.warning("%s loads %s: a page may load from its own host only", page.file.src_uri, address)
    return output


def _relinked(text: str, source: str, placed: dict[str, str], pictures: set[str]) -> str:
    """Point the links of one page to where they lead on the site; blocks of code are left alone."""
    folder = posixpath.dirname(source)
    here = posixpath.dirname(placed[source])

    def leading_to(target: str) -> str | None:
        """Give where a path, taken from this page's folder, leads on the site; None where there is no such file."""
        path, hash_sign, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path in placed:
            return posixpath.relpath(placed[path], here or ".") + hash_sign + anchor
        if not (ROOT / path).exists() or path.startswith(".."):
            return None
        if path.endswith((".png", ".svg")):
            pictures.add(path)
            return posixpath.relpath(path, here or ".")
        return f"{REPOSITORY}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}{hash_sign}{anchor}"

    def link(match: re.Match[str]) -> str:
        before, target = match.groups()
        if target.startswith("#") or re.match(r"[a-z]+:", target):
            return f"{before}{target})"
        return f"{before}{leading_to(target) or target})"  # a broken one stays, and MkDocs reports it

    def code(match: re.Match[str]) -> str:
        path = match[1]
        found = next((p for p in (path, posixpath.normpath(posixpath.join(folder, path))) if p in placed), None)
        if found is None or found == source:
            return match[0]
        return f"[`{path}`]({posixpath.relpath(placed[found], here or '.')})"

    return "".join(_outside_code(text, lambda part: CODE_PATH.sub(code, LINK.sub(link, part))))


def _outside_code(text: str, change: Callable[[str], str]) -> Iterator[str]:
    """Change what is outside of fenced blocks."""
    for number, part in enumerate(FENCE.split(text)):
        yield part if number % 2 else change(part)

"""The frame of every CARD.md: its title, its sections, tables, data sources and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def frame(name: str, description: str, sections: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Write a card.

    Parameters
    ----------
    name, description:
        The bundle's name and description.
    sections:
        Headings and the lines below them; the lines below the description have the heading "".
    """
    lines = [f"# {name}", "", description, ""]
    for heading, body in sections:
        lines += [*([f"## {heading}", ""] if heading else []), *body, ""]
    return "\n".join(lines)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def cell(metric: Mapping[str, float], digits: int = 3) -> str:
    """Write a metric with its interval."""
    return f"{metric['value']:.{digits}f} ({metric['low']:.{digits}f} to {metric['high']:.{digits}f})"


def source(name: str, licence: str, note: str = "", *, what: str = "") -> str:
    """Write an entry of the data section; ``what`` goes between name and licence."""
    return f"- **{name}**{what}. Licence: {licence}. {note}".rstrip()

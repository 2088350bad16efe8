"""Bytes per token of real texts, by set and by script: the source of the table in service/farthing/meter/facts.toml.

    python loadtest/token_ratios.py --data ../shared/data/moderation --locale DJANGO/conf/locale \\
        o200k_base.tiktoken cl100k_base.tiktoken claude2.json

Texts are JSON lines with a field ``text`` (each set's test or dev file), Django's translations (sentences of more than
25 letters, in pairs, without placeholders and tags), and made-up OpenRTB requests. You supply the tokenizer files;
nothing is downloaded. Prints a Markdown table.
"""

import argparse
import ast
import itertools
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from farthing.files import read_rows
from farthing.meter.tokens import load_tokenizer, script_of

MOST_TEXTS = 2_000
FEWEST_TEXTS = 20


def comment_sets(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """One list of texts for each set."""
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        file = next((home / name for name in ("test.jsonl.gz", "dev.jsonl.gz") if (home / name).exists()), None)
        if file is not None:
            yield home.name, [row.values["text"] for row in itertools.islice(read_rows(file), MOST_TEXTS)]


def translations(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """One list of texts for each language."""
    for home in sorted(folder.iterdir()):
        inside = f"{home.name}/LC_MESSAGES/django.po"
        files = [folder / inside, *folder.parents[1].glob(f"contrib/*/locale/{inside}")]
        sentences: list[str] = []
        for file in files:
            if file.exists():
                sentences += _sentences(file.read_text(encoding="utf-8"))
        pairs = [" ".join(sentences[at : at + 2]) for at in range(0, len(sentences), 2)]
        if len(pairs) >= FEWEST_TEXTS and not home.name.startswith("en"):
            yield home.name, pairs


def _sentences(po: str) -> Iterator[str]:
    for block in re.findall(r'^msgstr(?:\[\d\])? ((?:".*"\n?)+)', po, re.MULTILINE):
        text = "".join(ast.literal_eval(line) for line in block.strip().split("\n"))
        bare = re.sub(r"%\(\w+\)s|<[^>]+>|%[sd]", "", text).strip()
        if len(bare) > 25 and "Content-Type" not in bare:
            yield bare


def bid_requests(n: int = 500) -> list[str]:
    """Made-up OpenRTB banner requests."""
    chance = random.Random(1)
    return [
        json.dumps(
            {
                "id": f"{chance.getrandbits(128):032x}",
                "at": 2,
                "tmax": 120,
                "imp": [{"id": "1", "banner": {"w": 300, "h": 250, "pos": 1}, "bidfloor": round(chance.random(), 2)}],
                "site": {"domain": f"news{chance.randrange(99)}.example.com", "cat": ["IAB12", "IAB1-3"]},
                "device": {
                    "ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Version/19.1",
                    "ip": f"203.0.113.{chance.randrange(255)}",
                    "geo": {"country": "DEU", "city": "Berlin", "lat": 52.52, "lon": 13.4},
                },
                "user": {"id": f"{chance.getrandbits(64):016x}"},
            },
            separators=(",", ":"),
        )
        for _ in range(n)
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, help="folder with a subfolder for each set of comments")
    parser.add_argument("--locale", type=Path, help="django/conf/locale of an unpacked Django wheel")
    arguments = parser.parse_args()
    counts = [load_tokenizer(path) for path in arguments.tokenizers]
    sets: list[tuple[str, list[str]]] = [("OpenRTB, made up", bid_requests())]
    sets += comment_sets(arguments.data) if arguments.data else []
    sets += translations(arguments.locale) if arguments.locale else []
    out = sys.stdout
    out.write("| texts | script | number | mean bytes | " + " | ".join(p.stem for p in arguments.tokenizers) + " |\n")
    out.write("| --- | --- | --- | --- |" + " --- |" * len(counts) + "\n")
    rows = []
    for name, texts in sets:
        scripts = [script_of(text) for text in texts]
        most = max(set(scripts), key=scripts.count)
        size = sum(len(text.encode()) for text in texts)
        ratios = [size / sum(count(text) for text in texts) for count in counts]
        rows.append((most, f"| {name} | {most} | {len(texts):,} | {size // len(texts)} | "
                     + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |\n"))  # fmt: skip
    out.writelines(row for _, row in sorted(rows))


if __name__ == "__main__":
    main()

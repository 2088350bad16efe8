"""A small made-up task: texts with a word that decides, a teacher's answers, gold for a half."""

import json

import numpy as np

GOOD = "nice lovely kind warm sunny quiet helpful honest".split()
BAD = "awful stupid rotten vile nasty horrid mean cruel".split()
PLAIN = "the dog house tree river a walks sees and under bread table morning street window".split()

RECIPE = """
name = "toy"
task = "moderation"
description = "Rude words."

[[source]]
name = "made"
train = "train.jsonl"
gold = { rude = "label" }
licence = "CC0-1.0"
[source.teacher]
big = { rude = "answers.big" }

[[teacher]]
kind = "given"
name = "big"

[features]
n_buckets = 4096
[[features.features]]
kind = "text"

[training]
epochs = 6
batch = 64
learning_rate = 0.02
feature_dropout = 0.2
"""


def make_rows(n, *, seed=0):
    """Rows with id, text, label (null in every second row) and a teacher's probability."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        rude = bool(rng.random() < 0.4)
        words = [*rng.choice(PLAIN, 6), str(rng.choice(BAD if rude else GOOD)), f"w{rng.integers(0, 10**6)}"]
        rng.shuffle(words)
        sure = 0.02 + 0.2 * rng.random()
        rows.append(
            {
                "id": f"r{k}",
                "text": " ".join(map(str, words)),
                "label": int(rude) if k % 2 else None,
                "answers": {"big": round(1 - sure if rude else sure, 4)},
            }
        )
    return rows


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_task(folder, *, recipe=RECIPE, n=900, rows=None):
    """Write recipe and data; gives the recipe's path."""
    write_lines(folder / "train.jsonl", make_rows(n) if rows is None else rows)
    path = folder / "toy.toml"
    path.write_text(recipe)
    return path

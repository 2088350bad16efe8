"""The events that kernels are timed on: real comments if public data lie beside the checkout, else made-up ones."""

import itertools
import json
from pathlib import Path

from farthing.files import read_rows
from farthing.local.comments import comment_events

DATA = Path(__file__).resolve().parents[3] / "shared/data/moderation/tweeteval_offensive/train.jsonl.gz"


def events_of(kind, n):
    """Give (n event values, what they are). ``kind``: ``real``, ``made-up``, or ``any``: real ones where they are."""
    if kind == "made-up" or (kind == "any" and not DATA.exists()):
        return comment_events(n), "made-up comments"
    if not DATA.exists():
        raise SystemExit(f"there are no real texts: {DATA} is missing; use --events made-up")
    texts = [row.values["text"] for row in read_rows(DATA)]
    cut = itertools.islice(itertools.cycle(texts), n)
    values = [
        json.dumps({"id": f"t-{k:08d}", "text": text}, ensure_ascii=False, separators=(",", ":")).encode()
        for k, text in enumerate(cut)
    ]
    return values, "TweetEval offensive, training texts"

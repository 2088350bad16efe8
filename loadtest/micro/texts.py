"""The events that kernels are timed on: real comments where public data lie beside the checkout, else made-up ones."""

import gzip
import itertools
import json
from pathlib import Path

from farthing.comments import comment_events

DATA = Path(__file__).resolve().parents[3] / "shared/data/moderation/tweeteval_offensive/train.jsonl.gz"


def events_of(kind, n):
    """Give (n event values, what they are). ``kind``: ``real``, ``made-up``, or ``any``: real ones where they are."""
    if kind == "made-up" or (kind == "any" and not DATA.exists()):
        return comment_events(n), "made-up comments"
    if not DATA.exists():
        raise SystemExit(f"there are no real texts: {DATA} is missing; use --events made-up")
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    cut = itertools.islice(itertools.cycle(texts), n)
    values = [
        json.dumps({"id": f"t-{k:08d}", "text": text}, ensure_ascii=False, separators=(",", ":")).encode()
        for k, text in enumerate(cut)
    ]
    return values, "TweetEval offensive, training texts"

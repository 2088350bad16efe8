"""Seeded generators of plausible, well-formed events for the demo and the load tests: comments, and rankings of them.

The sentences are put together from phrases, so a model cannot be judged by them; they have the sizes, the skew and the
odd characters of real comments. About one in fourteen is rude.
"""

from __future__ import annotations

import json
import random

OPENERS = (
    "honestly", "ok so", "lol", "I think", "to be fair", "hmm", "wow", "not gonna lie", "as a parent", "nope",
    "@user", "@user @user", "quick question,", "for what it's worth", "first time here and", "RT @user:", "fwiw",
)  # fmt: skip
SUBJECTS = (
    "this video", "the new update", "my order", "the referee", "that recipe", "the second season", "your last post",
    "customer service", "the whole thread", "this phone", "the bus to work", "the ending", "everyone here",
    "the keynote", "our landlord", "the comment above", "that goal in the 89th minute", "the café on 5th",
)  # fmt: skip
VERBS = (
    "was better than I expected", "made my day", "makes no sense to me", "arrived two days late", "deserves more views",
    "is a bit overrated", "helped a lot, thank you", "got worse since last year", "is exactly what I needed",
    "still does not work on Android", "cost me 40 dollars", "is why I love this place", "should be on the front page",
    "needs a source", "had me laughing so hard 😂", "is fine I guess", "sounds like a lot of work",
)  # fmt: skip
CLOSERS = (
    "!", ".", "...", "?", " 🙏", " 🔥🔥", " - any ideas?", " #mondaymood", " tbh", " (see the link below)",
    " https://example.org/p/8812", "!!!", " naïve question, sorry", " — thanks", " \"as seen on TV\"", "\nEdit: typo",
)  # fmt: skip
RUDE = (
    "shut up you idiot", "you are a pathetic liar", "what a bunch of morons", "nobody asked you, loser",
    "this is garbage and so are you", "get lost you stupid clown", "you people are disgusting trash",
    "go to hell, you worthless piece of crap", "dumbest crap I have ever read, you fool",
)  # fmt: skip
LANGUAGES = ("en",) * 18 + ("en-GB", "en-IN")


def comment_events(n: int, *, seed: int = 42) -> list[bytes]:
    """Make ``n`` JSON events (UTF-8, about 150 bytes each) with unique ids; the same for the same seed.

    Keys: ``id``, ``user``, ``lang``, ``ts`` (seconds) and ``text``; the moderation bundle reads ``id`` and ``text``.
    """
    rng = random.Random(seed)
    events = []
    for number in range(n):
        event = {
            "id": f"c-{seed:x}-{number:08d}",
            "user": f"u{min(int(rng.paretovariate(0.6)), 9_999_999)}",  # a few users write most comments
            "lang": rng.choice(LANGUAGES),
            "ts": 1_790_000_000 + number // 50,
            "text": _text(rng),
        }
        events.append(json.dumps(event, ensure_ascii=rng.random() < 0.2, separators=(",", ":")).encode())
    return events


def ranking_events(n: int, *, candidates: int = 20, seed: int = 42) -> list[bytes]:
    """Make ``n`` JSON events of the task rerank (about 300 bytes a candidate); the same for the same seed.

    Keys: ``id``, ``query`` (words of one of the candidates) and ``candidates`` with ``id``, ``text`` and, as from a
    first stage, ``score``.
    """
    rng = random.Random(seed)
    events = []
    for number in range(n):
        texts = [" ".join(_text(rng) for _ in range(4)) for _ in range(candidates)]
        words = rng.choice(texts).split()
        start = rng.randrange(len(words))
        event = {
            "id": f"q-{seed:x}-{number:08d}",
            "query": " ".join(words[start : start + rng.randint(2, 9)]),
            "candidates": [
                {"id": f"d{place}", "text": text, "score": round(20 - place * rng.random(), 4)}
                for place, text in enumerate(texts)
            ],
        }
        events.append(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode())
    return events


def _text(rng: random.Random) -> str:
    sentences = []
    for _ in range(1 + min(int(rng.expovariate(1.6)), 6)):
        if rng.random() < 0.06:
            sentences.append(rng.choice(RUDE) + rng.choice(("", "!", "!!")))
        else:
            opener = rng.choice(OPENERS) + " " if rng.random() < 0.6 else ""
            sentences.append(f"{opener}{rng.choice(SUBJECTS)} {rng.choice(VERBS)}{rng.choice(CLOSERS)}")
    return " ".join(sentences)

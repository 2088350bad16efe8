"""A seeded generator of plausible OpenRTB 2.6 bid requests for benchmarks, load tests and the demo.

They have the fields, sizes and odd cases of real traffic (sites and apps, one to four impressions, floors, deals, test
requests); the values are made up, so a model cannot be judged by them.
"""

from __future__ import annotations

import json
import random
from typing import Any

SIZES = ((300, 250), (320, 50), (728, 90), (160, 600), (970, 250))
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile Safari/537.36",
)
COUNTRIES = ("USA", "USA", "GBR", "DEU", "JPN", "BRA")
NATIVE = '{"ver":"1.2","assets":[{"id":1,"required":1,"img":{"type":3}}]}'


def bid_request_events(n: int, *, seed: int = 42) -> list[bytes]:
    """Make ``n`` JSON events (about 900 bytes each) with unique ids; the same for the same seed."""
    rng = random.Random(seed)
    return [json.dumps(_request(rng, number, seed), separators=(",", ":")).encode() for number in range(n)]


def _request(rng: random.Random, number: int, seed: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "id": f"{seed:x}-{number:010x}",
        "at": rng.choice((1, 2)),
        "tmax": rng.choice((80, 100, 120, 250)),
        "cur": ["USD"],
        "imp": [_impression(rng, k) for k in range(1, 1 + min(1 + int(rng.expovariate(1.2)), 4))],
        "device": {
            "ua": rng.choice(AGENTS),
            "ip": f"203.0.113.{rng.randrange(256)}",
            "geo": {"country": rng.choice(COUNTRIES), "region": f"{rng.randrange(60):02d}"},
            "os": rng.choice(("Windows", "iOS", "Android")),
            "language": "en",
        },
        "user": {
            "id": f"{rng.getrandbits(64):016x}",
            "ext": {
                **{f"user_feature_{k}": f"{rng.getrandbits(3):08x}" for k in range(4)},
                "affinity_sum": rng.choice((0, 0, 1, 3)),
            },
        },
    }
    if rng.random() < 0.5:
        name = f"site{rng.randrange(500)}.example"
        request["site"] = {
            "id": name,
            "domain": name,
            "page": f"https://{name}/{rng.randrange(10_000)}",
            "cat": ["IAB3"],
        }
    else:
        bundle = f"com.example.app{rng.randrange(500)}"
        request["app"] = {"id": bundle, "bundle": bundle, "ver": "1.0.2", "publisher": {"id": "8953"}}
    if rng.random() < 0.05:
        request["badv"] = ["competitor.example", "casino.example"]
    if rng.random() < 0.01:
        request["test"] = 1
    return request


def _impression(rng: random.Random, number: int) -> dict[str, Any]:
    impression: dict[str, Any] = {
        "id": str(number),
        "tagid": f"slot-{rng.randrange(2000)}",
        "secure": 1,
        "ext": {"item_id": f"all-{rng.randrange(80)}", "position": rng.randrange(1, 4)},
    }
    if rng.random() < 0.7:
        impression["native"] = {"request": NATIVE, "ver": "1.2"}
    else:
        w, h = rng.choice(SIZES)
        impression["banner"] = {"w": w, "h": h, "pos": rng.randrange(4), "format": [{"w": w, "h": h}]}
    if rng.random() < 0.6:
        impression["bidfloor"] = round(rng.expovariate(1.5), 2)
        impression["bidfloorcur"] = "USD"
    if rng.random() < 0.03:
        impression["pmp"] = {"private_auction": 1, "deals": [{"id": "deal-1", "bidfloor": 2.5}]}
    return impression

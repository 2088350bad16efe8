"""Micro-benchmark of the parsing kernel on streams of several kinds, each with and without what it learns of them.

    python -m loadtest.micro.parsing [--block 5000] [--rounds 25] [--json]

``by shape`` is the kernel as the stage calls it; ``whole`` is the same kernel without room for links, so that every key
is scanned and looked up. They take turns. ``copy`` is a NumPy copy of as many bytes as must be read and written: no
kernel can be faster than that. All streams have the keys of :func:`farthing.local.comments.comment_events`.
"""

import argparse
import json
import random

import numpy as np
from loadtest.micro import cases, timing

from farthing.blocks import RecordBlock
from farthing.local.comments import comment_events
from farthing.payload import Field, FieldPlan, parse
from farthing.payload.shape import NODE_WIDTH

PLAN = FieldPlan((Field("id", "id", "raw"), Field("text", "text", required=True)))
NESTED = FieldPlan((Field("id", "account.id", "raw"), Field("text", "comment.body", required=True)))
CYRILLIC = "съешь же ещё этих мягких французских булок да выпей чаю".split()
EMOJI = "🔥😂🙏 great 🎉🎉 ok 👍".split()
COMPACT, PYTHON = (",", ":"), (", ", ": ")


def streams(n):
    """Give (name, plan, ``n`` events) of each kind."""
    rng = random.Random(7)
    values = comment_events(n)
    events = [json.loads(value) for value in values]

    def written(event, separators=COMPACT, ascii_only=False, indent=None):
        return json.dumps(event, separators=separators, ensure_ascii=ascii_only, indent=indent).encode()

    def texts(words, count):
        return [event | {"text": " ".join(rng.choices(words, k=count))} for event in events]

    def shuffled(event):
        items = list(event.items())
        rng.shuffle(items)
        return dict(items)

    plain = [event | {"text": event["text"].encode("ascii", "ignore").decode().replace("\n", " ")} for event in events]
    nested = [{"v": 1, "account": {"id": e["id"], "name": "n"}, "comment": {"body": e["text"]}} for e in events]
    late = [{f"{'x' * 60}{k}{rng.randrange(10**6):06d}": 1 for k in range(4)} | event for event in events]
    spaces = [(rng.choice([",", ", ", " ,"]), rng.choice([":", ": ", " :", "  :"])) for _ in events]
    yield "the load test's", PLAN, values
    yield "ASCII without escapes", PLAN, [written(event) for event in plain]
    yield "json.dumps", PLAN, [written(event, PYTHON, True) for event in events]
    yield "json.dumps, indent=2", PLAN, [written(event, PYTHON, True, 2) for event in events]
    yield "Cyrillic", PLAN, [written(event) for event in texts(CYRILLIC, 10)]
    yield "Cyrillic, escaped", PLAN, [written(event, ascii_only=True) for event in texts(CYRILLIC, 10)]
    yield "emoji", PLAN, [written(event) for event in texts(EMOJI, 12)]
    yield "emoji, escaped", PLAN, [written(event, ascii_only=True) for event in texts(EMOJI, 12)]
    yield "fields below the top", NESTED, [written(event) for event in nested]
    yield "two producers", PLAN, [written(e if k % 2 else dict(reversed(e.items()))) for k, e in enumerate(events)]
    yield "any order of keys", PLAN, [written(shuffled(event)) for event in events]
    yield "any white space", PLAN, [written(*pair) for pair in zip(events, spaces, strict=True)]
    yield "a new key in each", PLAN, [written({f"k{rng.randrange(10**9)}": 1} | event) for event in events]
    yield "long new keys", PLAN, [written(event) for event in late]


def measure(block, rounds):
    """Give the copy's rate (bytes a nanosecond) and a row for each stream."""
    copy, copy_bytes = timing.copying()
    calls, what = [copy], []
    for name, plan, values in streams(block):
        records = RecordBlock.of_values(values)

        def run(records=records, plan=plan):
            return parse(records, plan)

        cases.assert_equal(run(), parse.reference(records, plan), name)
        (given,) = cases.arguments(cases.PAYLOAD, "parse_events", run)
        kernel, roots = cases.PAYLOAD.parse_events, len(plan.compiled.node_fields)
        nodes = given[-3][: roots * NODE_WIDTH]  # no room for links
        calls += [cases.repeat(kernel, [given]), cases.repeat(kernel, [[*given[:-3], nodes, *given[-2:]]])]
        text = float(run().columns["text"].indptr[-1]) / block
        read = sum(map(len, values)) / block
        what.append((name, read, read + text + 2 * cases.PLACE_BYTES + 2 * (1 + 3 * cases.PLACE_BYTES)))
    copied, *times = timing.rounds_ns(calls, rounds=rounds, seconds=0.01)
    rate = copy_bytes / timing.summary(copied)["median"]
    rows = []
    for (name, read, moved), shape, whole in zip(what, times[::2], times[1::2], strict=True):
        seen = timing.summary([a / b for a, b in zip(shape, whole, strict=True)])
        rows.append(
            {
                "stream": name, "bytes": read, "by_shape_ns": timing.summary(shape)["median"] / block,
                "whole_ns": timing.summary(whole)["median"] / block, "by_shape_least_ns": min(shape) / block,
                "whole_least_ns": min(whole) / block, "ratio": seen["median"], "spread": seen["spread"],
                "copy_ns": moved / rate,
            }
        )  # fmt: skip
    return rate, rows


def main():
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--block", type=int, default=5_000, help="events in the block")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    options = parser.parse_args()
    rate, rows = measure(options.block, options.rounds)
    if options.json:
        print(json.dumps({"streams": rows, "copy_gb_per_second": float(np.float64(rate))}))
        return
    print(f"ns an event (least), blocks of {options.block}; copy {rate:.1f} GB/s")
    print(f"{'stream':<24}{'bytes':>6}{'by shape':>18}{'whole':>18}{'ratio':>7}{'copy':>7}")
    for row in rows:
        shape = f"{row['by_shape_ns']:.0f} ({row['by_shape_least_ns']:.0f})"
        whole = f"{row['whole_ns']:.0f} ({row['whole_least_ns']:.0f})"
        print(
            f"{row['stream']:<24}{row['bytes']:>6.0f}{shape:>18}{whole:>18}{row['ratio']:>7.2f}{row['copy_ns']:>7.1f}"
        )


if __name__ == "__main__":
    main()

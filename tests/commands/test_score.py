"""``farthing score``: lines in, scores out, bad lines aside."""

import gzip
import json
import subprocess
import sys

from farthing import Scorer
from farthing.local.comments import comment_events
from tests.inprocess import farthing


def test_scores_come_in_input_order_from_plain_and_gzipped_files(tmp_path):
    events = comment_events(20_000)
    plain, zipped = tmp_path / "e.jsonl", tmp_path / "e.jsonl.gz"
    plain.write_bytes(b"\n".join(events) + b"\n")
    zipped.write_bytes(gzip.compress(b"\r\n".join(events)))
    expected = [value for value in Scorer.load("moderation").score_events(events).values]
    for file in (plain, zipped):
        done = farthing("score", "moderation", file)
        assert done.returncode == 0
        assert done.stdout.encode().splitlines() == expected
        assert "20,000 scored, 0 dead" in done.stderr


def test_bad_lines_go_aside_with_their_reason(tmp_path):
    lines = [b'{"text":"a"}', b"{", b"", b'{"text":5}', b'{"text":"\xff"}', b'{"id":1}', b'{"text":"b"}']
    out, dead = tmp_path / "scores.jsonl", tmp_path / "dead.jsonl"
    command = ["score", "moderation", "-", "-o", str(out), "--dead", str(dead), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "farthing", *command], input=b"\n".join(lines), capture_output=True, timeout=120
    )
    assert done.returncode == 0
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["events"], report["scored"], report["dead"]) == (6, 2, 4)
    found = [json.loads(line) for line in dead.read_text().splitlines()]
    assert [(f["line"], f["reason"]) for f in found] == [
        (2, "syntax"), (4, "wrong_type"), (5, "invalid_utf8"), (6, "missing_field"),
    ]  # fmt: skip
    assert len(out.read_text().splitlines()) == 2
    assert b"line 2: syntax\n" in done.stderr
    assert b"line 6: missing_field (needed: text)\n" in done.stderr


def test_exit_codes(tmp_path):
    assert farthing("score", "moderation", "-", stdin=b"{\n[").returncode == 4
    assert farthing("score", "moderation", "-", stdin=b"").returncode == 0
    missing = farthing("score", "moderation", tmp_path / "none")
    assert missing.returncode == 2
    assert "cannot be read" in missing.stderr
    assert farthing("score", tmp_path, "-", stdin=b"").returncode == 3
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b'{"text":"a"}\n' * 10_000)[:40])
    broken = farthing("score", "moderation", cut)
    assert broken.returncode == 4
    assert "Traceback" not in broken.stderr


def test_model_commands():
    assert farthing("model", "verify", "moderation").returncode == 0
    shown = farthing("model", "show", "moderation", "--json")
    assert json.loads(shown.stdout.splitlines()[-1])["heads"][0] == "offensive"
    timed = farthing("model", "bench", "moderation", "--json")
    assert set(json.loads(timed.stdout.splitlines()[-1])["ns_per_event"]) == {
        "parse",
        "featurize",
        "score",
        "decide",
        "render",
    }

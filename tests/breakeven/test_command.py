"""``farthing breakeven``: words first, then tables and a chart; JSON last; errors that say what to do."""

import datetime
import gzip
import io
import json
import subprocess
import sys
from decimal import Decimal
from types import SimpleNamespace

import pytest
from rich.console import Console

from farthing.__main__ import main
from farthing.breakeven.options import BreakevenOptions, events_per_day
from farthing.breakeven.report import make_study, report
from farthing.breakeven.words import count_text, dollars, summary, times_text
from farthing.errors import ConfigError
from farthing.local.comments import comment_events
from farthing.meter.money import exact, json_text
from farthing.meter.settings import MeterSettings

DAY = ("--as-of", "2026-11-24")


@pytest.fixture
def farthing(capsys):
    """The command in this process: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["breakeven", *map(str, arguments)])
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=ended.value.code or 0, stdout=out, stderr=err)

    return run


@pytest.fixture
def result(farthing):
    def run(*arguments):
        done = farthing(*arguments, *DAY, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1], parse_float=Decimal), done

    return run


def words(**said):
    settings = said.pop("settings", MeterSettings())
    made = make_study(BreakevenOptions(as_of="2026-11-24", **said), settings, said.get("task", "moderation"))
    return summary(made).plain


def test_at_small_volume_it_says_plainly_to_stay():
    said = words(events_per_day="100/s")
    first = said.splitlines()[0]
    assert first == "At 8.64 M events a day (100/s): stay on the API."
    assert "costs nothing and accepts this volume" in said
    assert "its own categories only" in said
    assert "would not be paid back" in said
    paid = words(events_per_day="2M", settings=MeterSettings(free_endpoint=False))
    assert paid.startswith("At 2 M events a day")
    assert "stay on the API" in paid
    assert "costs nothing" not in paid


def test_at_large_volume_it_says_by_how_much_it_wins_and_that_the_api_would_not_take_it():
    said = words(events_per_day="300k/s")
    assert "run a tuned model" in said.splitlines()[0]
    assert "x less" in said
    assert "paid back in 1 day" in said
    assert "would not accept this volume" in said


def test_in_between_it_does_not_pretend():
    said = words(events_per_day="25M")
    assert "too close to call" in said.splitlines()[0]
    assert "The middle of the estimates favours the tuned model" in said


def test_json_is_the_last_line_and_holds_the_answer(result):
    found, done = result("--events-per-day", "100/s")
    assert found["verdict"] == "api"
    at = found["threshold_events_per_day"]
    assert 0 < at["low"] < at["mid"] < at["high"]
    assert found["free_endpoint"]["takes_this_volume"] is True
    assert found["inputs"]["core_hour_usd"] == "0.05"
    assert found["prices_as_of"] == "2026-11-24"
    assert found["models"][0]["model"] == "openai:gpt-5-nano"
    assert found["models"][0]["prices"]["source"].startswith("genai-prices ")
    own = found["own_usd_per_day"]
    assert sum(part["mid"] for part in found["own_usd_per_day_by"].values()) == pytest.approx(
        own["mid"], abs=Decimal("1e-8")
    )
    assert found["own_usd_per_million"]["mid"] == pytest.approx(own["mid"] / Decimal("8.64"), abs=Decimal("1e-8"))
    assert done.stdout.count("\n") == 1
    assert "stay on the API" in done.stderr


def test_json_is_alone_on_standard_output():
    command = [sys.executable, "-m", "farthing", "breakeven", "--json", *DAY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "api"
    assert "stay on the API" in done.stderr


def test_the_same_json_comes_from_the_study(result):
    found, _ = result("--events-per-day", "5M", "--task", "rerank", "--model", "anthropic:claude-haiku-5-5")
    options = BreakevenOptions(events_per_day="5M", as_of="2026-11-24")
    made = make_study(options, MeterSettings(compare_with=("anthropic:claude-haiku-5-5",)), "rerank")
    assert json.loads(json_text(report(made)), parse_float=Decimal) == found
    assert found["free_endpoint"] is None


def test_flags_beat_environment_beats_file_beats_default(result, tmp_path, monkeypatch):
    path = tmp_path / "farthing.toml"
    path.write_text("[meter]\ncore_hour_usd = 0.07\npeople_usd_per_month = 1\nlabels = 3\n")
    monkeypatch.setenv("FARTHING_METER__CORE_HOUR_USD", "0.08")
    monkeypatch.setenv("FARTHING_METER__PEOPLE_USD_PER_MONTH", "2")
    found, _ = result("-c", path, "--core-hour-usd", "0.09")
    assert (found["inputs"]["core_hour_usd"], found["inputs"]["people_usd_per_month"]) == ("0.09", "2")
    assert found["inputs"]["labels"] == 3


def test_the_task_is_that_of_the_configured_bundle(result, tmp_path):
    path = tmp_path / "farthing.toml"
    path.write_text('[[route]]\nbundle = "moderation"\nsource = "a"\nsink = "b"\ndead_letters = "c"\n')
    assert result("-c", path)[0]["task"] == "moderation"
    assert result("-c", path, "--task", "bidding")[0]["task"] == "bidding"


def test_a_sample_gives_sizes_and_scripts(result, tmp_path):
    path = tmp_path / "events.jsonl.gz"
    lines = [
        *comment_events(300),
        b'{"text": "\xd0\xb4\xd0\xbe\xd0\xb1\xd1\x80\xd1\x8b\xd0\xb9 \xd0\xb4\xd0\xb5\xd0\xbd\xd1\x8c"}',
    ]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    found, done = result("--sample", path)
    assert found["traffic"]["sampled_events"] == 301
    sizes = [len(json.loads(line)["text"].encode()) for line in lines]
    assert found["traffic"]["bytes_per_event"] == pytest.approx(Decimal(sum(sizes)) / 301, abs=Decimal("1e-8"))
    assert "cyrillic" in found["models"][0]["tokens"]
    assert "301 sampled events" in done.stderr


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_blank_lines_of_a_sample_are_no_events(result, tmp_path, pack):
    path = tmp_path / "events.jsonl"
    path.write_bytes(pack(b'\n{"text": "hello"}\r\n \t\r\n{"text": "a \\ud800 half"}\n\n{"text":\r "again"}\n\n\n'))
    found, _ = result("--sample", path)
    assert found["traffic"]["sampled_events"] == 3
    assert found["traffic"]["bytes_per_event"] == pytest.approx(Decimal(5 + 8 + 5) / 3, abs=Decimal("1e-8"))


@pytest.mark.parametrize("bad", [b"hello", b'{"text": "cut', b'{"text": "\xff"}', b"[" * 100_000], ids=range(4))
def test_a_line_of_a_sample_that_is_not_json_is_named_by_its_number(farthing, tmp_path, bad):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"text": "hello"}\n\n{"text": "there"}\n' + bad + b"\n")
    done = farthing("--sample", path)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert f"{path}: line 4 is not JSON" in said
    assert "fix or remove the line" in said


def test_a_sample_that_is_cut_off_is_refused(farthing, tmp_path):
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "hello"}\n' * 1_000)[:-12])
    done = farthing("--sample", path)
    assert done.returncode == 2
    assert "cannot be read any further" in " ".join(done.stderr.split())


def test_a_bill_is_shown_and_applied_when_said(result, tmp_path):
    path = tmp_path / "usage.csv"
    path.write_text("model,input_tokens,output_tokens,cost\ngpt-5-nano,1000000,0,0.0226\nother,1,1,3\n")
    found, done = result("--usage-export", path)
    assert found["calibration"]["list_to_bill"] == Decimal("0.452")
    assert found["calibration"]["applied"] is False
    assert "Not applied" in done.stderr
    assert "other" in done.stderr
    applied, done = result("--usage-export", path, "--apply-calibration")
    assert applied["models"][0]["list_to_bill"] == Decimal("0.452")
    assert applied["api_usd_per_day"]["mid"] == pytest.approx(found["api_usd_per_day"]["mid"] * Decimal("0.452"))
    assert "multiplied by" in done.stderr


def test_the_chart_is_written_as_png(farthing, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "chart.png"
    done = farthing("--plot", path, *DAY)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(path.read_bytes()) > 10_000
    nowhere = farthing("--plot", tmp_path / "no" / "chart.png", *DAY)
    assert nowhere.returncode == 2
    assert "cannot be written" in nowhere.stderr


def test_a_chart_without_matplotlib_says_what_to_install(tmp_path, monkeypatch):
    from farthing.breakeven.chart import write_png

    made = make_study(BreakevenOptions(as_of="2026-11-24"), MeterSettings(), "moderation")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"the extra evaluate"):
        write_png(made, tmp_path / "x.png")


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("volume", ["1", "100/s", "25M", "300k/s", "50M/s"])
def test_nothing_is_cut_off_in_the_terminal(width, volume, monkeypatch):
    from farthing.breakeven import report as command

    shown = io.StringIO()
    monkeypatch.setattr(command, "report_console", lambda **_: Console(file=shown, width=width, color_system=None))
    options = BreakevenOptions(events_per_day=volume, as_of="2026-11-24")
    assert command.run(options, config_file=None, as_json=False) == 0
    assert "…" not in shown.getvalue()
    assert all(len(line.rstrip()) <= width for line in shown.getvalue().splitlines())
    for part in ("━ own", "│ now", "where a tuned model wins", "Own cost", "Sensitivity", "prices"):
        assert part in shown.getvalue()


@pytest.mark.parametrize(
    ("text", "per_day"),
    [
        ("1", 1), ("2000000", 2_000_000), ("2_000_000", 2_000_000), ("2,000,000", 2_000_000), ("2M", 2_000_000),
        ("1.5B", 1_500_000_000), ("1.5g", 1_500_000_000), ("300k/s", 25_920_000_000), ("100/s", 8_640_000),
        ("7/min", 10_080), ("3/h", 72), (" 5 k ", 5_000), ("0.5/s", 43_200),
    ],
)  # fmt: skip
def test_volumes(text, per_day):
    assert events_per_day(text) == per_day


@pytest.mark.parametrize("text", ["", "many", "-5", "1e6", "0", "0.4", "5 per day", "2MM"])
def test_wrong_volumes(text):
    with pytest.raises(ConfigError, match="--events-per-day"):
        events_per_day(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "$0"), ("0.0000161728", "$0.0000162"), ("0.5", "$0.500"), ("4.567", "$4.57"), ("99.96", "$100.0"),
        ("787.6", "$788"), ("1234.4", "$1,234"), ("62675", "$62.7 k"), ("340374", "$340 k"), ("1296000", "$1.30 M"),
        ("-5", "-$5.00"),
    ],
)  # fmt: skip
def test_dollars_for_the_eye(value, text):
    assert dollars(exact(value)) == text


def test_counts_for_the_eye():
    assert [count_text(n) for n in (None, 5, 999, 1_000, 8_640_000, 25_920_000_000)] == [
        "never", "5", "999", "1 k", "8.64 M", "25.9 B",
    ]  # fmt: skip
    assert (times_text(exact("2.22")), times_text(exact("62.6")), times_text(exact(10**7))) == (
        "2.2x",
        "63x",
        ">10,000x",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "openai:gpt-9-nano"), "gpt-9-nano"),
        (("--events-per-day", "lots"), "write a number such as"),
        (("--as-of", "tomorrow"), "YYYY-MM-DD"),
        (("--core-hour-usd", "-1"), "meter.core_hour_usd"),
        (("--sample", "/none.jsonl"), "/none.jsonl"),
        (("--tokenizer", "x.json"), "give --sample"),
        (("--price-file", "/none.toml"), "/none.toml"),
        (("--usage-export", "/none.csv"), "meter.usage_export"),
        (("--apply-calibration",), "usage_export"),
    ],
)
def test_errors_say_what_to_do_and_exit_2(farthing, arguments, said):
    done = farthing(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_bill_exits_4(farthing, tmp_path):
    path = tmp_path / "usage.csv"
    path.write_text("model,cost\nx,1\n")
    done = farthing("--usage-export", path)
    assert done.returncode == 4
    assert "columns are missing" in done.stderr


def test_today_is_the_default_day():
    made = make_study(BreakevenOptions(), MeterSettings(), "moderation")
    assert abs(made.chosen.prices.basis.as_of - datetime.datetime.now(datetime.UTC).date()) <= datetime.timedelta(
        days=1
    )


def test_help_shows_defaults_and_where_they_are_set(farthing):
    done = farthing("--help")
    for part in ("meter.core_hour_usd", "0.05", "meter.compare_with", "--realtime", "--no-free-endpoint", "1M"):
        assert part in " ".join(done.stdout.split())

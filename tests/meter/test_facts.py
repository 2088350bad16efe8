"""Facts carry source, date and certainty; the user's come first; a wrong file says where."""

import datetime
import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from farthing.errors import ConfigError
from farthing.meter.facts import SHIPPED, load_facts
from farthing.meter.tokens import SCRIPTS

FACTS = load_facts()


def test_every_shipped_fact_says_where_it_was_read_and_when():
    for table in tomllib.loads(SHIPPED.read_text()).values():
        for entry in table if isinstance(table, list) else [table]:
            assert len(entry["source"]) > 10
            assert datetime.date(2026, 1, 1) <= entry["date"]
            if entry is not table:
                assert isinstance(entry["certain"], bool)


def test_the_first_pattern_that_matches_wins():
    assert FACTS.cache("anthropic:claude-haiku-4-5").min_tokens == 4_096
    assert FACTS.cache("anthropic:claude-sonnet-4-5").min_tokens == 1_024
    assert FACTS.cache("google:gemini-2.5-flash-lite").min_tokens == 2_048
    assert FACTS.cache("google:gemini-3.7-flash").min_tokens == 4_096
    assert not FACTS.cache("somebody:else").certain
    assert not FACTS.batch("openai:gpt-oss-20b").offered
    assert FACTS.batch("somebody:else") is None


def test_limits_are_lowest_first_and_unknown_is_empty():
    tiers = FACTS.limits("openai:gpt-5-nano")
    assert [tier.tier for tier in tiers] == ["Tier 1", "Tier 4", "Tier 5"]
    assert FACTS.limits("somebody:else") == ()
    (free,) = FACTS.free_endpoints("moderation")
    assert free.tiers[-1].tokens_per_min == 500_000
    assert FACTS.free_endpoints("bidding") == ()


def test_bytes_per_token_are_those_of_the_named_report():
    named = re.search(r"loadtest/reports/[\w-]+\.md", FACTS.bytes_per_token.source).group()
    report = Path(__file__).parents[2] / named
    if not report.parent.is_dir():
        pytest.skip("the reports are not here: this is not a checkout")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in report.read_text().splitlines() if "|" in line
    ]
    measured = {}
    for row in rows[2:]:
        measured.setdefault(row[1], []).append(Decimal(row[4]))
    for script in SCRIPTS:
        most, middle, least = getattr(FACTS.bytes_per_token, script)
        inside = [value for value in measured[script] if least <= value <= most]
        assert len(inside) * 10 >= len(measured[script]) * 9, script
        assert min(measured[script]) <= middle <= max(measured[script])


OWN = """
[[cache]]
models = ["openai:gpt-5-nano"]
min_tokens = 1
step_tokens = 1
ttl_s = 60
hit_rate = [0, 0.5, 1]
batch_hit_rate = [0, 0.5, 1]
source = "contract"
date = 2026-11-01
certain = true

[[limit]]
models = ["openai:gpt-5-nano*"]
tier = "ours"
tokens_per_min = 7
source = "contract"
date = 2026-11-01
certain = true
"""


def test_the_users_facts_come_first(tmp_path):
    path = tmp_path / "facts.toml"
    path.write_text(OWN)
    own = load_facts(path)
    assert own.cache("openai:gpt-5-nano").min_tokens == 1
    assert own.cache("openai:gpt-6-luna") == FACTS.cache("openai:gpt-6-luna")
    assert [tier.tier for tier in own.limits("openai:gpt-5-nano")] == ["ours"]
    assert own.limits("anthropic:claude-haiku-5-5") == FACTS.limits("anthropic:claude-haiku-5-5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace("certain = true", ""), "cache.0.certain"),
        (OWN.replace("[0, 0.5, 1]", "[1, 0.5, 0]"), "not an interval"),
        (OWN.replace("[0, 0.5, 1]", "[0, 0.5, 2]"), "less than or equal to 1"),
        (OWN.replace("min_tokens", "min_token"), "min_token"),
        ("= 1", "cannot be read as TOML"),
    ],
)
def test_wrong_facts_say_where(tmp_path, text, said):
    path = tmp_path / "facts.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_facts(path)
    assert str(path) in str(error.value)

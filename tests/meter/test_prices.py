"""Prices: the catalogue's own calculator is the oracle; tiers go by call; no network; the user's file rules."""

import datetime
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import ConfigError
from farthing.meter.money import usd
from farthing.meter.prices import PriceList, newest_date
from farthing.meter.rates import Call

DAY = datetime.date(2026, 11, 24)
NOON = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
LIST = PriceList(DAY)
MODELS = (
    "openai:gpt-5-nano",
    "openai:gpt-6-luna",
    "anthropic:claude-haiku-4-5",
    "anthropic:claude-haiku-5-5",
    "anthropic:claude-sonnet-4-5",
    "anthropic:claude-opus-5",
    "google:gemini-2.5-flash-lite",
    "google:gemini-2.5-pro",
    "groq:openai/gpt-oss-safeguard-20b",
    "mistral:mistral-small-2603",
)


def calculated(model, *, batch=False, **usage):
    """What genai-prices itself asks for one call."""
    provider, _, name = model.partition(":")
    context = {"processing": "batch"} if batch else None
    found = genai_prices.calc_price(
        genai_prices.Usage(**usage),
        name,
        provider_id=provider,
        genai_request_timestamp=NOON,
        price_context=context,
    )
    return Fraction(found.total_price)


@given(st.sampled_from(MODELS), st.integers(0, 10**6), st.integers(0, 10**5), st.integers(0, 100), st.booleans())
def test_one_call_costs_what_the_catalogue_calculates(model, sent, answered, cached_percent, batch):
    prices = LIST.prices(model)
    rates = prices.batch if batch and prices.batch is not None else prices.standard
    cached = sent * cached_percent // 100 if rates.cached is not None else 0
    expected = calculated(
        model, batch=batch, input_tokens=sent, output_tokens=answered, cache_read_tokens=cached or None
    )
    assert rates.call_usd(Call(Fraction(sent), Fraction(answered), Fraction(cached))) == expected


@pytest.mark.parametrize("model", ["anthropic:claude-haiku-5-5", "openai:gpt-6-luna", "openai:gpt-5-nano"])
def test_writing_the_cache_costs_what_the_catalogue_calculates(model):
    rates = LIST.prices(model).standard
    written = {"cache_write_tokens": 2_000} if rates.cache_write is not None else {}
    found = rates.call_usd(Call(Fraction(5_000), Fraction(10), Fraction(0), Fraction(2_000)))
    assert found == calculated(model, input_tokens=5_000, output_tokens=10, **written)


def test_a_thousand_small_calls_are_not_one_large_call():
    """claude-sonnet-4-5 has a tier above 200,000 input tokens: summed tokens would overstate the avoided cost."""
    rates = LIST.prices("anthropic:claude-sonnet-4-5").standard
    small = 1_000 * rates.call_usd(Call(Fraction(1_000), Fraction(1_000)))
    large = rates.call_usd(Call(Fraction(1_000_000), Fraction(1_000_000)))
    assert small == 1_000 * calculated("anthropic:claude-sonnet-4-5", input_tokens=1_000, output_tokens=1_000)
    assert large == calculated("anthropic:claude-sonnet-4-5", input_tokens=1_000_000, output_tokens=1_000_000)
    assert usd(small) == Decimal(18)
    assert usd(large) == Decimal("28.5")
    nano = LIST.prices("openai:gpt-5-nano").standard
    assert 1_000 * nano.call_usd(Call(Fraction(1_000), Fraction(1_000))) == nano.call_usd(
        Call(Fraction(1_000_000), Fraction(1_000_000))
    )


def test_a_tier_begins_above_its_start():
    rate = LIST.prices("anthropic:claude-haiku-5-5").standard.input
    assert rate.at(100_000) == rate.base
    assert rate.at(100_001) == 5 * rate.base
    assert LIST.prices("anthropic:claude-haiku-5-5").standard.first_tier() == 100_000
    assert LIST.prices("openai:gpt-5-nano").standard.first_tier() is None


def test_what_has_no_price_is_not_free():
    rates = LIST.prices("mistral:mistral-nemo").standard
    assert rates.cached is None
    with pytest.raises(ValueError, match="no price is known for cached input"):
        rates.call_usd(Call(Fraction(10), Fraction(1), Fraction(5)))
    assert rates.call_usd(Call(Fraction(10), Fraction(1))) > 0
    with pytest.raises(ValueError, match="part of the input"):
        rates.call_usd(Call(Fraction(1), Fraction(1), Fraction(5)))
    assert LIST.prices("openai:gpt-oss-safeguard-20b").batch is None


def test_batch_prices_hold_from_their_day_on():
    before, after = PriceList(datetime.date(2026, 10, 13)), PriceList(datetime.date(2026, 10, 14))
    assert before.prices("openai:gpt-5-nano").batch is None
    batch = after.prices("openai:gpt-5-nano").batch
    assert batch.input.base * 2 == after.prices("openai:gpt-5-nano").standard.input.base
    # Google halves input and output in a batch, but not cached reads: the catalogue stacks as the provider does.
    gemini = LIST.prices("google:gemini-2.5-flash-lite")
    assert gemini.batch.cached == gemini.standard.cached
    assert gemini.batch.output.base * 2 == gemini.standard.output.base


def test_announced_prices_count_from_their_day_on():
    now, later = (
        LIST.prices("google:gemini-3.7-flash"),
        PriceList(datetime.date(2027, 1, 1)).prices("google:gemini-3.7-flash"),
    )
    assert now.changes_on == (datetime.date(2027, 1, 1),)
    assert later.standard.input.base == 2 * now.standard.input.base
    assert later.changes_on == ()


def test_where_prices_go_by_the_hour_the_cheapest_counts():
    hours = [
        genai_prices.calc_price(
            genai_prices.Usage(input_tokens=10**6, output_tokens=10**6),
            "deepseek-v4-pro",
            provider_id="deepseek",
            genai_request_timestamp=NOON.replace(hour=hour),
        ).total_price
        for hour in range(24)
    ]
    rates = LIST.prices("deepseek:deepseek-v4-pro").standard
    assert rates.call_usd(Call(Fraction(10**6), Fraction(10**6))) == Fraction(min(hours))


def test_the_basis_stands_beside_every_price():
    basis = LIST.prices("openai:gpt-5-nano").basis
    assert basis.source == f"genai-prices {genai_prices.__version__}"
    assert basis.source_date is not None
    assert basis.source_date <= DAY
    for part in ("openai:gpt-5-nano", "2026-11-24", "genai-prices", str(basis.source_date)):
        assert part in str(basis)
    assert newest_date(providers, datetime.date(2000, 1, 1)) is None


def test_unknown_models_are_named_with_close_ones():
    with pytest.raises(ConfigError, match=r"gpt-5-nana.*Similar: .*openai:gpt-5-nano.*price_file"):
        LIST.prices("openai:gpt-5-nana")
    with pytest.raises(ConfigError, match=r"provider:model.*anthropic.*openai"):
        LIST.prices("gpt-5-nano")
    with pytest.raises(ConfigError, match="provider:model"):
        LIST.prices("nobody:gpt-5-nano")
    with pytest.raises(ConfigError, match="no price per input and output token"):
        LIST.prices("openai:omni-moderation-latest")


OWN = """
[[price]]
model = "openai:gpt-5-nano"
source = "contract 4711"
date = 2026-11-01
input_usd_per_mtok = 0.04
output_usd_per_mtok = 0.32
tiers = [
  { above_input_tokens = 1000, input_usd_per_mtok = 0.08, output_usd_per_mtok = 0.48 },
]
batch = { input_usd_per_mtok = 0.02, output_usd_per_mtok = 0.16 }

[[discount]]
models = ["anthropic:*"]
percent = 12.5
source = "contract 4711"
date = 2026-11-01
"""


def test_own_prices_override_and_discounts_apply(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(OWN)
    own = PriceList(DAY, path)
    nano = own.prices("openai:gpt-5-nano")
    assert nano.standard.call_usd(Call(Fraction(1_000), Fraction(1_000))) == Fraction(36, 100_000)
    assert nano.standard.call_usd(Call(Fraction(1_001), Fraction(0))) == Fraction(8_008, 10**8)
    assert nano.standard.cached is None
    assert nano.batch.input.base == Fraction(2, 10**8)
    assert "contract 4711" in str(nano.basis)
    haiku, listed = own.prices("anthropic:claude-haiku-5-5"), LIST.prices("anthropic:claude-haiku-5-5")
    assert haiku.standard == listed.standard.scaled(Fraction(7, 8))
    assert haiku.batch == listed.batch.scaled(Fraction(7, 8))
    assert any("12.5 %" in note for note in haiku.basis.notes)
    assert own.prices("google:gemini-2.5-flash-lite") == LIST.prices("google:gemini-2.5-flash-lite")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[price]]\nmodel = 'a:b'\n", "price.0.input_usd_per_mtok"),
        (OWN.replace("0.04", "-1"), "greater than or equal to 0"),
        (OWN.replace("percent = 12.5", "percent = 100"), "less than 100"),
        (OWN.replace("source", "sauce"), "sauce"),
        ("[[price", "cannot be read as TOML"),
    ],
)
def test_a_wrong_price_file_says_where(tmp_path, text, said):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        PriceList(DAY, path)
    assert str(path) in str(error.value)


def test_a_missing_price_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        PriceList(DAY, tmp_path / "none.toml")


def test_pricing_opens_no_socket_and_starts_no_updater():
    code = """
import datetime, socket, threading
def refuse(*a, **k): raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
socket.socket.sendto = refuse
from farthing.meter.prices import PriceList
from farthing.meter.facts import load_facts
from farthing.meter.prompts import load_prompts
from farthing.meter.settings import MeterSettings
from farthing.meter.study import study
made = study(MeterSettings(), "moderation", load_prompts()["moderation"], 10**6, PriceList(datetime.date(2026, 11, 24)), load_facts())
assert [t.name for t in threading.enumerate()] == ["MainThread"], threading.enumerate()
print(made.verdict)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "api"


def test_every_name_of_the_catalogue_is_found_or_refused_for_what_it_is():
    from genai_prices.data import providers

    today = PriceList(datetime.date(2026, 11, 24))
    priced = unpriced = 0
    for provider in providers:
        for info in provider.models:
            name = f"{provider.id}:{info.id}"
            try:
                assert today.prices(name).model == name
                priced += 1
            except ConfigError as error:
                assert "has no price per input and output token" in str(error), name
                unpriced += 1
    assert priced > 6 * unpriced > 0

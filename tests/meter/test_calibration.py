"""List price against the bill: exports of several kinds, priced row by row, and what cannot be priced is told."""

import datetime
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import DataError
from farthing.files import read_rows
from farthing.meter.calibration import read_export as read_export_rows
from farthing.meter.prices import PriceList
from farthing.meter.rates import Call

LIST = PriceList(datetime.date(2026, 11, 24))


def read_export(text, source, provider, prices):
    """Read an export as the command does, from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / source
        path.write_text(text, newline="")
        return read_export_rows([(row.line, row.values) for row in read_rows(path)], source, provider, prices)


OPENAI = """\
start_time,model,num_model_requests,input_tokens,input_cached_tokens,output_tokens,batch,amount_value,amount_currency
1762905600,gpt-5-nano-2025-08-07,1000,"1,000,000",400000,100000,false,0.036,usd
1762992000,gpt-5-nano,1000,1000000,0,100000,true,0.045,usd
1762992000,whatever-9,10,1000,0,10,false,0.5,usd
,,,,,,,,
"""

ANTHROPIC = """\
usage_date_utc,model_version,usage_type,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_read,usage_output_tokens,cost_usd
2026-11-12,claude-haiku-5-5,standard,1000000,100000,900000,200000,0.1
"""


def test_an_openai_export():
    found = read_export(OPENAI, "usage.csv", "openai", LIST)
    # 600,000 at 0.05, 400,000 cached at 0.005, 100,000 at 0.40; then a million at 0.025 and 100,000 at 0.20.
    assert found.list_usd == Fraction("0.072") + Fraction("0.045")
    assert found.billed_usd == Fraction("0.081")
    assert found.list_to_bill == Fraction(81, 117)
    assert [(bill.model, bill.rows) for bill in found.models] == [("openai:gpt-5-nano", 2)]
    assert (found.unpriced_rows, found.unpriced_usd, found.unpriced_models) == (1, Fraction("0.5"), ("whatever-9",))
    assert found.tiers_by_mean_call


def test_an_anthropic_export_counts_uncached_input_apart():
    found = read_export("\ufeff" + ANTHROPIC.replace(",", ", ").replace("\n", "\r\n"), "a.csv", "anthropic", LIST)
    expected = Fraction("0.1") + Fraction("0.0125") + Fraction("0.009") + Fraction("0.1")
    assert found.list_usd == expected
    assert found.ratio_for("anthropic:claude-haiku-5-5") == Fraction("0.1") / expected
    assert found.ratio_for("openai:gpt-5-nano") == found.list_to_bill  # no row of its own: the ratio of all
    assert not found.tiers_by_mean_call


def test_tiers_go_by_the_mean_call_of_a_row():
    def row(requests):
        return f"model,requests,input_tokens,output_tokens,cost\nclaude-haiku-5-5,{requests},1000000,0,1\n"

    assert read_export(row(100), "r", "anthropic", LIST).list_usd == Fraction("0.1")
    assert read_export(row(2), "r", "anthropic", LIST).list_usd == Fraction("0.5")  # half a million tokens each
    without = "model,input_tokens,output_tokens,cost\nclaude-haiku-5-5,1000000,0,1\n"
    assert read_export(without, "r", "anthropic", LIST).list_usd == Fraction("0.1")


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.integers(0, 100), st.integers(0, 10**8), st.integers(0, 10**7)),
        min_size=1,
        max_size=10,
    )
)
def test_the_sum_is_that_of_its_rows(rows):
    lines = ["model,input_tokens,cached_tokens,output_tokens,cost_cents"]
    expected = billed = Fraction(0)
    rates = LIST.prices("openai:gpt-5-nano").standard
    for sent, percent, answered, cents in rows:
        cached = sent * percent // 100
        lines.append(f"openai:gpt-5-nano,{sent},{cached},{answered},{cents}")
        expected += rates.call_usd(Call(Fraction(sent), Fraction(answered), Fraction(cached)))
        billed += Fraction(cents, 100)
    found = read_export("\n".join(lines), "r", "anthropic", LIST)
    assert found.list_usd == expected
    assert found.billed_usd == billed
    assert found.list_to_bill == (billed / expected if expected else None)


def test_an_undefined_ratio_is_none():
    found = read_export("model,input_tokens,output_tokens,cost\ngpt-5-nano,0,0,0\n", "r", "openai", LIST)
    assert found.list_to_bill is None
    assert found.ratio_for("openai:gpt-5-nano") is None
    nothing_known = read_export("model,input_tokens,output_tokens,cost\nx,1,1,2\n", "r", "openai", LIST)
    assert nothing_known.list_to_bill is None
    assert nothing_known.unpriced_usd == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rows"),
        ("model,output_tokens,cost\nx,1,1\n", "input: one of input_tokens"),
        ("model,input_tokens,output_tokens\nx,1,1\n", "usd: one of cost_usd"),
        ("model,input_tokens,output_tokens,cost\n", "no rows"),
        ("model,input_tokens,output_tokens,cost\ngpt-5-nano,1,1\n", "(line 2): has 3 cells, the header 4"),
        ("model,input_tokens,output_tokens,Cost,cost\nx,1,1,2,3\n", "the header names cost twice"),
        (
            'model,input_tokens,output_tokens,cost\nx,1,1,"0,09"\n',
            "line 2: usd (column cost) is '0,09': its comma may separate",
        ),
        (
            'model,input_tokens,output_tokens,cost\nx,1,1,"1,234"\n',
            "line 2: usd (column cost) is '1,234': its comma may separate",
        ),
        (
            'model,input_tokens,output_tokens,cost\ngpt-5-nano,"1,5",1,1\n',
            "line 2: input (column input_tokens) is '1,5'",
        ),
        ("model,input_tokens,output_tokens,cost\ngpt-5-nano,one,1,1\n", "line 2: input is 'one'"),
        (
            "model,input_tokens,output_tokens,cost\ngpt-5-nano,1e999999999,1,1\n",
            "which is no number of tokens or dollars",
        ),
        (
            "model,input_tokens,output_tokens,cost\ngpt-5-nano,1,1,1e-999999999\n",
            "which is no number of tokens or dollars",
        ),
        ("model,input_tokens,output_tokens,cost\ngpt-5-nano,1.5,1,1\n", "line 2: input is '1.5', not a count"),
        ("model,input_tokens,output_tokens,cost\ngpt-5-nano,1,1,nan\n", "line 2: usd is 'nan'"),
        ("model,input_tokens,output_tokens,cost,currency\ngpt-5-nano,1,1,1,EUR\n", "billed in 'eur'"),
        (
            "model,input_tokens,cached_tokens,output_tokens,cost\ngpt-5-nano,1,2,1,1\n",
            "2 cached and written tokens of 1",
        ),
        (
            "model,input_tokens,cached_tokens,output_tokens,cost\nmistral:mistral-nemo,2,1,1,1\n",
            "no price for cached input",
        ),
    ],
)
def test_a_wrong_export_says_where_and_what_to_do(text, said):
    with pytest.raises(DataError) as error:
        read_export(text, "usage.csv", "openai", LIST)
    assert said in str(error.value)
    assert "usage.csv" in str(error.value)

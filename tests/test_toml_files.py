"""Files that users write in TOML: what no reader of ours can take is refused in a sentence, and within seconds."""

import datetime
import re
import time
from decimal import Decimal

import pytest
from pydantic import ValidationError

from farthing import config
from farthing.distill.recipe_file import Recipe, read_recipe_file
from farthing.errors import ConfigError
from farthing.meter.facts import load_facts
from farthing.meter.prices import PriceList
from farthing.meter.settings import LedgerSettings, MeterSettings

DAY = datetime.date(2026, 11, 27)
READERS = {
    "settings": lambda path: config.load(path, environment=False),
    "prices": lambda path: PriceList(DAY, path),
    "facts": load_facts,
    "recipe": lambda path: read_recipe_file(path, Recipe),
}
UNREADABLE = {
    "arrays nested too deep": "a = " + "[" * 3_000,
    "tables nested too deep": "a = " + "{a = " * 1_500,
    "a number of 5,000 digits": "a = 1" + "0" * 5_000,
    "no TOML": "a = = 1",
    "no UTF-8": b"a = '\xff'",
}
ENDLESS = ("1e-30000000", "1e30000000", "0." + "0" * 500 + "1", "1" * 500)  # as integers: hours, and all memory


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize("reader", READERS)
def test_what_cannot_be_read_is_refused(reader, what, tmp_path):
    path = tmp_path / "file.toml"
    text = UNREADABLE[what]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"file\.toml.*TOML"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", ["prices", "facts"])
def test_an_exponent_that_decimals_do_not_have_is_refused(reader, tmp_path):
    (tmp_path / "file.toml").write_text("a = 1e" + "9" * 30)
    with pytest.raises(ConfigError, match=r"file\.toml.*TOML"):
        READERS[reader](tmp_path / "file.toml")


def test_a_key_of_very_many_parts_is_refused(tmp_path):
    path = tmp_path / "file.toml"
    path.write_text("a" + ".a" * 2_000 + " = 1")
    with pytest.raises(ConfigError, match=r"file\.toml.*nested"):
        config.load(path, environment=False)


@pytest.mark.parametrize("number", ENDLESS)
@pytest.mark.parametrize("name", [n for n, f in MeterSettings.model_fields.items() if "Decimal" in str(f.annotation)])
def test_no_setting_takes_a_number_that_exact_arithmetic_cannot_hold(name, number):
    with pytest.raises(ValidationError, match=name):
        MeterSettings.model_validate({name: number})


@pytest.mark.parametrize("section", [MeterSettings, LedgerSettings])
def test_no_count_is_so_large_that_it_is_no_float(section):
    for name, field in section.model_fields.items():
        if "int" in str(field.annotation):
            number = (10**400,) * 3 if "tuple" in str(field.annotation) else 10**400
            with pytest.raises(ValidationError, match=name):
                section.model_validate({name: number})


PRICE = """
[[price]]
model = "a:b"
source = "contract"
date = 2026-11-01
input_usd_per_mtok = 0.041
cached_input_usd_per_mtok = 0.042
cache_write_usd_per_mtok = 0.043
output_usd_per_mtok = 0.044
tiers = [{ above_input_tokens = 1000, input_usd_per_mtok = 0.045, output_usd_per_mtok = 0.046 }]
batch = { input_usd_per_mtok = 0.047, output_usd_per_mtok = 0.048 }

[[discount]]
models = ["anthropic:*"]
percent = 0.049
source = "contract"
date = 2026-11-01
"""
FACTS = """
[[cache]]
models = ["a:b"]
min_tokens = 1
step_tokens = 1
ttl_s = 60
hit_rate = [0, 0.041, 1]
batch_hit_rate = [0, 0.042, 1]
source = "contract"
date = 2026-11-01
certain = true

[[batch]]
models = ["a:b"]
offered = true
discount = 0.043
source = "contract"
date = 2026-11-01
certain = true

[[tokenizer]]
models = ["a:b"]
name = "t"
factor = [0.001, 0.044, 1]
source = "contract"
date = 2026-11-01
certain = true
"""


@pytest.mark.parametrize("number", ENDLESS)
@pytest.mark.parametrize(("reader", "text", "last"), [("prices", PRICE, 49), ("facts", FACTS, 44)])
def test_no_price_and_no_fact_is_such_a_number(reader, text, last, number, tmp_path):
    path = tmp_path / "file.toml"
    path.write_text(text)
    READERS[reader](path)
    for place in range(41, last + 1):
        for written in (number, f'"{number}"'):
            path.write_text(text.replace(f"0.0{place}", written))
            began = time.monotonic()
            with pytest.raises(ConfigError, match=r"file\.toml"):
                READERS[reader](path)
            assert time.monotonic() - began < 20  # generous: milliseconds


@pytest.mark.parametrize(
    ("reader", "text", "name"),
    [("facts", FACTS, "min_tokens"), ("facts", FACTS, "ttl_s"), ("prices", PRICE, "above_input_tokens")],
)
def test_no_count_of_a_file_is_so_large_that_it_is_no_float(reader, text, name, tmp_path):
    (tmp_path / "file.toml").write_text(re.sub(f"{name} = [0-9]+", f"{name} = 1{'0' * 400}", text))
    with pytest.raises(ConfigError, match=name):
        READERS[reader](tmp_path / "file.toml")


def test_usual_numbers_stay(tmp_path):
    text = "0.30000000000000004"
    assert MeterSettings.model_validate({"error_usd": float(text)}).error_usd == Decimal(text)
    assert MeterSettings.model_validate({"people_usd_per_month": 10**15}).people_usd_per_month == 10**15
    (tmp_path / "file.toml").write_text(PRICE.replace("0.041", "1e-12"))
    assert PriceList(DAY, tmp_path / "file.toml").prices("a:b").standard.input.base.denominator == 10**18

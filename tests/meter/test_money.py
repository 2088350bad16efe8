"""Exact until the last step; rounding is half to even; a float is refused; JSON keeps the digits."""

import json
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farthing.meter.money import SCENARIOS, Interval, exact, json_text, usd

fractions = st.fractions(min_value=0, max_value=10**12)
WIDE = Context(prec=200, rounding=ROUND_HALF_EVEN)


@given(st.fractions(min_value=-(10**9), max_value=10**9))
def test_dollars_are_rounded_half_to_even_once(value):
    expected = WIDE.divide(Decimal(value.numerator), Decimal(value.denominator)).quantize(Decimal("1e-9"), context=WIDE)
    assert usd(value) == expected
    assert usd(value).as_tuple().exponent == -9


@pytest.mark.parametrize(("nano_halves", "nanos"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2)])
def test_ties_go_to_even(nano_halves, nanos):
    assert usd(Fraction(nano_halves, 2 * 10**9)) == Decimal(nanos).scaleb(-9)


@pytest.mark.parametrize("bad", [0.1, True, None, b"1"])
def test_a_float_is_no_money(bad):
    with pytest.raises(TypeError):
        exact(bad)
    with pytest.raises(TypeError):
        Interval.of(bad)


def test_numbers_in_text_are_exact():
    assert exact("0.1") == Fraction(1, 10) == exact(Decimal("0.1"))
    with pytest.raises(ValueError):
        exact("a lot")


intervals = st.lists(fractions, min_size=3, max_size=3).map(sorted).map(lambda three: Interval(*three))


@given(intervals, intervals, fractions)
def test_interval_arithmetic_is_that_of_each_scenario(a, b, factor):
    for scenario in SCENARIOS:
        assert (a + b).at(scenario) == a.at(scenario) + b.at(scenario)
        assert a.times(b).at(scenario) == a.at(scenario) * b.at(scenario)
        assert a.times(factor).at(scenario) == a.at(scenario) * factor


def test_an_interval_is_in_order():
    with pytest.raises(ValueError, match="not an interval"):
        Interval.of(2, 1, 3)
    with pytest.raises(ValueError, match="negative"):
        Interval.of(1, 2, 3).times(-1)
    assert Interval.of(5).is_exact
    assert not Interval.of(1, 1, 2).is_exact


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_json_keeps_every_digit(value):
    def same(read, wrote):
        if isinstance(wrote, Decimal):
            return Decimal(read) == wrote
        if isinstance(wrote, list):
            return len(read) == len(wrote) and all(map(same, read, wrote))
        if isinstance(wrote, dict):
            return read.keys() == wrote.keys() and all(same(read[key], wrote[key]) for key in wrote)
        return read == wrote

    assert same(json.loads(json_text(value), parse_float=Decimal), value)
    assert "\n" not in json_text(value)


def test_json_has_no_floats():
    with pytest.raises(TypeError, match="float"):
        json_text({"usd": [0.1]})
    assert json_text(Interval.of("0.000000001", "0.5", 20)) == '{"low": 0.000000001, "mid": 0.5, "high": 20}'

"""Exact arithmetic: what raises, and which way each rounding goes."""

from decimal import Decimal, FloatOperation, Inexact, InvalidOperation, getcontext
from fractions import Fraction

import pytest

from lending.engine import money

D = Decimal


@pytest.mark.parametrize(
    ("value", "decimals", "up", "down"),
    [
        ("1.005", 2, "1.01", "1.00"),
        ("-1.005", 2, "-1.00", "-1.01"),
        ("1.00", 2, "1.00", "1.00"),
        ("0.000000000000000001", 17, "0.00000000000000001", "0"),
        ("12345678901234567890.123456789012345678", 18, *["12345678901234567890.123456789012345678"] * 2),
    ],
)
def test_quantize_says_its_direction(value: str, decimals: int, up: str, down: str) -> None:
    assert money.quantize_up(D(value), decimals) == D(up)
    assert money.quantize_down(D(value), decimals) == D(down)


@pytest.mark.parametrize(
    ("a", "b", "decimals", "up", "down"),
    [
        ("1", "3", 2, "0.34", "0.33"),
        ("-1", "3", 2, "-0.33", "-0.34"),
        ("10", "2", 2, "5.00", "5.00"),
        ("800000", "0.6", 6, "1333333.333334", "1333333.333333"),
    ],
)
def test_division_says_its_direction(a: str, b: str, decimals: int, up: str, down: str) -> None:
    assert money.div_up(D(a), D(b), decimals) == D(up)
    assert money.div_down(D(a), D(b), decimals) == D(down)


def test_exact_keeps_what_the_default_context_would_round() -> None:
    large, small = D("12345678901234567890"), D("0.000000000000000001")
    assert large + small == large  # 28 digits: the smallest unit is lost
    with money.exact():
        assert large + small - large == small


def test_exact_refuses_to_round_and_to_meet_a_float() -> None:
    with money.exact(), pytest.raises(Inexact):
        _ = D(1) / D(3)
    with money.exact(), pytest.raises(FloatOperation):
        _ = D(1.5)
    with pytest.raises(InvalidOperation):
        money.quantize_up(D("1e50"), 18)


def test_exact_leaves_the_context_of_its_caller_alone() -> None:
    before = (getcontext().prec, dict(getcontext().traps))
    with money.exact():
        pass
    assert (getcontext().prec, dict(getcontext().traps)) == before


@pytest.mark.parametrize("mode", money.MODES)
@pytest.mark.parametrize("value", ["1.005", "1.0051", "1.0049", "1.01", "-1.005", "-1.0049", "-1.0051", "0", "1.055"])
def test_an_agreed_rounding_rounds_as_the_decimal_module_does(mode: str, value: str) -> None:
    exact = Decimal(value)
    assert money.Rounding(mode=mode).apply(exact) == exact.quantize(Decimal("0.01"), rounding=mode)
    assert money.Rounding(mode=mode).apply(Fraction(exact)) == exact.quantize(Decimal("0.01"), rounding=mode)


def test_an_agreed_rounding_sees_what_no_number_of_digits_shows() -> None:
    above = Fraction(1005, 1000) + Fraction(1, 10**90)
    assert money.Rounding().apply(Fraction(1005, 1000)) == Decimal("1.00")
    assert money.Rounding().apply(above) == Decimal("1.01")

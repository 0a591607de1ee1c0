"""Exact arithmetic: what raises, and which way each rounding goes."""

from decimal import Decimal, FloatOperation, Inexact, InvalidOperation, getcontext

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

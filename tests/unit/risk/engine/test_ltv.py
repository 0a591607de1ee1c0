"""LTV of books and of single accounts, with the rules at zero, infinity and NaN."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.engine.arrays import ShapeMismatch
from risk.engine.ltv import (
    INFINITE,
    Band,
    Book,
    Exposure,
    Owed,
    Pledged,
    Position,
    UnableToValue,
    bounded_exposure,
    exact_ltv,
    exposure,
    health_factor,
    loan_to_value,
    ltv_of,
    market_loan_to_value,
    market_ltv_of,
    unusable_band,
)


def book(debt, quantity, loan, asset, weight, **more) -> Book:
    return Book(
        debt=np.array(debt, float),
        quantity=np.array(quantity, float),
        loan_index=np.array(loan, int),
        asset_index=np.array(asset, int),
        weight=np.array(weight, float),
        **more,
    )


def test_loan_to_value_of_a_small_book():
    held = book([60, 50, 0], [1, 2, 10], [0, 0, 1], [0, 1, 1], [1.0, 0.5, 1.0])
    ltv = loan_to_value(held, np.array([80.0, 20.0]))
    np.testing.assert_allclose(ltv, [0.6, 0.25, 0.0])
    np.testing.assert_allclose(market_loan_to_value(held, np.array([80.0, 20.0])), [0.5, 0.25, 0.0])


def test_debt_without_collateral_is_inf_and_no_debt_is_zero():
    held = book([100, 0, 5], [0], [2], [0], [1.0])
    np.testing.assert_array_equal(loan_to_value(held, np.array([10.0])), [np.inf, 0.0, np.inf])


def test_an_asset_without_a_usable_mark_is_nan_and_only_for_its_holders():
    held = book([10, 10, 10], [1, 1, 0], [0, 1, 2], [0, 1, 1], [1.0, 1.0, 1.0])
    ltv = loan_to_value(held, np.array([20.0, np.nan]))
    assert ltv[0] == 0.5
    assert np.isnan(ltv[1])
    assert ltv[2] == np.inf  # holds a quantity of zero: nothing, and nothing unknown


def test_a_debt_asset_without_a_usable_mark_is_nan():
    held = book([np.nan], [1], [0], [0], [1.0])
    assert np.isnan(loan_to_value(held, np.array([20.0])))[0]


@pytest.mark.parametrize("price", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]]])
def test_prices_that_disagree_with_the_book_are_refused(price):
    held = book([1], [1], [0], [1], [1.0], asset_count=2)
    with pytest.raises(ShapeMismatch):
        loan_to_value(held, np.array(price))


def test_an_asset_index_beyond_the_prices_is_refused_without_a_declared_count():
    with pytest.raises(ShapeMismatch):
        loan_to_value(book([1], [1], [0], [1], [1.0]), np.array([1.0]))


@pytest.mark.parametrize(
    ("loan", "asset", "weight"),
    [([1], [0], [1.0]), ([-1], [0], [1.0]), ([0], [-1], [1.0]), ([0], [2], [1.0]), ([0], [0], [])],
)
def test_a_book_that_does_not_fit_is_refused(loan, asset, weight):
    with pytest.raises(ShapeMismatch):
        book([1], [1], loan, asset, weight, asset_count=2)


def test_a_book_cannot_be_written_to():
    held = book([1], [1], [0], [0], [1.0])
    with pytest.raises(ValueError, match="read-only"):
        held.debt[0] = 2.0


POSITION = Position(
    (Pledged("BTC", Decimal("2.5"), Decimal("0.8")), Pledged("ETH", Decimal(10))),
    (Owed("USD", Decimal(60000)), Owed("USDC", Decimal(1000))),
)
PRICES = {"BTC": Decimal(30000), "ETH": Decimal(2000), "USD": Decimal(1), "USDC": Decimal("0.88")}


def test_exposure_is_exact_and_marks_both_legs():
    assert exposure(POSITION, PRICES) == Exposure(Decimal(60880), Decimal(80000), Decimal(95000))
    assert exact_ltv(POSITION, PRICES) == Decimal("0.761")
    assert market_ltv_of(exposure(POSITION, PRICES)) == Decimal("0.640842105263157895")
    assert health_factor(exposure(POSITION, PRICES), Decimal("0.9")) == Decimal("1.182654402102496714")


def test_a_missing_price_is_never_zero():
    with pytest.raises(UnableToValue):
        exposure(POSITION, {**PRICES, "ETH": Decimal("NaN")})
    assert exact_ltv(POSITION, {"BTC": Decimal(1), "USD": Decimal(1)}).is_nan()
    assert exposure(Position((Pledged("XYZ", Decimal(0)),)), {}) == Exposure(Decimal(0), Decimal(0), Decimal(0))


def test_conventions_at_zero():
    assert ltv_of(Exposure(Decimal(0), Decimal(0), Decimal(0))) == 0
    assert ltv_of(Exposure(Decimal(1), Decimal(0), Decimal(0))) == INFINITE
    assert health_factor(Exposure(Decimal(0), Decimal(5), Decimal(5)), Decimal("0.9")) == INFINITE
    assert Exposure(Decimal(1), Decimal(0), Decimal(0)).exceeds(Decimal("0.9"))
    assert not Exposure(Decimal(0), Decimal(0), Decimal(0)).exceeds(Decimal("0.9"))
    assert not Exposure(Decimal(90), Decimal(100), Decimal(100)).exceeds(Decimal("0.9"))
    assert Exposure(Decimal("90.000000000000000001"), Decimal(100), Decimal(100)).exceeds(Decimal("0.9"))


def test_an_unusable_asset_is_bounded_and_a_dust_token_shields_nobody():
    bands = {name: Band(price, price) for name, price in PRICES.items()} | {
        "ETH": unusable_band(Decimal(2000), Decimal("0.1"))
    }
    worst, best = bounded_exposure(POSITION, bands)
    assert (worst.weighted, best.weighted) == (Decimal(60000), Decimal(82000))
    assert (worst.debt, best.debt) == (Decimal(60880), Decimal(60880))
    never = bounded_exposure(POSITION, bands | {"ETH": unusable_band(None, Decimal("0.1"))})
    assert never[1].weighted.is_infinite()
    assert not never[1].exceeds(Decimal("0.01"))


def test_an_unusable_debt_asset_is_bounded_the_other_way_round():
    bands = {name: Band(price, price) for name, price in PRICES.items()} | {
        "USDC": unusable_band(Decimal(1), Decimal("0.1"))
    }
    worst, best = bounded_exposure(POSITION, bands)
    assert (worst.debt, best.debt) == (Decimal(61100), Decimal(60000))


money_amount = st.decimals(Decimal("0.01"), Decimal(10**7), places=18)


@given(money_amount, st.lists(st.tuples(money_amount, money_amount), min_size=1, max_size=5))
def test_float_and_exact_ltv_agree(debt, pledges):
    prices = {f"A{n}": price for n, (_quantity, price) in enumerate(pledges)}
    prices = {name: price.quantize(Decimal("1e-12")) for name, price in prices.items()} | {"USD": Decimal(1)}
    position = Position(
        tuple(Pledged(f"A{n}", quantity, Decimal("0.85")) for n, (quantity, _p) in enumerate(pledges)),
        (Owed("USD", debt),),
    )
    held = book(
        [float(debt)], [float(q) for q, _p in pledges], [0] * len(pledges), range(len(pledges)), [0.85] * len(pledges)
    )
    floats = loan_to_value(held, np.array([float(prices[f"A{n}"]) for n in range(len(pledges))]))
    assert floats[0] == pytest.approx(float(exact_ltv(position, prices)), rel=1e-12)

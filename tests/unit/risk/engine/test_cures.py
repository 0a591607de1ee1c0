"""Cures, releases, trigger prices and shocks: worked numbers, and the price that is found does reach the level."""

from decimal import Decimal

import pytest

from risk.engine.cures import (
    cash_cure,
    collateral_cure,
    collateral_cure_quantity,
    max_release,
    rounded_up,
    substitute_quantity,
    trigger_price,
    uniform_shock,
)
from risk.engine.ltv import Exposure, Owed, Pledged, Position, exposure

HARD = Exposure(Decimal(800000), Decimal(1000000), Decimal(1000000))
USD = {"USD": Decimal(1)}


def test_both_cures_of_the_worked_example_differ():
    assert cash_cure(HARD, Decimal("0.6")) == Decimal(200000)
    assert collateral_cure(HARD, Decimal("0.6"), Decimal(1)) == Decimal("333333.34")
    assert collateral_cure(HARD, Decimal("0.6"), Decimal("0.8")) == Decimal("416666.67")
    assert collateral_cure_quantity(HARD, Decimal("0.6"), Decimal("0.8"), Decimal(30000), decimals=8) == Decimal(
        "13.88888889"
    )


def test_nothing_is_missing_below_the_target():
    assert cash_cure(HARD, Decimal("0.8")) == 0
    assert collateral_cure(HARD, Decimal("0.9"), Decimal(1)) == 0
    assert collateral_cure_quantity(HARD, Decimal("0.9"), Decimal(1), Decimal(1), decimals=8) == 0


@pytest.mark.parametrize(
    ("debt", "held", "expected"),
    [
        (Decimal(300000), Decimal(1000000), Decimal(400000)),
        (Decimal(300000), Decimal(100000), Decimal(100000)),
        (Decimal(600000), Decimal(1000000), Decimal(0)),
    ],
)
def test_release_leaves_the_account_at_its_target(debt, held, expected):
    account = Exposure(debt, Decimal(1000000), Decimal(1000000))
    assert max_release(account, Decimal("0.5"), Decimal(1), market_value=held) == expected


def test_release_divides_by_the_weight():
    assert max_release(
        Exposure(Decimal(300000), Decimal(800000), Decimal(1000000)),
        Decimal("0.5"),
        Decimal("0.8"),
        market_value=Decimal(10**6),
    ) == Decimal(250000)


def test_trigger_price_of_collateral_is_a_lower_one():
    one = Position((Pledged("BTC", Decimal(2)),), (Owed("USD", Decimal(50000)),))
    assert trigger_price(one, USD | {"BTC": Decimal(40000)}, "BTC", Decimal("0.8")) == Decimal(31250)
    two = Position(
        (Pledged("BTC", Decimal(2), Decimal("0.9")), Pledged("ETH", Decimal(10))), (Owed("USD", Decimal(50000)),)
    )
    prices = USD | {"BTC": Decimal(40000), "ETH": Decimal(2000)}
    price = trigger_price(two, prices, "BTC", Decimal("0.8"))
    assert price == Decimal("23611.11111112")
    assert exposure(two, prices | {"BTC": price - Decimal("0.0000001")}).exceeds(Decimal("0.8"))
    assert not exposure(two, prices | {"BTC": price}).exceeds(Decimal("0.8"))


def test_there_is_no_trigger_price_when_the_rest_is_enough():
    two = Position((Pledged("BTC", Decimal(2)), Pledged("ETH", Decimal(100))), (Owed("USD", Decimal(50000)),))
    assert trigger_price(two, USD | {"BTC": Decimal(40000), "ETH": Decimal(2000)}, "BTC", Decimal("0.8")) is None
    assert trigger_price(two, USD | {"BTC": Decimal(40000), "ETH": Decimal(2000)}, "LINK", Decimal("0.8")) is None


def test_trigger_price_of_a_debt_asset_is_an_upper_one():
    owing = Position((Pledged("BTC", Decimal(2)),), (Owed("ETH", Decimal(10)),))
    prices = {"BTC": Decimal(40000), "ETH": Decimal(2000)}
    assert trigger_price(owing, prices, "ETH", Decimal("0.8")) == Decimal(6400)


def test_trigger_price_of_an_asset_on_both_sides():
    both = Position((Pledged("ETH", Decimal(5)), Pledged("BTC", Decimal(2))), (Owed("ETH", Decimal(10)),))
    prices = {"BTC": Decimal(40000), "ETH": Decimal(2000)}
    price = trigger_price(both, prices, "ETH", Decimal("0.8"))
    assert price == Decimal("10666.66666666")
    assert exposure(both, prices | {"ETH": price + Decimal("0.0000001")}).exceeds(Decimal("0.8"))


@pytest.mark.parametrize(
    ("debt", "level", "expected"),
    [
        (Decimal(400000), Decimal("0.8"), Decimal("0.5")),
        (Decimal(800000), Decimal("0.8"), Decimal(0)),
        (Decimal(900000), Decimal("0.8"), Decimal(0)),
        (Decimal(0), Decimal("0.8"), Decimal(1)),
    ],
)
def test_uniform_shock_on_volatile_collateral(debt, level, expected):
    account = Position((Pledged("BTC", Decimal(10)),), (Owed("USD", debt),))
    assert uniform_shock(account, USD | {"BTC": Decimal(100000)}, level, ["BTC"]) == expected


def test_uniform_shock_that_no_fall_reaches():
    account = Position((Pledged("BTC", Decimal(1)), Pledged("USDC", Decimal(10**6))), (Owed("USD", Decimal(400000)),))
    prices = USD | {"BTC": Decimal(100000), "USDC": Decimal(1)}
    assert uniform_shock(account, prices, Decimal("0.8"), ["BTC"]) is None


def test_uniform_shock_with_volatile_debt_moves_both():
    account = Position((Pledged("BTC", Decimal(10)),), (Owed("ETH", Decimal(100)), Owed("USD", Decimal(200000))))
    prices = USD | {"BTC": Decimal(100000), "ETH": Decimal(2000)}
    shock = uniform_shock(account, prices, Decimal("0.8"), ["BTC", "ETH"])
    assert shock == Decimal("0.666666666666666666")
    left = {"BTC": Decimal(100000) * (1 - shock), "ETH": Decimal(2000) * (1 - shock), "USD": Decimal(1)}
    assert abs(exposure(account, left).debt - Decimal("0.8") * exposure(account, left).weighted) < Decimal("1e-9")


@pytest.mark.parametrize(
    ("value", "step", "asked"),
    [("3200.01", "0", "3200.01"), ("3200.01", "1000", "4000"), ("3000", "1000", "3000"), ("0", "1000", "0")],
)
def test_an_asked_sum_is_rounded_up_to_the_agreed_step(value, step, asked):
    assert rounded_up(Decimal(value), Decimal(step)) == Decimal(asked)


@pytest.mark.parametrize(
    ("quantity", "out", "other", "decimals", "units"),
    [
        ("10", ("0.8", "3000"), ("1", "30000"), 8, "0.8"),
        ("1", ("1", "1"), ("1", "3"), 8, "0.33333334"),  # what is not whole is rounded against who takes
        ("0.00000001", ("1", "1"), ("0.5", "60000"), 8, "0.00000001"),
    ],
)
def test_a_substitute_counts_for_as_much(
    quantity: str, out: tuple[str, str], other: tuple[str, str], decimals: int, units: str
) -> None:
    found = substitute_quantity(
        Decimal(quantity),
        out_weight=Decimal(out[0]),
        out_price=Decimal(out[1]),
        in_weight=Decimal(other[0]),
        in_price=Decimal(other[1]),
        decimals=decimals,
    )
    assert found == Decimal(units)

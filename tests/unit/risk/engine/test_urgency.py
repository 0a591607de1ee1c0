"""Worked numbers of the queue: minutes to breach, expected loss, and the order that follows from both."""

import numpy as np
import pytest

from risk.engine import urgency
from risk.engine.arrays import ShapeMismatch

HOUR = 3600.0


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("ltv", "liquidation", "volatility", "clock_s", "minutes"),
    [
        (0.72, 0.80, 0.05, 500 * HOUR, 6394.1),  # 1440 x (ln(0.80/0.72) / 0.05)^2
        (0.72, 0.80, 0.05, HOUR, 60.0),  # the clock ends first
        (0.79, 0.80, 0.05, 24 * HOUR, 91.1),  # 1440 x (0.012579 / 0.05)^2
        (0.79, 0.80, 0.10, 24 * HOUR, 22.8),  # twice as wild, a quarter of the time
        (0.80, 0.80, 0.05, HOUR, 0.0),  # at the level
        (0.95, 0.80, 0.05, HOUR, 0.0),  # past it
        (0.72, 0.80, 0.05, -5.0, 0.0),  # the clock has run out
        (0.72, 0.80, 0.00, HOUR, 60.0),  # nothing moves
        (np.inf, 0.80, 0.05, HOUR, 0.0),  # no collateral
        (np.nan, 0.80, 0.05, HOUR, 0.0),  # nobody knows: somebody must look
        (0.0, 0.80, 0.05, np.inf, np.inf),  # no debt, no clock
    ],
)
def test_minutes_to_breach(ltv: float, liquidation: float, volatility: float, clock_s: float, minutes: float) -> None:
    found = urgency.minutes_to_breach(array(ltv), array(liquidation), array(volatility), array(clock_s))
    assert found[0] == pytest.approx(minutes, abs=0.05)


def test_the_adverse_move_is_six_deviations_and_never_more_than_everything() -> None:
    assert urgency.adverse_move(array(0.05, 0.0, 0.2)).tolist() == pytest.approx([0.30, 0.0, 1.0])


def test_expected_loss_is_what_a_sale_leaves_unpaid() -> None:
    assert urgency.expected_loss(array(72_000, 60_000), array(70_000, 70_000)).tolist() == [2_000, 0]


def test_an_account_moves_as_its_assets_do_together() -> None:
    # 30,000 at 5 % and 10,000 at 9 %: (1,500 + 900) / 40,000; the second account holds nothing.
    value, account, volatility = array(30_000, 10_000), np.array([0, 0]), array(0.05, 0.09)
    found = urgency.account_volatility(value, account, volatility, accounts=2)
    assert found.tolist() == pytest.approx([0.06, 0.0])


def test_loss_over_minutes_decides_the_order() -> None:
    minutes = array(60, 600, 0.2, 30, 5)
    loss = array(6_000, 90_000, 50, 0, 0)
    # 100, 150 and 50 dollars a minute; then those that lose nothing, the soonest first.
    assert urgency.order(minutes, loss, array(1, 1, 1, 1, 1)).tolist() == [1, 0, 2, 4, 3]


def test_what_is_alike_stands_by_debt_then_as_it_came() -> None:
    same = array(10, 10, 10)
    assert urgency.order(same, array(0, 0, 0), array(5, 9, 5)).tolist() == [1, 0, 2]


def test_arrays_that_do_not_fit_are_refused() -> None:
    one, two = array(1.0), array(1.0, 2.0)
    with pytest.raises(ShapeMismatch):
        urgency.minutes_to_breach(one, two, one, one)
    with pytest.raises(ShapeMismatch):
        urgency.expected_loss(one, two)
    with pytest.raises(ShapeMismatch):
        urgency.order(one, two, one)
    with pytest.raises(ShapeMismatch):
        urgency.account_volatility(one, np.array([1]), one, accounts=1)

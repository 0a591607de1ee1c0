"""Worked numbers of a book under falls of its prices."""

import numpy as np
import pytest

from risk.engine import kernel, shocks
from risk.engine.arrays import ShapeMismatch

LEVELS = (0.64, 0.65, 0.70, 0.75, 0.80)
BTC, USD = 0, 1


def books(weight: float = 1.0) -> tuple[kernel.WarmBook, kernel.WarmBook]:
    """Two accounts: 60 and 30 dollars owed against one bitcoin each; the second one holds 20 dollars besides."""

    def laid_out(share: float) -> kernel.WarmBook:
        flat = kernel.FlatBook(
            levels=np.array([[level, level] for level in LEVELS]),
            rung=np.zeros(2, dtype=np.int8),
            debt_account=np.array([0, 1]),
            debt_asset=np.array([USD, USD]),
            debt_amount=np.array([60.0, 30.0]),
            debt_per_s=np.zeros(2),
            pledge_account=np.array([0, 1, 1]),
            pledge_asset=np.array([BTC, BTC, USD]),
            pledge_quantity=np.array([1.0, 1.0, 20.0]),
            pledge_weight=np.array([share, share, 1.0]),
        )
        return kernel.warm(flat)

    return laid_out(weight), laid_out(1.0)


PRICE, VOLATILE = np.array([100.0, 1.0]), np.array([True, False])


def test_a_fall_moves_accounts_up_the_ladder() -> None:
    found = shocks.ladder(*books(), PRICE, VOLATILE, np.array([0.0, 0.2, 0.3, 0.5, 0.9]))
    # 60 / 100, 60 / 80 = 75 % which is not above 75 %, 60 / 70, 60 / 50; the other: 30 / (10 + 20) at the end.
    assert found.above[:, 2].tolist() == [0, 1, 1, 1, 2]
    assert found.above[:, 3].tolist() == [0, 0, 1, 1, 2]
    assert found.above[:, 4].tolist() == [0, 0, 1, 1, 2]
    assert found.debt[:, 4].tolist() == [0, 0, 60, 60, 90]
    assert found.shortfall.tolist() == pytest.approx([0, 0, 0, 10, 50])
    assert found.unknown == 0


def test_haircuts_call_sooner_and_lose_no_more() -> None:
    found = shocks.ladder(*books(0.9), PRICE, VOLATILE, np.array([0.0, 0.5]))
    assert found.above[:, 1].tolist() == [1, 1]  # 60 / 90 is past the warning
    assert found.shortfall.tolist() == pytest.approx([0, 10])


def test_who_can_not_be_priced_is_in_none_of_the_counts() -> None:
    found = shocks.ladder(*books(), np.array([np.nan, 1.0]), VOLATILE, np.array([0.0, 0.6]))
    assert found.unknown == 2
    assert found.above.sum() == 0
    assert found.shortfall.tolist() == [0, 0]


def test_ltvs_lie_in_bins_and_the_last_is_open() -> None:
    ltv = np.array([0.0, 0.49, 0.5, 0.99, 3.0, np.inf, np.nan])
    accounts, debt = shocks.distribution(
        ltv, np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]), np.array([0.0, 0.5, 1.0])
    )
    assert accounts.tolist() == [2, 2, 2]
    assert debt.tolist() == [1, 6, 24]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeMismatch):
        shocks.ladder(*books(), PRICE, np.array([True]), np.array([0.1]))
    with pytest.raises(ShapeMismatch):
        shocks.ladder(*books(), PRICE, VOLATILE, np.array([1.0]))
    with pytest.raises(ShapeMismatch):
        shocks.distribution(np.array([0.5]), np.array([1.0, 2.0]), np.array([0.0]))

"""What a fall of prices would do to a whole book: screens in float64, for people who plan ahead of it."""

from dataclasses import dataclass

import numpy as np

from risk.engine import kernel
from risk.engine.arrays import BoolArray, FloatArray, IntArray, ShapeMismatch
from risk.engine.kernel import WarmBook


@dataclass(frozen=True)
class Shocked:
    """
    A book under S falls of its volatile assets: L accounts with K ladder levels each.

    Parameters
    ----------
    above : int64 (S, K)
        Accounts whose LTV exceeds each level.
    debt : float64 (S, K)
        What these owe, USD.
    shortfall : float64 (S,)
        What would be left unpaid if every account were closed out at the fallen marks, without costs, USD.
    unknown : int
        Accounts that hold or owe something without a usable mark: in none of the counts.
    """

    above: IntArray
    debt: FloatArray
    shortfall: FloatArray
    unknown: int


def ladder(weighted: WarmBook, market: WarmBook, price: FloatArray, volatile: BoolArray, shocks: FloatArray) -> Shocked:
    """
    Return what falls of the volatile assets, all by the same fraction, do to a book.

    A debt in a volatile asset falls with it. An account of 60 against 100 of bitcoin with a sale above 80 % passes that
    level between falls of 20 % (LTV 75 %) and 30 % (86 %), and leaves 60 - 100·(1 - 0.5) = 10 unpaid at a fall of 50 %.

    Parameters
    ----------
    weighted, market : WarmBook
        The same book with its haircuts, and with weights of 1.
    price : float64 (A,)
        USD per unit; NaN where the asset has no usable mark.
    volatile : bool (A,)
        Which assets fall.
    shocks : float64 (S,)
        Fractions in [0, 1).

    Returns
    -------
    Shocked

    Raises
    ------
    ShapeMismatch
        If price and volatile, or both books, disagree in length, or a shock is outside [0, 1).
    """
    if price.shape != volatile.shape or weighted.accounts != market.accounts:
        raise ShapeMismatch(f"prices {price.shape}, volatile {volatile.shape}: {weighted.accounts}, {market.accounts}")
    if len(shocks) and (shocks.min() < 0.0 or shocks.max() >= 1.0):
        raise ShapeMismatch("a shock is outside [0, 1)")
    count = len(weighted.levels)
    above = np.zeros((len(shocks), count), dtype=np.int64)
    debt, shortfall, unknown = np.zeros((len(shocks), count)), np.zeros(len(shocks)), 0
    for place, shock in enumerate(shocks.tolist()):
        fallen = np.where(volatile, price * (1.0 - shock), price)
        value, owed = kernel.collateral(weighted, fallen), kernel.debt(weighted, fallen)
        known = ~(np.isnan(value) | np.isnan(owed))
        unknown = int(len(known) - known.sum())
        rung = kernel.rungs(weighted, value, owed)
        for level in range(count):
            past = known & (rung > level)
            above[place, level] = past.sum()
            debt[place, level] = owed[past].sum()
        whole = np.empty(market.accounts)
        whole[market.order] = kernel.collateral(market, fallen)
        left = owed - whole[weighted.order]
        shortfall[place] = np.maximum(left[known], 0.0).sum()
    return Shocked(above, debt, shortfall, unknown)


def distribution(ltv: FloatArray, debt: FloatArray, edges: FloatArray) -> tuple[IntArray, FloatArray]:
    """
    Return how many accounts, and how much debt, have an LTV within each pair of edges; the last one is open upwards.

    Parameters
    ----------
    ltv : float64 (L,)
        inf is above every edge; NaN counts nowhere.
    debt : float64 (L,)
        USD.
    edges : float64 (B,)
        Rising, the first at most the smallest LTV.

    Returns
    -------
    accounts : int64 (B,)
    debt : float64 (B,), USD.

    Raises
    ------
    ShapeMismatch
        If ltv and debt disagree in length.
    """
    if ltv.shape != debt.shape:
        raise ShapeMismatch(f"ltv has shape {ltv.shape}, debt {debt.shape}")
    known = ~np.isnan(ltv)
    place = np.clip(np.searchsorted(edges, ltv[known], side="right") - 1, 0, len(edges) - 1)
    return (
        np.bincount(place, minlength=len(edges)).astype(np.int64),
        np.bincount(place, weights=debt[known], minlength=len(edges)).astype(np.float64),
    )

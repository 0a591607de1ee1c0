"""The smallest sale that restores an account: closed forms screened in float, then proved in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from enum import StrEnum

from lending.engine import money

ZERO = Decimal(0)
ONE = Decimal(1)
_DIGITS = 60


class Refusal(StrEnum):
    """Why no sale of one asset brings an account to its target."""

    SALE_RAISES_LTV = "SALE_RAISES_LTV"
    IMPACT_BOUND = "IMPACT_BOUND"
    NOT_ENOUGH_COLLATERAL = "NOT_ENOUGH_COLLATERAL"


class UnableToRestore(ValueError):
    """No sale of this asset alone restores the target; re-plan over more time, more assets or a block bid."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class UnableToSize(ValueError):
    """The inputs of a sale make no sense: a negative amount, a price of zero, a cost of 100 % or more."""


@dataclass(frozen=True, slots=True)
class Impact:
    """
    Market impact i(s) as a ratio of a sale of market value s in USD.

    i(s) = linear·s + root·√s. Root is κ = Y·σ_daily/√V with V the daily USD volume that the desk can reach. At most
    one of the two may be positive; both zero is no impact.
    """

    linear: Decimal = ZERO
    root: Decimal = ZERO

    def cost(self, sold: Decimal) -> Decimal:
        """Return i(s)·s in USD, rounded up after 18 decimals."""
        up = Context(prec=_DIGITS, rounding=ROUND_CEILING)
        cost = up.multiply(up.multiply(self.linear, sold), sold)
        if self.root and sold:
            cost = up.add(cost, up.multiply(up.multiply(self.root, sold), sold.sqrt(up).next_plus(up)))
        return money.quantize_up(cost, 18)


def square_root_impact(y: Decimal, sigma_daily: Decimal, daily_volume_usd: Decimal) -> Impact:
    """Return the square-root law κ = Y·σ_daily/√V, rounded up."""
    if daily_volume_usd <= 0:
        raise UnableToSize("the reachable daily volume must be positive")
    up = Context(prec=_DIGITS, rounding=ROUND_CEILING)
    kappa = up.divide(up.multiply(y, sigma_daily), daily_volume_usd.sqrt(up).next_minus(up))
    return Impact(root=money.quantize_up(kappa, 18))


@dataclass(frozen=True, slots=True)
class SaleTerms:
    """
    One asset that may be sold for one account.

    Parameters
    ----------
    weight : Decimal
        w, 1 - haircut of the pledged asset, in (0, 1].
    price : Decimal
        The mark in USD per unit, > 0. Costs enter through fee and impact only, never through the price.
    quantity : Decimal
        Units that can be sold.
    lot : Decimal
        Smallest step of a sale in units; 10^-decimals without a coarser one.
    fee : Decimal
        f: execution fee + half spread + liquidation fee of the waterfall + cost of buying the debt asset, a ratio.
    impact : Impact
    dust : Decimal
        A rest of fewer units than this is sold as well.
    """

    weight: Decimal
    price: Decimal
    quantity: Decimal
    lot: Decimal
    fee: Decimal = ZERO
    impact: Impact = Impact()
    dust: Decimal = ZERO

    def __post_init__(self) -> None:
        """Refuse terms that would divide by zero or sell at a cost above the value."""
        if self.price <= 0 or self.lot <= 0 or self.quantity < 0 or self.dust < 0:
            raise UnableToSize("price and lot must be positive, quantity and dust must not be negative")
        if not 0 < self.weight <= 1 or not 0 <= self.fee < 1:
            raise UnableToSize("weight must be in (0, 1] and fee in [0, 1)")
        if self.impact.linear < 0 or self.impact.root < 0 or (self.impact.linear and self.impact.root):
            raise UnableToSize("impact is linear or square root, and not negative")


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale that restores the target: units, market value, expected cost and net proceeds in USD, and the rest."""

    quantity: Decimal
    market_value: Decimal
    cost: Decimal
    proceeds: Decimal
    debt_after: Decimal
    weighted_after: Decimal


def market_value_to_sell(debt: float, weighted: float, target: float, terms: SaleTerms) -> float:
    """
    Return the market value s of the smallest sale that restores the target, by closed form, before lots.

    Source: margin.md, section 4. With G = D - tA and a = 1 - f - t·w: no impact G/a; linear 2G/(a + √(a² - 4kG));
    square root u² with κu³ - au² + G = 0 solved by the cosine of a third of an angle.

    Parameters
    ----------
    debt, weighted : float
        D and A in USD.
    target : float
        t, the LTV to restore.
    terms : SaleTerms

    Returns
    -------
    market_value : float, USD; 0.0 when the account is at or below its target.

    Raises
    ------
    UnableToRestore
        SALE_RAISES_LTV if a ≤ 0; IMPACT_BOUND if no real size restores the target.
    """
    gap = debt - target * weighted
    gain = 1.0 - float(terms.fee) - target * float(terms.weight)
    if gap <= 0.0:
        return 0.0
    if gain <= 0.0:
        raise UnableToRestore(Refusal.SALE_RAISES_LTV, f"1 - f - t·w is {gain:.6f}")
    linear, root = float(terms.impact.linear), float(terms.impact.root)
    if linear > 0.0:
        square = gain * gain - 4.0 * linear * gap
        if square < 0.0:
            raise UnableToRestore(Refusal.IMPACT_BOUND, f"a² < 4kG at G = {gap:.2f}")
        return 2.0 * gap / (gain + math.sqrt(square))
    if root > 0.0:
        ratio = 27.0 * root * root * gap / (4.0 * gain**3)
        if ratio > 1.0:
            raise UnableToRestore(Refusal.IMPACT_BOUND, f"G > 4a³/(27κ²) at G = {gap:.2f}")
        # arccos(1 - 2r) = 2·arcsin(√r), which keeps its digits where r is small.
        angle = 2.0 * math.asin(math.sqrt(ratio)) / 3.0 - 2.0 * math.pi / 3.0
        u = gain / (3.0 * root) * (1.0 + 2.0 * math.cos(angle))
        return u * u
    return gap / gain


def after_sale(debt: Decimal, weighted: Decimal, terms: SaleTerms, quantity: Decimal) -> Sale:
    """Return what selling a quantity at the mark, less fee and impact, leaves of debt and weighted collateral."""
    with money.exact():
        value = quantity * terms.price
        cost = terms.fee * value + terms.impact.cost(value)
        proceeds = value - cost
        return Sale(quantity, value, cost, proceeds, debt - proceeds, weighted - terms.weight * value)


def restores(debt: Decimal, weighted: Decimal, target: Decimal, terms: SaleTerms, quantity: Decimal) -> bool:
    """Return whether selling a quantity brings the account to its target: D' ≤ t·A', exactly."""
    sale = after_sale(debt, weighted, terms, quantity)
    with money.exact():
        return sale.debt_after <= target * sale.weighted_after


def smallest_sale(debt: Decimal, weighted: Decimal, target: Decimal, terms: SaleTerms) -> Sale | None:
    """
    Return the smallest sale in whole lots that restores the target, proved in exact arithmetic; None if none is due.

    The float closed form only says where to look; the number of lots is then moved until it restores and one lot
    fewer does not. A rest that is no whole lot, or dust, is sold along. At D = 800,000, A = 1,000,000, w = 1,
    f = 3 % and one unit = 1 USD it sells 540,541 to reach 60 %, 468,750 for 65 % and 370,370.4 for 70 %.

    Parameters
    ----------
    debt, weighted : Decimal
        D and A in USD.
    target : Decimal
        liquidate_to.
    terms : SaleTerms

    Raises
    ------
    UnableToRestore
        SALE_RAISES_LTV, IMPACT_BOUND, or NOT_ENOUGH_COLLATERAL if all of the asset is not enough.
    """
    with money.exact():
        if debt <= target * weighted:
            return None
        gain = ONE - terms.fee - target * terms.weight
    if gain <= 0:
        raise UnableToRestore(Refusal.SALE_RAISES_LTV, f"1 - f - t·w is {gain}")
    lots_held = int(money.div_down(terms.quantity, terms.lot, 0))
    # Past the turning point more selling restores less: never look there.
    lots_best = min(lots_held, _turning_lots(gain, terms))
    lots = _least_lots(debt, weighted, target, terms, lots_best)
    if lots is not None:
        with money.exact():
            quantity = lots * terms.lot
            rest = terms.quantity - quantity
        if 0 < rest < max(terms.dust, terms.lot) and restores(debt, weighted, target, terms, terms.quantity):
            quantity = terms.quantity
        return after_sale(debt, weighted, terms, quantity)
    if restores(debt, weighted, target, terms, terms.quantity):
        return after_sale(debt, weighted, terms, terms.quantity)
    if lots_best < lots_held:
        raise UnableToRestore(Refusal.IMPACT_BOUND, f"past {lots_best} lots selling raises the LTV")
    raise UnableToRestore(Refusal.NOT_ENOUGH_COLLATERAL, f"{terms.quantity} units do not restore {target}")


def _turning_lots(gain: Decimal, terms: SaleTerms) -> int:
    """Return the lots at which the restored amount a·s - s·i(s) is largest: s = a/2k, or (2a/3κ)²."""
    if terms.impact.linear:
        with money.exact():
            slope = 2 * terms.impact.linear * terms.price * terms.lot
        return int(money.div_down(gain, slope, 0))
    if terms.impact.root:
        with money.exact():
            top = 4 * gain * gain
            bottom = 9 * terms.impact.root * terms.impact.root * terms.price * terms.lot
        return int(money.div_down(top, bottom, 0))
    return int(money.div_up(terms.quantity, terms.lot, 0))


def _least_lots(debt: Decimal, weighted: Decimal, target: Decimal, terms: SaleTerms, most: int) -> int | None:
    """Return the least number of lots in [1, most] that restores, sought around the closed form; None if none does."""

    def enough(lots: int) -> bool:
        with money.exact():
            quantity = lots * terms.lot
        return restores(debt, weighted, target, terms, quantity)

    if most < 1 or not enough(most):
        return None
    try:
        value = market_value_to_sell(float(debt), float(weighted), float(target), terms)
        start = min(max(math.ceil(value / float(terms.price) / float(terms.lot)), 1), most)
    except UnableToRestore:
        # A float on the edge of the bound; `most` is known to restore.
        start = most
    low, high = _bracket(enough, start, most)
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def _bracket(enough: Callable[[int], bool], start: int, most: int) -> tuple[int, int]:
    """Return lots (low, high) around a start with low not enough (or 0) and high enough, by doubling steps."""
    step = 1
    if enough(start):
        high = start
        while high > step and enough(high - step):
            high -= step
            step *= 2
        return max(high - step, 0), high
    low = start
    while low + step < most and not enough(low + step):
        low += step
        step *= 2
    return low, min(low + step, most)

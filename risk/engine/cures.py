"""What follows from an exposure: both cures, how much may be released, trigger prices and shocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil

from lending.engine import money
from risk.engine.ltv import RATIO_DECIMALS, ZERO, Exposure, Position, exposure


def cash_cure(exposed: Exposure, target: Decimal, *, decimals: int = 2) -> Decimal:
    """Return the USD repayment that brings the LTV to a target: D - t·A, rounded up, never negative."""
    with money.exact():
        missing = exposed.debt - target * exposed.weighted
    return money.quantize_up(max(missing, ZERO), decimals)


def rounded_up(value: Decimal, step: Decimal) -> Decimal:
    """
    Return a value rounded up to a multiple of a step; as it is where the step is zero.

    Parameters
    ----------
    value, step : Decimal
        USD, >= 0.
    """
    if not step:
        return value
    multiples = money.div_up(value, step, 0)
    with money.exact():
        return multiples * step


def collateral_cure(exposed: Exposure, target: Decimal, weight: Decimal, *, decimals: int = 2) -> Decimal:
    """
    Return the market value in USD of an asset that brings the LTV to a target: (D/t - A)/w, rounded up.

    At D = 800,000, A = 1,000,000 and t = 60 % it is 333,333.34 where the cash cure is 200,000.
    """
    with money.exact():
        missing = exposed.debt - target * exposed.weighted
        scale = target * weight
    return ZERO if missing <= 0 else money.div_up(missing, scale, decimals)


def collateral_cure_quantity(
    exposed: Exposure, target: Decimal, weight: Decimal, price: Decimal, *, decimals: int
) -> Decimal:
    """Return the units of an asset that bring the LTV to a target at a price, rounded up."""
    with money.exact():
        missing = exposed.debt - target * exposed.weighted
        scale = target * weight * price
    return ZERO if missing <= 0 else money.div_up(missing, scale, decimals)


@dataclass(frozen=True, slots=True)
class Way:
    """
    One way to cure a call: units of one asset that cure all of it, what those are worth, and what there is to use.

    Parameters
    ----------
    whole, most : Decimal
        Units of the asset, >= 0.
    value : Decimal
        USD of `whole`, > 0.
    decimals : int
        How fine the asset moves.
    """

    whole: Decimal
    value: Decimal
    most: Decimal
    decimals: int

    def part(self, missing: Fraction) -> Decimal:
        """Return the units that cure a missing part (0 to 1) of the call: rounded up, at most what there is."""
        wanted = ceil(missing * Fraction(self.whole) * 10**self.decimals)
        with money.exact():
            units = Decimal(wanted).scaleb(-self.decimals)
        return min(units, money.quantize_down(self.most, self.decimals))

    def covers(self, units: Decimal) -> Fraction:
        """Return which part of the call some units cure."""
        return Fraction(units) / Fraction(self.whole)


def cheapest_first(ways: Mapping[str, Way]) -> list[str]:
    """
    Return the names of some ways in the order in which they cost the least: by what the whole cure is worth in each.

    Parts of ways add up to the whole, so that taking each in this order, as far as it goes, is the cheapest cure
    there is (a fractional knapsack). Cash repays D - t·A; collateral takes (D/t - A)/w, the more the lower its weight.
    """
    return sorted((name for name, way in ways.items() if way.whole > 0), key=lambda name: (ways[name].value, name))


def conditional_quantity(
    quantity: Decimal, share: Decimal, cap_usd: Decimal, price: Decimal, *, decimals: int
) -> Decimal:
    """Return the units of a transfer that count before it is final: its share, worth at most a cap, rounded down."""
    with money.exact():
        counted = quantity * share
    return min(money.quantize_down(counted, decimals), money.div_down(max(cap_usd, ZERO), price, decimals))


def max_release(
    exposed: Exposure, release_to: Decimal, weight: Decimal, *, market_value: Decimal, decimals: int = 2
) -> Decimal:
    """Return the market value of an asset that may leave: (A - D/release_to)/w, rounded down, at most what is held."""
    with money.exact():
        spare = release_to * exposed.weighted - exposed.debt
        scale = release_to * weight
    if spare <= 0:
        return ZERO
    return min(money.div_down(spare, scale, decimals), money.quantize_down(market_value, decimals))


def substitute_quantity(
    quantity: Decimal,
    *,
    out_weight: Decimal,
    out_price: Decimal,
    in_weight: Decimal,
    in_price: Decimal,
    decimals: int,
) -> Decimal:
    """
    Return the units of an asset that count for as much as a quantity of another: q w p / (w' p'), rounded up.

    With them the LTV is what it was: 10 at 3,000 with a haircut of 20 % for one at 30,000 without is 0.8.
    """
    with money.exact():
        value, scale = quantity * out_weight * out_price, in_weight * in_price
    return money.div_up(value, scale, decimals)


def trigger_price(
    position: Position, prices: Mapping[str, Decimal], asset: str, level: Decimal, *, decimals: int = 8
) -> Decimal | None:
    """
    Return the price of one asset at which the LTV reaches a level, all other prices fixed.

    Collateral: p* = (D/L - sum of the others)/(w q), a lower trigger, rounded up (the earlier one). Debt of amount
    d: p* = L·A/d, an upper trigger, rounded down. Both sides: p* = L·A_others/(d - L·w·q) with D_others moved over.
    None when no positive price does it. Source: margin.md, section 2.
    """
    rest = Position(
        tuple(pledge for pledge in position.pledges if pledge.asset != asset),
        tuple(owed for owed in position.debts if owed.asset != asset),
    )
    others = exposure(rest, prices)
    with money.exact():
        held = sum((pledge.quantity * pledge.weight for pledge in position.pledges if pledge.asset == asset), ZERO)
        amount = sum((owed.amount for owed in position.debts if owed.asset == asset), ZERO)
        # LTV = level: D_others + d·p = level·(A_others + h·p), so p·(level·h - d) = D_others - level·A_others.
        slope = level * held - amount
        gap = others.debt - level * others.weighted
    if slope == 0 or (gap > 0) != (slope > 0) or gap == 0:
        return None
    if slope > 0:
        return money.div_up(gap, slope, decimals)
    return money.div_down(-gap, -slope, decimals)


def uniform_shock(
    position: Position, prices: Mapping[str, Decimal], level: Decimal, volatile: Sequence[str]
) -> Decimal | None:
    """
    Return the fall of all volatile assets together, as a ratio, at which the LTV reaches a level.

    Volatile collateral alone: δ = (A - D/L)/A_volatile. With volatile debt both move: δ = (L·A - D)/(L·A_v - D_v).
    Rounded down (the smaller fall); 0 when the level is reached already; None when no fall up to 100 % does it.
    """
    moving = frozenset(volatile)
    total = exposure(position, prices)
    part = exposure(
        Position(
            tuple(pledge for pledge in position.pledges if pledge.asset in moving),
            tuple(owed for owed in position.debts if owed.asset in moving),
        ),
        prices,
    )
    with money.exact():
        headroom = level * total.weighted - total.debt
        loss = level * part.weighted - part.debt
    if headroom <= 0:
        return ZERO
    if loss < headroom:
        return None
    return money.div_down(headroom, loss, RATIO_DECIMALS)

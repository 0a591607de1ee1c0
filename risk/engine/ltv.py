"""Loan-to-value: for whole books in float64, and exactly, in Decimal, for one margin account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from lending.engine import money
from risk.engine.arrays import FloatArray, IntArray, ShapeMismatch, frozen, frozen_index, same_length

RATIO_DECIMALS = 18
ZERO = Decimal(0)
INFINITE = Decimal("Infinity")
UNKNOWN = Decimal("NaN")


class UnableToValue(ValueError):
    """An asset that the account holds or owes has no price."""


@dataclass(frozen=True)
class Book:
    """
    The arrays of a book of L margin accounts with P pledges over A assets.

    Parameters
    ----------
    debt : float64 (L,)
        Payoff amount of each account in USD, >= 0; NaN where the debt asset has no usable mark.
    quantity : float64 (P,)
        Asset units, >= 0.
    loan_index : int64 (P,)
        Account of each pledge, in [0, L).
    asset_index : int64 (P,)
        Asset of each pledge, in [0, A).
    weight : float64 (P,)
        1 - haircut, in (0, 1].
    asset_count : int, optional
        A. Without it, A is what the price vector says, and must cover every asset index.

    Raises
    ------
    ShapeMismatch
        If the arrays disagree in length or an index is out of range.
    """

    debt: FloatArray
    quantity: FloatArray
    loan_index: IntArray
    asset_index: IntArray
    weight: FloatArray
    asset_count: int | None = None

    def __post_init__(self) -> None:
        """Copy the arrays, close them for writing and check that they fit."""
        for name in ("debt", "quantity", "weight"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        for name in ("loan_index", "asset_index"):
            object.__setattr__(self, name, frozen_index(getattr(self, name)))
        same_length(len(self.debt), debt=self.debt)
        pledges = self.quantity.shape[0] if self.quantity.ndim == 1 else -1
        same_length(
            pledges,
            quantity=self.quantity,
            loan_index=self.loan_index,
            asset_index=self.asset_index,
            weight=self.weight,
        )
        if pledges and (self.loan_index.min() < 0 or self.loan_index.max() >= len(self.debt)):
            raise ShapeMismatch("loan_index is outside [0, L)")
        if pledges and self.asset_index.min() < 0:
            raise ShapeMismatch("asset_index is negative")
        if pledges and self.asset_count is not None and self.asset_index.max() >= self.asset_count:
            raise ShapeMismatch("asset_index is outside [0, A)")


def collateral_value(book: Book, price: FloatArray, *, weighted: bool = True) -> FloatArray:
    """
    Return the collateral value of every account at some prices.

    Parameters
    ----------
    book : Book
    price : float64 (A,)
        USD per asset unit, > 0; NaN where the asset has no usable mark.
    weighted : bool
        Whether haircuts count.

    Returns
    -------
    value : float64 (L,), USD; NaN for an account that holds an asset without a usable mark.

    Raises
    ------
    ShapeMismatch
        If price and the book disagree on A.
    """
    prices = np.asarray(price, dtype=np.float64)
    if prices.ndim != 1 or (book.asset_count is not None and prices.shape[0] != book.asset_count):
        raise ShapeMismatch(f"price has shape {prices.shape}, expected ({book.asset_count},)")
    if book.asset_index.size and book.asset_index.max() >= prices.shape[0]:
        raise ShapeMismatch(f"price has {prices.shape[0]} assets, the book names asset {book.asset_index.max()}")
    value = prices[book.asset_index] * book.quantity
    # Nothing held is worth nothing, whether its asset has a mark or not.
    value[book.quantity == 0.0] = 0.0
    if weighted:
        value *= book.weight
    return np.bincount(book.loan_index, weights=value, minlength=len(book.debt)).astype(np.float64)


def loan_to_value(book: Book, price: FloatArray) -> FloatArray:
    """
    Return the LTV of every loan: debt over weighted collateral value.

    A loan with debt and no collateral value is inf; a loan that holds an asset without a usable mark is NaN. A loan
    without debt is 0, unless its collateral is NaN. Source: margin.md, section 2.

    Parameters
    ----------
    book : Book
        L loans, P pledges, A assets. debt (L,) USD; quantity (P,) asset units; loan_index (P,) in [0, L);
        asset_index (P,) in [0, A); weight (P,) in (0, 1].
    price : float64 (A,)
        USD per asset unit, > 0; NaN where the asset has no usable mark.

    Returns
    -------
    ltv : float64 (L,), dimensionless (0.65 means 65 %).

    Raises
    ------
    ShapeMismatch
        If price and the book disagree on A.
    """
    return _ratio(book.debt, collateral_value(book, price))


def market_loan_to_value(book: Book, price: FloatArray) -> FloatArray:
    """Return the LTV of every loan without haircuts, with the same rules and errors as `loan_to_value`."""
    return _ratio(book.debt, collateral_value(book, price, weighted=False))


def _ratio(debt: FloatArray, value: FloatArray) -> FloatArray:
    """Return debt / value where 0/0 is 0, x/0 is inf and NaN stays NaN."""
    ltv = np.full(len(debt), np.inf)
    np.divide(debt, value, out=ltv, where=value != 0.0)
    ltv[(debt == 0.0) & (value == 0.0)] = 0.0
    ltv[np.isnan(debt) | np.isnan(value)] = np.nan
    return ltv


@dataclass(frozen=True, slots=True)
class Pledged:
    """A confirmed quantity of one collateral asset with the weight that the contract gives it."""

    asset: str
    quantity: Decimal
    weight: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True)
class Owed:
    """A payoff amount in units of its debt asset: principal, posted and pending interest, fees due."""

    asset: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Position:
    """All pledges and debts of one margin account."""

    pledges: tuple[Pledged, ...] = ()
    debts: tuple[Owed, ...] = ()

    @property
    def assets(self) -> frozenset[str]:
        """Return the assets whose price matters: held or owed in a quantity other than zero."""
        held = {pledge.asset for pledge in self.pledges if pledge.quantity}
        return frozenset(held | {owed.asset for owed in self.debts if owed.amount})


@dataclass(frozen=True, slots=True)
class Exposure:
    """Debt, weighted and market collateral value of one margin account, exact, in USD."""

    debt: Decimal
    weighted: Decimal
    market: Decimal

    def exceeds(self, level: Decimal) -> bool:
        """Return whether the LTV is above a level: debt > level x weighted value, without dividing."""
        if self.weighted.is_infinite():
            return False
        with money.exact():
            return self.debt > level * self.weighted


@dataclass(frozen=True, slots=True)
class Band:
    """The interval in which an asset's price lies; both ends are the mark while it is usable."""

    low: Decimal
    high: Decimal

    @property
    def certain(self) -> bool:
        """Return whether the price is known."""
        return self.low == self.high


def unusable_band(last_good: Decimal | None, band: Decimal) -> Band:
    """Return 0 to the last GOOD mark x (1 + band), the bounds of an asset without a usable mark."""
    if last_good is None:
        return Band(ZERO, INFINITE)
    with money.exact():
        return Band(ZERO, last_good * (1 + band))


def exposure(position: Position, prices: Mapping[str, Decimal]) -> Exposure:
    """
    Return the exact USD debt and collateral value of an account.

    Parameters
    ----------
    position : Position
    prices : mapping of asset code to Decimal
        USD per unit. An asset with quantity zero needs no price.

    Raises
    ------
    UnableToValue
        If a price is missing or NaN. It never counts as zero.
    """
    return _exposure(position, collateral=prices, debt=prices)


def bounded_exposure(position: Position, bands: Mapping[str, Band]) -> tuple[Exposure, Exposure]:
    """
    Return the worst and the best exposure that the price bands allow.

    Worst: collateral at the low end, debt at the high end; best: the other way round (margin.md, section 1). Both
    are equal when every band is certain.
    """
    low = {asset: band.low for asset, band in bands.items()}
    high = {asset: band.high for asset, band in bands.items()}
    return _exposure(position, collateral=low, debt=high), _exposure(position, collateral=high, debt=low)


def _exposure(position: Position, *, collateral: Mapping[str, Decimal], debt: Mapping[str, Decimal]) -> Exposure:
    """Return the exposure with collateral and debt priced from two maps."""
    with money.exact():
        owed = sum((item.amount * _price(debt, item.asset) for item in position.debts if item.amount), ZERO)
        weighted = market = ZERO
        for pledge in position.pledges:
            if pledge.quantity:
                value = pledge.quantity * _price(collateral, pledge.asset)
                market += value
                weighted += value * pledge.weight
    return Exposure(owed, weighted, market)


def _price(prices: Mapping[str, Decimal], asset: str) -> Decimal:
    """Return an asset's price or raise."""
    price = prices.get(asset)
    if price is None or price.is_nan():
        raise UnableToValue(f"{asset} has no price")
    return price


def exact_ltv(position: Position, prices: Mapping[str, Decimal]) -> Decimal:
    """
    Return the LTV of one account, rounded up after 18 decimals, for display and records.

    Decisions compare `Exposure.exceeds` instead: nothing is decided on a rounded quotient. 0 without debt, Infinity
    with debt and no collateral value, NaN when an asset has no price.
    """
    try:
        return ltv_of(exposure(position, prices))
    except UnableToValue:
        return UNKNOWN


def ltv_of(exposed: Exposure) -> Decimal:
    """Return debt over weighted value, rounded up; Infinity without collateral value, 0 without debt."""
    return _quotient(exposed.debt, exposed.weighted)


def market_ltv_of(exposed: Exposure) -> Decimal:
    """Return debt over market value, rounded up, with the same conventions as `ltv_of`."""
    return _quotient(exposed.debt, exposed.market)


def _quotient(debt: Decimal, value: Decimal) -> Decimal:
    """Return debt / value rounded up, with the conventions of LTV at zero and infinity."""
    if debt == 0 or value.is_infinite():
        return ZERO
    if value == 0 or debt.is_infinite():
        return INFINITE
    return money.div_up(debt, value, RATIO_DECIMALS)


def health_factor(exposed: Exposure, liquidation_ltv: Decimal) -> Decimal:
    """Return liquidation_ltv / ltv, rounded down; Infinity without debt, 0 without collateral value."""
    if exposed.debt == 0:
        return INFINITE
    with money.exact():
        scaled = liquidation_ltv * exposed.weighted
    return money.div_down(scaled, exposed.debt, RATIO_DECIMALS)

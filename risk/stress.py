"""The whole book for people: how LTVs lie, what it holds, and who would be sold at which fall of prices."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import numpy as np

from lending.models import Asset, MarginAccount
from risk.book import flat
from risk.engine import kernel, shocks
from risk.engine.arrays import FloatArray
from risk.prices import Market
from risk.rows import Rows, read

SHARDS = tuple(range(MarginAccount.SHARDS))
FALLS = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60)
EDGES = np.arange(0.0, 1.001, 0.025)
# Where these stand among `risk.exposures.watched_levels`, which begin with clear_ltv and the warning.
_CALL, _ACCELERATED, _LIQUIDATE = 2, 3, 4


@dataclass(frozen=True, slots=True)
class Fall:
    """What a fall of all volatile assets by `shock` does: accounts past each level, and USD."""

    shock: Decimal
    called: int
    accelerated: int
    liquidated: int
    debt_liquidated: Decimal
    shortfall: Decimal


@dataclass(frozen=True, slots=True)
class Concentration:
    """What the book holds of one asset: market value in USD, its share, and how many days of its volume that is."""

    asset: Asset
    value: Decimal
    share: Decimal
    accounts: int
    days_of_volume: Decimal | None


@dataclass(frozen=True, slots=True)
class Stress:
    """A book at the marks of now: figures are rounded to dollars, accounts without a usable mark stand apart."""

    accounts: int
    unknown: int
    debt: Decimal
    collateral: Decimal
    falls: tuple[Fall, ...]
    bins: tuple[tuple[Decimal, int, Decimal], ...]
    held: tuple[Concentration, ...]


def of_book(market: Market, *, now: datetime) -> Stress:
    """Return the stress of all margin accounts that owe something, in a constant number of queries."""
    asset_ids = np.array([asset.pk for asset in market.assets], dtype=np.int64)
    rows, _stored, _switch_at = read(SHARDS, None, asset_ids, reference=now)
    rows = _owing(rows)
    marked = [market.marks.price(asset.code) for asset in market.assets]
    price = np.array([np.nan if mark is None else float(mark) for mark in marked], dtype=np.float64)
    volatile = np.array([asset.kind == Asset.Kind.CRYPTO for asset in market.assets], dtype=np.bool_)
    book = flat(rows, np.zeros(len(rows.account), dtype=np.int8))
    weighted = kernel.warm(book)
    whole = kernel.warm(replace(book, pledge_weight=np.ones(len(book.pledge_weight))))
    shocked = shocks.ladder(weighted, whole, price, volatile, np.array(FALLS))
    value, owed = kernel.collateral(weighted, price), kernel.debt(weighted, price)
    with np.errstate(divide="ignore", invalid="ignore"):
        ltv = np.where(np.isnan(value) | (value > 0.0), owed / value, np.inf)
    counts, debts = shocks.distribution(ltv, owed, EDGES)
    return Stress(
        accounts=len(rows.account),
        unknown=shocked.unknown,
        debt=_dollars(np.nansum(owed)),
        collateral=_dollars(np.nansum(kernel.collateral(whole, price))),
        falls=tuple(_fall(shocked, place) for place in range(len(FALLS))),
        bins=tuple(
            (Decimal(f"{edge:.3f}"), int(count), _dollars(debt))
            for edge, count, debt in zip(EDGES.tolist(), counts.tolist(), debts.tolist(), strict=True)
        ),
        held=_held(rows, price, market),
    )


def _owing(rows: Rows) -> Rows:
    """Return the rows of the accounts that owe something: nobody is at risk of the others."""
    keep = np.isin(rows.account, rows.debt_account)
    pledged = np.isin(rows.pledge_account, rows.debt_account)
    return replace(
        rows,
        account=rows.account[keep],
        terms=rows.terms[keep],
        pledge_account=rows.pledge_account[pledged],
        pledge_asset=rows.pledge_asset[pledged],
        pledge_quantity=rows.pledge_quantity[pledged],
        pledge_weight=rows.pledge_weight[pledged],
    )


def _fall(shocked: shocks.Shocked, place: int) -> Fall:
    above = shocked.above[place].tolist()
    return Fall(
        shock=Decimal(f"{FALLS[place]:.2f}"),
        called=above[_CALL],
        accelerated=above[_ACCELERATED],
        liquidated=above[_LIQUIDATE],
        debt_liquidated=_dollars(shocked.debt[place, _LIQUIDATE]),
        shortfall=_dollars(shocked.shortfall[place]),
    )


def _held(rows: Rows, price: FloatArray, market: Market) -> tuple[Concentration, ...]:
    """Return what is held of each asset, the most valuable first; one without a usable mark is left out."""
    value = np.nan_to_num(rows.pledge_quantity * price[rows.pledge_asset])
    by_asset = np.bincount(rows.pledge_asset, weights=value, minlength=len(price))
    accounts = np.bincount(rows.pledge_asset, minlength=len(price)).tolist()
    total = float(by_asset.sum())
    found = []
    for place in np.argsort(-by_asset, kind="stable").tolist():
        if not by_asset[place]:
            break
        asset = market.assets[place]
        volume = float(asset.policy.daily_volume_usd) if hasattr(asset, "policy") else 0.0
        found.append(
            Concentration(
                asset=asset,
                value=_dollars(by_asset[place]),
                share=Decimal(f"{by_asset[place] / total:.4f}"),
                accounts=accounts[place],
                days_of_volume=Decimal(f"{by_asset[place] / volume:.4f}") if volume else None,
            )
        )
    return tuple(found)


def _dollars(value: float) -> Decimal:
    return Decimal(round(float(value)))

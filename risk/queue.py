"""The console's queue: every open call, the most pressing first, with what makes it so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np

from lending.models import MarginAccount, User
from risk import sales
from risk.engine import urgency
from risk.engine.arrays import BoolArray, FloatArray, IntArray
from risk.models import OPEN_CALL_STATES, MarginCall, Quality
from risk.prices import Market
from risk.rows import BLOCK, arrays, read
from risk.sales import Sale

PAGE = 50
NOBODY, MINE = "nobody", "mine"
SHARDS = tuple(range(MarginAccount.SHARDS))
_STATES = tuple(state.value for state in OPEN_CALL_STATES)
_IN_SALE = [_STATES.index(state.value) for state in sales.IN_SALE]
_QUALITIES = (Quality.GOOD, Quality.DEGRADED, Quality.STALE, Quality.HALTED)
_NO_KEY = -1

# Thousands of rows come as arrays, or the page would wait for them to become objects.
_OPEN = """
    SELECT array_agg(c.id), array_agg(c.margin_account_id),
           array_agg(array_position(%(states)s::text[], c.state::text)::bigint - 1),
           array_agg(coalesce(date_part('epoch', c.cure_due_at), 0)), array_agg(c.cure_period_s::bigint),
           array_agg(t.liquidation_ltv::float8), array_agg(coalesce(c.claimed_by_id, 0)),
           array_agg(k.relationship_manager_id)
      FROM risk_margincall c
      JOIN lending_marginaccount a ON a.id = c.margin_account_id
      JOIN lending_ladderterms t ON t.id = a.terms_id
      JOIN lending_client k ON k.id = c.client_id
     WHERE c.state = ANY(%(states)s) AND (%(only)s::bigint IS NULL OR c.id = %(only)s)
     GROUP BY c.id / %(block)s
"""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which open calls are wanted: by state, manager's public id, asset held or owed, NOBODY's or MINE; "" is any."""

    state: str = ""
    manager: str = ""
    asset: str = ""
    taken: str = ""


@dataclass(frozen=True, slots=True)
class Pressing:
    """
    One open call and what it ranks by.

    `minutes` and `loss_usd` are of `risk.engine.urgency`, `by_clock` says which of clock and market ends first. Floats
    rank and are shown rounded; nothing is decided on them. `ltv` is None while a mark can not be used; `loss_usd` then
    rests on the last GOOD marks. `quality` is the worst of the marks of what the account holds and owes. `sale` is what
    happens instead of the clock once it is over. `cover` is the fall of all collateral after which it is worth no more
    than the debt, as a ratio: below zero it is worth less already; None while LTV is not known or nothing is pledged.
    """

    call: MarginCall
    minutes: float
    by_clock: bool
    loss_usd: Decimal
    ltv: Decimal | None
    quality: Quality
    sale: Sale | None
    cover: Decimal | None

    @property
    def seconds(self) -> int:
        """Return the minutes in seconds, as lengths of time are written."""
        return int(self.minutes * 60)

    @property
    def short(self) -> Decimal | None:
        """Return by how much the debt is above what the collateral is worth, as a ratio; None where it is not."""
        return -self.cover if self.cover is not None and self.cover < 0 else None


@dataclass(frozen=True, slots=True)
class Queue:
    """A page of the queue: its rows, how many calls the filters leave, how many are open, what to filter by."""

    rows: tuple[Pressing, ...]
    page: int
    pages: int
    found: int
    open: int
    states: Mapping[str, int]
    managers: Mapping[str, str]

    @property
    def more(self) -> int:
        """Return how many calls stand behind this page."""
        return max(self.found - self.page * PAGE, 0)


@dataclass(frozen=True, slots=True)
class _Calls:
    """Open calls as columns (C,): keys, index of the state, deadline in epoch seconds or 0, holder or 0."""

    key: IntArray
    account: IntArray
    state: IntArray
    due_at: FloatArray
    period_s: IntArray
    liquidation_ltv: FloatArray
    holder: IntArray
    manager: IntArray


@dataclass(frozen=True, slots=True)
class _Ranks:
    """The columns that rank C calls, and `cover`; `holds` (C, A) says which assets an account holds or owes."""

    minutes: FloatArray
    clock_minutes: FloatArray
    loss: FloatArray
    debt: FloatArray
    ltv: FloatArray
    cover: FloatArray
    quality: IntArray
    holds: BoolArray


def of_open_calls(filters: Filters, market: Market, *, reader: User, page: int = 1, now: datetime) -> Queue:
    """
    Return a page of the queue in a constant number of queries, whatever the number of open calls.

    A page that does not exist is the last one. `reader` is whose calls MINE are.
    """
    calls = _open()
    ranks = _rank(calls, market, now=now)
    managers = {
        str(public_id): (key, name)
        for key, public_id, name in User.objects.filter(managed_clients__isnull=False)
        .distinct()
        .order_by("name")
        .values_list("pk", "public_id", "name")
    }
    manager, _name = managers.get(filters.manager, (_NO_KEY, ""))
    wanted = _wanted(calls, ranks, filters, market, manager=manager, reader=reader)
    order = np.flatnonzero(wanted)[urgency.order(ranks.minutes[wanted], ranks.loss[wanted], ranks.debt[wanted])]
    pages = max(-(-len(order) // PAGE), 1)
    page = min(max(page, 1), pages)
    counts = np.bincount(calls.state, minlength=len(_STATES)).tolist()
    return Queue(
        rows=_rows(calls, ranks, order[(page - 1) * PAGE : page * PAGE].tolist()),
        page=page,
        pages=pages,
        found=len(order),
        open=len(calls.key),
        states={state: count for state, count in zip(_STATES, counts, strict=True) if count},
        managers={public_id: name for public_id, (_key, name) in managers.items()},
    )


def of_call(call: MarginCall, market: Market, *, now: datetime) -> Pressing | None:
    """Return the row of one call; None once it is closed."""
    calls = _open(call)
    found = _rows(calls, _rank(calls, market, now=now), list(range(len(calls.key))))
    return found[0] if found else None


def _open(only: MarginCall | None = None) -> _Calls:
    params = {"states": list(_STATES), "only": only.pk if only else None, "block": BLOCK}
    return _Calls(*arrays(_OPEN, params, "iiififii"))


def _rank(calls: _Calls, market: Market, *, now: datetime) -> _Ranks:
    """Return what ranks some calls, from their accounts as they stand and the marks of now."""
    asset_ids = np.array([asset.pk for asset in market.assets], dtype=np.int64)
    keys = np.sort(calls.account)
    rows, _stored, _switch_at = read(SHARDS, keys, asset_ids, reference=now)
    price, quality, volatility = _of_assets(market)
    pledge, debt = np.searchsorted(keys, rows.pledge_account), np.searchsorted(keys, rows.debt_account)
    value = rows.pledge_quantity * price[rows.pledge_asset]
    weighted = value * rows.pledge_weight
    sold_for = value * (1.0 - urgency.adverse_move(volatility)[rows.pledge_asset])
    holds = np.zeros((len(keys), len(asset_ids)), dtype=np.bool_)
    holds[pledge, rows.pledge_asset] = True
    holds[debt, rows.debt_asset] = True
    worst = np.where(holds, quality, 0).max(axis=1, initial=0)
    owed = _sums(debt, rows.debt_amount * price[rows.debt_asset], len(keys))
    with np.errstate(divide="ignore", invalid="ignore"):
        ltv = np.where(owed > 0.0, owed / _sums(pledge, weighted, len(keys)), 0.0)
        cover = 1.0 - owed / _sums(pledge, value, len(keys))
    unusable = worst > _QUALITIES.index(Quality.DEGRADED)
    ltv[unusable] = np.nan
    cover[unusable | ~np.isfinite(cover)] = np.nan
    moves = urgency.account_volatility(weighted, pledge, volatility[rows.pledge_asset], accounts=len(keys))
    loss = urgency.expected_loss(owed, _sums(pledge, sold_for, len(keys)))
    clock_s = _clock_s(calls, now=now)
    at = np.searchsorted(keys, calls.account)
    return _Ranks(
        minutes=urgency.minutes_to_breach(ltv[at], calls.liquidation_ltv, moves[at], clock_s),
        clock_minutes=np.maximum(clock_s / 60.0, 0.0),
        loss=loss[at],
        debt=owed[at],
        ltv=ltv[at],
        cover=cover[at],
        quality=worst[at],
        holds=holds[at],
    )


def _sums(index: IntArray, value: FloatArray, count: int) -> FloatArray:
    return np.bincount(index, weights=value, minlength=count).astype(np.float64)


def _of_assets(market: Market) -> tuple[FloatArray, IntArray, FloatArray]:
    """Return price, quality's index and daily volatility by asset: the last GOOD price where a mark is not usable."""
    prices, qualities = [], []
    for asset in market.assets:
        price = market.marks.price(asset.code) or market.marks.last_good(asset.code)
        prices.append(float(price) if price is not None else 0.0)
        qualities.append(_QUALITIES.index(Quality(market.marks.quality(asset.code))))
    volatility = [float(market.volatility(asset)) for asset in market.assets]
    return np.array(prices), np.array(qualities, dtype=np.int64), np.array(volatility)


def _clock_s(calls: _Calls, *, now: datetime) -> FloatArray:
    """Return the seconds left to cure: none once a call is in sale, the whole period before it was received."""
    left = np.where(calls.due_at > 0.0, calls.due_at - now.timestamp(), calls.period_s)
    return np.where(np.isin(calls.state, _IN_SALE), 0.0, left)


def _wanted(calls: _Calls, ranks: _Ranks, filters: Filters, market: Market, *, manager: int, reader: User) -> BoolArray:
    """Return which calls the filters leave; a name that nobody knows leaves none."""
    wanted = np.ones(len(calls.key), dtype=np.bool_)
    if filters.state:
        wanted &= calls.state == (_STATES.index(filters.state) if filters.state in _STATES else _NO_KEY)
    if filters.manager:
        wanted &= calls.manager == manager
    if filters.taken:
        wanted &= calls.holder == {NOBODY: 0, MINE: reader.pk}.get(filters.taken, _NO_KEY)
    if filters.asset:
        codes = [asset.code for asset in market.assets]
        wanted &= ranks.holds[:, codes.index(filters.asset)] if filters.asset in codes else False
    return wanted


def _rows(calls: _Calls, ranks: _Ranks, places: Sequence[int]) -> tuple[Pressing, ...]:
    """Return the rows of some calls, read whole in one query."""
    found = sales.with_sales(MarginCall.objects).select_related(
        "client__relationship_manager", "cure_asset", "claimed_by"
    )
    keys = calls.key[places].tolist() if places else []
    by_key = found.in_bulk(keys)
    return tuple(
        Pressing(
            call=by_key[key],
            minutes=float(ranks.minutes[place]),
            by_clock=bool(ranks.minutes[place] == ranks.clock_minutes[place]),
            loss_usd=Decimal(round(float(ranks.loss[place]))),
            ltv=_ratio(ranks.ltv[place]),
            quality=_QUALITIES[int(ranks.quality[place])],
            sale=sales.of(by_key[key]),
            cover=_ratio(ranks.cover[place]),
        )
        for key, place in zip(keys, places, strict=True)
        if key in by_key
    )


def _ratio(value: float) -> Decimal | None:
    return None if np.isnan(value) else Decimal(f"{value:.6f}")

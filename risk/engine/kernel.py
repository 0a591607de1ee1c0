"""
The warm book: a whole book of margin accounts laid out so that one pass over memory screens it at new prices.

Accounts are grouped by their number of pledges; inside a group quantities lie slot by slot, so that a block of
accounts is a handful of dense multiplications. Floats only screen here: a slack makes the screen select too much,
never too little, and every account it selects is decided again in `risk.engine.ladder`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from risk.engine.arrays import BoolArray, FloatArray, IntArray, ShapeMismatch, StateArray, same_length

BLOCK = 8192
# Conversions and sums of positive terms err by less than 1e-13; a billionth leaves room to spare.
RELATIVE_SLACK = 1e-9
# The exact payoff rounds the pending interest of every loan up, the screen does not: a dollar covers a hundred loans.
ABSOLUTE_SLACK_USD = 1.0
UNKNOWN_RUNG = -1
_NO_DEBT_IS_LOWER = -1.0
_NO_LEVEL_ABOVE = 1e30


@dataclass(frozen=True)
class FlatBook:
    """
    A book as it is loaded: L accounts, N debts, P pledges, A assets, K ladder levels.

    Parameters
    ----------
    levels : float64 (K, L)
        LTV levels of each account in rising order, inf where it has fewer than K.
    rung : int8 (L,)
        Levels exceeded when the account was last decided; UNKNOWN_RUNG if it was UNKNOWN or never decided.
    debt_account, debt_asset : int64 (N,)
        Account in [0, L) and asset in [0, A) of each debt.
    debt_amount : float64 (N,)
        Payoff amount at `elapsed_s` = 0 in units of the debt asset.
    debt_per_s : float64 (N,)
        Interest that accrues per second of platform time, in units of the debt asset.
    pledge_account, pledge_asset : int64 (P,)
        Account and asset of each pledge.
    pledge_quantity : float64 (P,)
        Asset units that count.
    pledge_weight : float64 (P,)
        1 - haircut.
    """

    levels: FloatArray
    rung: StateArray
    debt_account: IntArray
    debt_asset: IntArray
    debt_amount: FloatArray
    debt_per_s: FloatArray
    pledge_account: IntArray
    pledge_asset: IntArray
    pledge_quantity: FloatArray
    pledge_weight: FloatArray

    def __post_init__(self) -> None:
        """Raise ShapeMismatch unless the arrays fit."""
        accounts = len(self.rung)
        if self.levels.ndim != 2 or self.levels.shape[1] != accounts:
            raise ShapeMismatch(f"levels has shape {self.levels.shape}, expected (K, {accounts})")
        debts, pledges = len(self.debt_account), len(self.pledge_account)
        same_length(debts, debt_asset=self.debt_asset, debt_amount=self.debt_amount, debt_per_s=self.debt_per_s)
        same_length(
            pledges,
            pledge_asset=self.pledge_asset,
            pledge_quantity=self.pledge_quantity,
            pledge_weight=self.pledge_weight,
        )
        for name in ("debt_account", "pledge_account"):
            index = getattr(self, name)
            if len(index) and (index.min() < 0 or index.max() >= accounts):
                raise ShapeMismatch(f"{name} is outside [0, {accounts})")


@dataclass(frozen=True)
class Group:
    """Accounts [start, stop) of the warm order, each with k pledges: weighted quantity and asset, both (k, n)."""

    start: int
    stop: int
    quantity: FloatArray
    asset: NDArray[np.int32]


@dataclass(frozen=True)
class WarmBook:
    """
    A flat book in warm order: accounts sorted by their number of pledges.

    `order[i]` is the flat index of warm account i. The first debt of an account stands in dense arrays; further
    debts (a pool that owes two assets) are a short list beside them. `down` and `up` are the LTV levels at which the
    account leaves its rung, already widened by the slack.
    """

    order: IntArray
    groups: tuple[Group, ...]
    debt_asset: NDArray[np.int32]
    debt_amount: FloatArray
    debt_per_s: FloatArray
    more_account: IntArray
    more_asset: IntArray
    more_amount: FloatArray
    more_per_s: FloatArray
    levels: FloatArray
    rung: StateArray
    down: FloatArray
    up: FloatArray

    @property
    def accounts(self) -> int:
        """Return L."""
        return len(self.order)

    @property
    def nbytes(self) -> int:
        """Return the bytes that valuing the collateral and the debt must read."""
        read = sum(group.quantity.nbytes + group.asset.nbytes for group in self.groups)
        return read + self.debt_amount.nbytes + self.debt_asset.nbytes

    @cached_property
    def position(self) -> IntArray:
        """Return the warm position of each flat account."""
        position = np.empty_like(self.order)
        position[self.order] = np.arange(self.accounts)
        return position

    @cached_property
    def idle(self) -> IntArray:
        """Return the warm positions of the accounts that owe nothing, now or later."""
        idle: IntArray = np.flatnonzero((self.debt_amount == 0.0) & (self.debt_per_s == 0.0))
        return idle

    def settled(self) -> IntArray:
        """Return the warm positions of idle accounts that are decided: no price moves them off the lowest rung."""
        settled: IntArray = self.idle[self.rung[self.idle] == 0]
        return settled


def warm(flat: FlatBook) -> WarmBook:
    """Return the warm layout of a flat book; pledges and debts of quantity zero are left out."""
    held = np.flatnonzero(flat.pledge_quantity != 0.0)
    count = np.bincount(flat.pledge_account[held], minlength=len(flat.rung))
    order = np.argsort(count, kind="stable").astype(np.int64)
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    by_account = held[np.argsort(position[flat.pledge_account[held]], kind="stable")]
    weighted = flat.pledge_quantity[by_account] * flat.pledge_weight[by_account]
    asset = flat.pledge_asset[by_account].astype(np.int32)
    rung = flat.rung[order]
    levels = np.ascontiguousarray(flat.levels[:, order])
    down, up = _watch(levels, rung)
    return WarmBook(
        order, tuple(_groups(count[order], weighted, asset)), *_debts(flat, position), levels, rung, down, up
    )


def _groups(count: IntArray, weighted: FloatArray, asset: NDArray[np.int32]) -> Iterator[Group]:
    """Yield the groups of accounts with equal numbers of pledges, from pledges in warm order."""
    offset = 0
    for k in np.unique(count):
        start, stop = int(np.searchsorted(count, k, "left")), int(np.searchsorted(count, k, "right"))
        size = int(k) * (stop - start)
        shape = (stop - start, int(k))
        yield Group(
            start,
            stop,
            np.ascontiguousarray(weighted[offset : offset + size].reshape(shape).T),
            np.ascontiguousarray(asset[offset : offset + size].reshape(shape).T),
        )
        offset += size


def _debts(
    flat: FlatBook, position: IntArray
) -> tuple[NDArray[np.int32], FloatArray, FloatArray, IntArray, IntArray, FloatArray, FloatArray]:
    """Return the dense first debts and the list of further debts, both by warm account."""
    owed = np.flatnonzero((flat.debt_amount != 0.0) | (flat.debt_per_s != 0.0))
    account = position[flat.debt_account[owed]]
    by_account = np.argsort(account, kind="stable")
    owed, account = owed[by_account], account[by_account]
    first = np.ones(len(account), dtype=np.bool_)
    first[1:] = account[1:] != account[:-1]
    asset = np.zeros(len(flat.rung), dtype=np.int32)
    amount, per_s = np.zeros(len(flat.rung)), np.zeros(len(flat.rung))
    asset[account[first]] = flat.debt_asset[owed[first]]
    amount[account[first]] = flat.debt_amount[owed[first]]
    per_s[account[first]] = flat.debt_per_s[owed[first]]
    rest = owed[~first]
    return (
        asset,
        amount,
        per_s,
        account[~first],
        flat.debt_asset[rest],
        flat.debt_amount[rest],
        flat.debt_per_s[rest],
    )


def _watch(levels: FloatArray, rung: StateArray) -> tuple[FloatArray, FloatArray]:
    """Return the widened levels below and above each account's rung; an UNKNOWN rung is always left."""
    k, accounts = levels.shape
    column = np.arange(accounts)
    padded = np.vstack([np.full(accounts, _NO_DEBT_IS_LOWER), levels, np.full(accounts, _NO_LEVEL_ABOVE)])
    np.minimum(padded, _NO_LEVEL_ABOVE, out=padded)
    known = np.clip(rung, 0, k)
    down, up = padded[known, column], padded[known + 1, column]
    down = np.where(down > 0.0, down * (1.0 + RELATIVE_SLACK), down)
    up *= 1.0 - RELATIVE_SLACK
    up[rung == UNKNOWN_RUNG] = _NO_DEBT_IS_LOWER
    return down, up


def decided(book: WarmBook, account: IntArray, rung: StateArray) -> None:
    """Note the rungs that some accounts (flat indices) were decided to be on, in place."""
    at = book.position[account]
    book.rung[at] = rung
    book.down[at], book.up[at] = _watch(np.ascontiguousarray(book.levels[:, at]), book.rung[at])


def part(book: WarmBook, at: IntArray) -> WarmBook:
    """Return some accounts of a book, by their warm positions in rising order, as a small book of their own."""
    groups = []
    for group in book.groups:
        start, stop = (int(end) for end in np.searchsorted(at, [group.start, group.stop]))
        inside = at[start:stop] - group.start
        quantity, asset = group.quantity.take(inside, axis=1), group.asset.take(inside, axis=1)
        groups.append(Group(start, stop, quantity, asset))
    place = np.searchsorted(at, book.more_account)
    more = np.flatnonzero(np.append(at, -1)[place] == book.more_account)
    return WarmBook(
        book.order[at],
        tuple(groups),
        book.debt_asset[at], book.debt_amount[at], book.debt_per_s[at],
        place[more], book.more_asset[more], book.more_amount[more], book.more_per_s[more],
        book.levels[:, at], book.rung[at], book.down[at], book.up[at],
    )  # fmt: skip


def collateral(book: WarmBook, price: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """
    Return the weighted collateral value of every account in warm order.

    Parameters
    ----------
    book : WarmBook
    price : float64 (A,)
        USD per unit; NaN where the asset has no usable mark.
    out : float64 (L,), optional
        Where to put the answer.

    Returns
    -------
    value : float64 (L,), USD; NaN for an account that holds an asset without a usable mark.
    """
    value = np.empty(book.accounts) if out is None else out
    part = np.empty(BLOCK)
    for group in book.groups:
        slots, size = group.quantity.shape
        if slots == 0:
            value[group.start : group.stop] = 0.0
            continue
        for start in range(0, size, BLOCK):
            stop = min(start + BLOCK, size)
            total, piece = value[group.start + start : group.start + stop], part[: stop - start]
            np.take(price, group.asset[0, start:stop], out=total, mode="clip")
            np.multiply(total, group.quantity[0, start:stop], out=total)
            for slot in range(1, slots):
                np.take(price, group.asset[slot, start:stop], out=piece, mode="clip")
                np.multiply(piece, group.quantity[slot, start:stop], out=piece)
                np.add(total, piece, out=total)
    return value


def debt(book: WarmBook, price: FloatArray, *, elapsed_s: float = 0.0, out: FloatArray | None = None) -> FloatArray:
    """Return the debt of every account in USD in warm order, with interest for some seconds since the load."""
    owed = np.empty(book.accounts) if out is None else out
    part = np.empty(BLOCK)
    for start in range(0, book.accounts, BLOCK):
        stop = min(start + BLOCK, book.accounts)
        total, piece = owed[start:stop], part[: stop - start]
        np.take(price, book.debt_asset[start:stop], out=total, mode="clip")
        if elapsed_s:
            np.multiply(book.debt_per_s[start:stop], elapsed_s, out=piece)
            np.add(piece, book.debt_amount[start:stop], out=piece)
            np.multiply(total, piece, out=total)
        else:
            np.multiply(total, book.debt_amount[start:stop], out=total)
    if len(book.more_account):
        more = (book.more_amount + book.more_per_s * elapsed_s) * price[book.more_asset]
        np.add.at(owed, book.more_account, more)
    return owed


def rungs(book: WarmBook, value: FloatArray, owed: FloatArray) -> StateArray:
    """Return how many of its levels every account's debt exceeds, by debt > level x value, in warm order."""
    count = np.zeros(book.accounts, dtype=np.int8)
    for start in range(0, book.accounts, BLOCK):
        stop = min(start + BLOCK, book.accounts)
        for level in book.levels:
            count[start:stop] += (owed[start:stop] > level[start:stop] * value[start:stop]).view(np.int8)
    return count


def screen(book: WarmBook, price: FloatArray, *, elapsed_s: float = 0.0) -> IntArray:
    """
    Return the accounts whose rung may differ from the one they were last decided on.

    Selects too much, never too little: whoever is not returned has, in exact arithmetic, the rung it had. An account
    whose rung is UNKNOWN, and one with debt and NaN in its value or debt, are always returned.

    Parameters
    ----------
    book : WarmBook
    price : float64 (A,)
        USD per unit; NaN where the asset has no usable mark.
    elapsed_s : float
        Platform seconds since the book's debts were computed.

    Returns
    -------
    account : int64 (C,), flat indices in rising order.
    """
    return leaving(book, collateral(book, price), debt(book, price, elapsed_s=elapsed_s))


def leaving(book: WarmBook, value: FloatArray, owed: FloatArray) -> IntArray:
    """Return what `screen` does for collateral values and debts (L,) in USD, in warm order, that are computed."""
    return _flat(book, _leaves(book, value, value, owed, owed))


def screen_bounded(book: WarmBook, low: FloatArray, high: FloatArray, *, elapsed_s: float = 0.0) -> IntArray:
    """
    Return the accounts whose bounded state may differ from the last decision while some marks are not usable.

    The worst end takes collateral at `low` and debt at `high`, the best end the other way round. A known account is
    returned if either end may leave its rung; an UNKNOWN one if both ends may agree again. Over-selects only.

    Parameters
    ----------
    book : WarmBook
    low, high : float64 (A,)
        Ends of each asset's band; equal where the mark is usable. An unbounded end is inf.
    elapsed_s : float

    Returns
    -------
    account : int64 (C,), flat indices in rising order.
    """
    with np.errstate(invalid="ignore"):
        worst_value, best_value = collateral(book, low), collateral(book, high)
        worst_debt = debt(book, high, elapsed_s=elapsed_s)
        best_debt = debt(book, low, elapsed_s=elapsed_s)
        candidate = _leaves(book, worst_value, best_value, worst_debt, best_debt)
        unknown = book.rung == UNKNOWN_RUNG
        worst = rungs(book, worst_value, worst_debt * (1.0 - RELATIVE_SLACK) - ABSOLUTE_SLACK_USD)
        best = rungs(book, best_value, best_debt * (1.0 + RELATIVE_SLACK) + ABSOLUTE_SLACK_USD)
    candidate[unknown] = (worst <= best)[unknown]
    return _flat(book, candidate)


def _leaves(
    book: WarmBook, worst_value: FloatArray, best_value: FloatArray, worst_debt: FloatArray, best_debt: FloatArray
) -> BoolArray:
    """Return which accounts may be above their upper or at or below their lower watch level; NaN counts as leaving."""
    leaves = np.empty(book.accounts, dtype=np.bool_)
    bound, owed, stays = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK, dtype=np.bool_)
    for start in range(0, book.accounts, BLOCK):
        stop = min(start + BLOCK, book.accounts)
        size = stop - start
        block = leaves[start:stop]
        np.multiply(book.up[start:stop], worst_value[start:stop], out=bound[:size])
        np.add(worst_debt[start:stop], ABSOLUTE_SLACK_USD, out=owed[:size])
        np.less_equal(owed[:size], bound[:size], out=block)
        np.multiply(book.down[start:stop], best_value[start:stop], out=bound[:size])
        np.subtract(best_debt[start:stop], ABSOLUTE_SLACK_USD, out=owed[:size])
        np.greater(owed[:size], bound[:size], out=stays[:size])
        np.logical_and(block, stays[:size], out=block)
        np.logical_not(block, out=block)
    # Nothing owed and nothing held satisfies neither comparison, and stays where it is for good.
    leaves[book.settled()] = False
    return leaves


def _flat(book: WarmBook, candidate: BoolArray) -> IntArray:
    """Return the sorted flat indices of the marked warm accounts."""
    return np.sort(book.order[np.flatnonzero(candidate)])

"""
The distance-to-threshold index: which accounts a small move of prices can possibly take off their rung.

At an anchor every account has a stretch: the factor by which its LTV must grow to leave its rung upwards, or shrink to
leave it downwards. While every price stays within [a, b] of the anchor's, no LTV has changed by a factor outside what
a, b and the interest since then allow, so only accounts with a stretch in that interval can have moved. They lie side
by side in an array sorted by stretch: two binary searches find them, and each is then judged as the full screen of
`risk.engine.kernel` judges it, by the same comparison on the same bits. The answer is the full screen's answer.

Accounts about which the stretch says nothing are aside, and are judged at every tick: those that leave already at the
anchor, those decided onto another rung since, those that hold or owe an asset without a usable mark.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from risk.engine import kernel
from risk.engine.arrays import BoolArray, FloatArray, IntArray
from risk.engine.kernel import ABSOLUTE_SLACK_USD, BLOCK, RELATIVE_SLACK, WarmBook

WIDEST = 1.05  # accounts further from a level than this factor are not kept
MOST_KEPT = 0.06  # as shares of the book: of the nearest accounts are kept,
MOST_JUDGED = 0.03  # and judged at one tick, before the book is anchored anew
FEW = 512  # so many may always be, however small the book
LONGEST_S = 60.0
# A debt shrinks with the price of its asset, the slack of a dollar does not: the second dollar makes up for it.
_LOWER_SLACK_USD = 2.0 * ABSOLUTE_SLACK_USD


@dataclass(frozen=True)
class Anchor:
    """
    What an anchor knows: N near accounts in order of their stretch, with P pledges side by side in the same order.

    Parameters
    ----------
    price : float64 (A,)
        USD per unit at the anchor; NaN where the asset had no usable mark.
    elapsed_s : float
        The anchor's instant.
    widest : float
        A factor of LTV, above 1: whoever needs less to leave its rung, up or down, is kept.
    stretch : float64 (N,)
        Rising; above 1 for a level above, below 1 for one below. An account near both comes twice.
    at : int64 (N,)
        Warm positions.
    offset : int64 (N + 1,)
        Pledges [offset[n], offset[n + 1]) belong to the n-th account.
    """

    price: FloatArray
    elapsed_s: float
    widest: float
    stretch: FloatArray
    at: IntArray
    offset: IntArray
    owner: IntArray
    asset: NDArray[np.int32]
    quantity: FloatArray
    debt_asset: NDArray[np.int32]
    debt_amount: FloatArray
    debt_per_s: FloatArray
    more_owner: IntArray
    more: IntArray
    up: FloatArray
    down: FloatArray


@dataclass
class Nearest:
    """
    A warm book and the index over it, which is anchored when first asked and whenever it no longer helps.

    `aside` (L,) marks the accounts that are judged at every tick, `part` is the book of these; `unusable` (A,) marks
    the assets that have put accounts there, `held` and `owed` are the others that the book holds and owes. No debt
    grows by more than `growth_per_s` of itself in a second. `judged` says how many accounts the last tick looked at.
    """

    book: WarmBook
    anchor: Anchor | None = None
    judged: int = 0
    aside: BoolArray = field(init=False)
    unusable: BoolArray = field(init=False)
    held: IntArray = field(init=False)
    owed: IntArray = field(init=False)
    growth_per_s: float = field(init=False)
    part: WarmBook | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Look once at what no tick changes."""
        book = self.book
        self.aside = np.ones(book.accounts, dtype=np.bool_)
        self.held = _named(group.asset.ravel() for group in book.groups)
        self.owed = _named((book.debt_asset, book.more_asset))
        self.unusable = np.zeros(int(max(self.held.max(initial=0), self.owed.max(initial=0))) + 1, dtype=np.bool_)
        self.growth_per_s = _growth(book)

    @property
    def most(self) -> int:
        """Return how many accounts may be judged before a new anchor is cheaper."""
        return max(FEW, int(MOST_JUDGED * self.book.accounts))


def screen(index: Nearest, low: FloatArray, high: FloatArray, *, elapsed_s: float = 0.0) -> IntArray:
    """
    Return exactly the accounts that the full screen returns, looking at few of them while prices have moved little.

    Parameters
    ----------
    index : Nearest
    low, high : float64 (A,)
        Ends of each asset's band, as `kernel.screen_bounded` takes them; where all are equal (NaN to NaN included),
        the answer is that of `kernel.screen`.
    elapsed_s : float
        Platform seconds since the book's debts were computed.

    Returns
    -------
    account : int64 (C,), flat indices in rising order.
    """
    unusable = ~((low == high) & (low > 0.0) & (low < np.inf))
    bounded = bool(unusable.any()) and not np.array_equal(low, high, equal_nan=True)
    if index.anchor is not None:
        found = _from_anchor(index, index.anchor, low, high, unusable, bounded, elapsed_s)
        if found is not None:
            return found
    price = np.where(unusable, np.nan, low)
    value = kernel.collateral(index.book, price)
    owed = kernel.debt(index.book, price, elapsed_s=elapsed_s)
    _anchor(index, price, unusable, value, owed, elapsed_s)
    index.judged = index.book.accounts
    if bounded or (unusable & ~np.isnan(low)).any():
        return _judged(index.book, low, high, bounded, elapsed_s)
    return kernel.leaving(index.book, value, owed)


def decided(index: Nearest, account: IntArray, rung: NDArray[np.int8]) -> None:
    """Note the rungs that some accounts (flat indices) were decided to be on, in the book and in the index."""
    at = index.book.position[account]
    moved = at[index.book.rung[at] != rung]
    kernel.decided(index.book, account, rung)
    if index.anchor is not None and len(moved):
        index.aside[moved] = True
        index.part = None


def _judged(book: WarmBook, low: FloatArray, high: FloatArray, bounded: bool, elapsed_s: float) -> IntArray:
    """Return the full screen's answer for a book, or for a part of one."""
    if bounded:
        return kernel.screen_bounded(book, low, high, elapsed_s=elapsed_s)
    return kernel.screen(book, low, elapsed_s=elapsed_s)


def _from_anchor(
    index: Nearest,
    anchor: Anchor,
    low: FloatArray,
    high: FloatArray,
    unusable: BoolArray,
    bounded: bool,
    elapsed_s: float,
) -> IntArray | None:
    """Return the screen's answer by way of the anchor, or None where another anchor is needed."""
    age_s = elapsed_s - anchor.elapsed_s
    if anchor.elapsed_s < 0.0 or not 0.0 <= age_s <= LONGEST_S or len(low) != len(anchor.price):
        return None
    if not np.array_equal(unusable, index.unusable) and not _set_aside(index, anchor, unusable):
        return None
    lowest, highest = _reach(index, anchor, low, age_s)
    if not 1.0 / anchor.widest < lowest <= highest < anchor.widest:
        return None
    start, stop = (int(end) for end in np.searchsorted(anchor.stretch, (lowest, highest)))
    if index.part is None:
        index.part = kernel.part(index.book, np.flatnonzero(index.aside))
    index.judged = stop - start + index.part.accounts
    if index.judged > index.most:
        return None
    leaves = anchor.at[start:stop][_leaves(anchor, index.book, low, elapsed_s, start, stop)]
    near = index.book.order[leaves[~index.aside[leaves]]]
    apart = _judged(index.part, low, high, bounded, elapsed_s)
    account: IntArray = np.sort(np.concatenate((near, apart)))
    # An account between two levels that are near each other comes twice.
    once: IntArray = account[np.concatenate((account[:1] >= 0, account[1:] != account[:-1]))]
    return once


def _reach(index: Nearest, anchor: Anchor, price: FloatArray, age_s: float) -> tuple[float, float]:
    """
    Return the factors between which the LTV of every account that is not aside has changed since the anchor.

    Value and debt are sums of terms that are not negative, so each has changed by a factor between the least and the
    largest of its assets' own; the dollar of slack counts as a debt whose price stands still.
    """
    moved = price / anchor.price
    worth, owed = (moved[assets[~index.unusable[assets]]] for assets in (index.held, index.owed))
    grown = 1.0 + index.growth_per_s * age_s
    highest = max(1.0, owed.max(initial=1.0) * grown) / worth.min(initial=1.0)
    lowest = owed.min(initial=1.0) / worth.max(initial=1.0)
    return float(lowest) * (1.0 - RELATIVE_SLACK), float(highest) * (1.0 + RELATIVE_SLACK)


def _leaves(anchor: Anchor, book: WarmBook, price: FloatArray, elapsed_s: float, start: int, stop: int) -> BoolArray:
    """Return which near accounts [start, stop) leave their rung: the kernel's arithmetic in the kernel's order."""
    first, last = int(anchor.offset[start]), int(anchor.offset[stop])
    worth = np.take(price, anchor.asset[first:last], mode="clip")
    worth *= anchor.quantity[first:last]
    value = np.bincount(anchor.owner[first:last] - start, weights=worth, minlength=stop - start)
    owed = anchor.debt_per_s[start:stop] * elapsed_s
    owed += anchor.debt_amount[start:stop]
    owed *= np.take(price, anchor.debt_asset[start:stop], mode="clip")
    if len(anchor.more):
        first, last = (int(end) for end in np.searchsorted(anchor.more_owner, (start, stop)))
        more = anchor.more[first:last]
        amount = (book.more_amount[more] + book.more_per_s[more] * elapsed_s) * price[book.more_asset[more]]
        np.add.at(owed, anchor.more_owner[first:last] - start, amount)
    stays: BoolArray = owed + ABSOLUTE_SLACK_USD <= anchor.up[start:stop] * value
    stays &= owed - ABSOLUTE_SLACK_USD > anchor.down[start:stop] * value
    return ~stays


def _set_aside(index: Nearest, anchor: Anchor, unusable: BoolArray) -> bool:
    """Put the accounts of assets without a usable mark aside; return False if the anchor can not do without one."""
    if (np.isnan(anchor.price) & ~unusable).any():
        return False
    book = index.book
    touched = index.aside
    for group in book.groups:
        if len(group.quantity):
            touched[group.start : group.stop] |= unusable[group.asset].any(axis=0)
    touched |= unusable[book.debt_asset]
    touched[book.more_account[unusable[book.more_asset]]] = True
    touched[book.settled()] = False
    index.unusable, index.part = unusable, None
    return True


def _anchor(
    index: Nearest, price: FloatArray, unusable: BoolArray, value: FloatArray, owed: FloatArray, elapsed_s: float
) -> None:
    """Anchor the index at prices, with the values and debts (L,) that they give, NaN where a mark is not usable."""
    book = index.book
    index.aside = np.empty(book.accounts, dtype=np.bool_)
    # A dense book kept less last time: what is further away than half as much again would be thrown away anew.
    widest = WIDEST if index.anchor is None else min(WIDEST, 1.0 + 1.5 * (index.anchor.widest - 1.0))
    at, stretch = _stretches(book, value, owed, index.aside, widest)
    index.aside[book.settled()] = False
    factor = np.maximum(stretch, 1.0 / stretch)
    kept = max(FEW, int(MOST_KEPT * book.accounts))
    if len(at) > kept:
        widest = float(np.partition(factor, kept)[kept])
        inside = factor < widest
        at, stretch = at[inside], stretch[inside]
    by_stretch = np.argsort(stretch)
    at, stretch = at[by_stretch], stretch[by_stretch]
    offset, owner, asset, quantity = _pledges(book, at)
    first, last = np.searchsorted(book.more_account, at), np.searchsorted(book.more_account, at, "right")
    index.anchor = Anchor(
        price=price,
        elapsed_s=elapsed_s,
        widest=widest,
        stretch=stretch,
        at=at,
        offset=offset,
        owner=owner,
        asset=asset,
        quantity=quantity,
        debt_asset=book.debt_asset[at],
        debt_amount=book.debt_amount[at],
        debt_per_s=book.debt_per_s[at],
        more_owner=np.repeat(np.arange(len(at)), last - first),
        more=_ranges(first, last),
        up=book.up[at],
        down=book.down[at],
    )
    index.unusable, index.part = unusable, None


def _stretches(
    book: WarmBook, value: FloatArray, owed: FloatArray, aside: BoolArray, widest: float
) -> tuple[IntArray, FloatArray]:
    """Return warm positions and stretches of the accounts near a level, and note who must be aside."""
    positions, stretches = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for start in range(0, book.accounts, BLOCK):
            span = slice(start, start + BLOCK)
            rise = book.up[span] * value[span] / (owed[span] + ABSOLUTE_SLACK_USD)
            fall = book.down[span] * value[span] / (owed[span] - _LOWER_SLACK_USD)
            # Dust, and whatever is NaN, inside its slack or over its level, fails one of these.
            told = (owed[span] > _LOWER_SLACK_USD) & (rise > 1.0) & (fall < 1.0)
            aside[span] = ~told
            for stretch, near in ((rise, told & (rise < widest)), (fall, told & (fall > 1.0 / widest))):
                here = np.flatnonzero(near)
                positions.append(here + start)
                stretches.append(stretch[here])
    return np.concatenate(positions), np.concatenate(stretches)


def _pledges(book: WarmBook, at: IntArray) -> tuple[IntArray, IntArray, NDArray[np.int32], FloatArray]:
    """Return offsets, owners, assets and weighted quantities of some accounts' pledges, slot by slot, side by side."""
    starts = np.array([group.start for group in book.groups], dtype=np.int64)
    slots = np.array([len(group.quantity) for group in book.groups], dtype=np.int64)
    of_group = np.searchsorted(starts, at, "right") - 1
    count = slots[of_group]
    offset = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(count)))
    asset, quantity = np.empty(offset[-1], dtype=np.int32), np.empty(offset[-1])
    for number, group in enumerate(book.groups):
        members = np.flatnonzero(of_group == number)
        inside, place = at[members] - group.start, offset[members]
        for slot in range(len(group.quantity)):
            asset[place + slot] = group.asset[slot, inside]
            quantity[place + slot] = group.quantity[slot, inside]
    return offset, np.repeat(np.arange(len(at)), count), asset, quantity


def _growth(book: WarmBook) -> float:
    """Return the largest fraction of itself by which a debt grows in a second; inf if one grows from nothing."""
    fastest = 0.0
    for amount, per_s in ((book.debt_amount, book.debt_per_s), (book.more_amount, book.more_per_s)):
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = per_s / amount
        fastest = max(fastest, float(np.max(rate, initial=0.0, where=per_s > 0.0)))
    return fastest


def _named(columns: Iterable[NDArray[np.integer]]) -> IntArray:
    """Return the assets that some columns of asset indices name, in rising order."""
    count = np.zeros(0, dtype=np.int64)
    for column in columns:
        more = np.bincount(column, minlength=len(count))
        more[: len(count)] += count
        count = more
    named: IntArray = np.flatnonzero(count)
    return named


def _ranges(first: IntArray, last: IntArray) -> IntArray:
    """Return first[0] .. last[0] - 1, first[1] .. last[1] - 1 and so on in one array."""
    count = last - first
    before = np.cumsum(count) - count
    ranges: IntArray = np.arange(int(count.sum())) + np.repeat(first - before, count)
    return ranges

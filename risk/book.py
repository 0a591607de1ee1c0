"""
The warm book of a shard group: loaded by a few aggregating queries, kept up by what changed since.

What changes is laid out in a small part of its own beside the large one, so a round costs what has changed and what
prices can have moved, not what the book holds. Once much has changed, the two become one again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from lending.models import Asset, LadderTerms
from risk import rows
from risk.engine import kernel, nearest
from risk.engine.arrays import FloatArray, IntArray
from risk.exposures import ladder_of, watched_levels
from risk.models import MarginState
from risk.prices import Marks
from risk.rows import STATES, Rows, Stored

# The small part may hold so many accounts, and this share of the large one, before they are laid out as one.
LATE_FEW = 1000
LATE_SHARE = 0.01


@dataclass
class Part:
    """Some accounts: their rows, and the same laid out for the kernel with the index over it."""

    rows: Rows
    index: nearest.Nearest

    @property
    def warm(self) -> kernel.WarmBook:
        """Return the layout that the index looks into."""
        return self.index.book

    def rungs(self) -> NDArray[np.int8]:
        """Return what each account was last decided to be on, in the order of the rows."""
        rung = np.empty(len(self.rows.account), dtype=np.int8)
        rung[self.warm.order] = self.warm.rung
        return rung


@dataclass
class Book:
    """
    The margin accounts of some shards, laid out for the kernel.

    `late` holds the accounts that changed since `base` was laid out, as they are now; what `base` says of them no
    longer counts. Debts are computed at `reference` and grow linearly from there until `switch_at`, when the first of
    them takes another rate and the book must be loaded again. `watch` holds accounts that a clock, not a price, may
    move next. `stored` is there until the first round has looked at it.
    """

    shards: tuple[int, ...]
    codes: tuple[str, ...]
    asset_ids: IntArray
    reference: datetime
    xmin: int
    base: Part
    late: Part
    switch_at: datetime | None
    stored: Stored | None
    watch: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)

    @property
    def accounts(self) -> int:
        """Return how many margin accounts the book holds."""
        again = np.isin(self.late.rows.account, self.base.rows.account, assume_unique=True)
        return len(self.base.rows.account) + int(np.count_nonzero(~again))

    @property
    def judged(self) -> int:
        """Return how many accounts the last round's screen had to look at."""
        return self.base.index.judged + self.late.index.judged


def load(shards: Iterable[int], *, now: datetime) -> Book:
    """Return the book of some shards as it stands, in a constant number of queries."""
    parts = tuple(sorted(set(shards)))
    assets = list(Asset.objects.order_by("pk").values_list("pk", "code"))
    xmin, _ids = rows.changed(parts, xmin=None)
    asset_ids = np.array([key for key, _code in assets], dtype=np.int64)
    found, stored, switch_at = rows.read(parts, None, asset_ids, reference=now)
    return Book(
        shards=parts,
        codes=tuple(code for _key, code in assets),
        asset_ids=asset_ids,
        reference=now,
        xmin=xmin,
        base=_part(found, _unknown(found)),
        late=_part(rows.NONE, _unknown(rows.NONE)),
        switch_at=switch_at,
        stored=stored,
        watch=set(found.account[stored.watched == 1].tolist()),
    )


def refresh(book: Book, *, now: datetime) -> Book:
    """
    Return the book with every account that was touched since it was read, and those marked as changed.

    A transaction that was still open then is read again now, so an account may come twice, but none is missed. Once
    merged, the result equals a cold load at the same reference instant.
    """
    if book.switch_at is not None and now >= book.switch_at:
        return load(book.shards, now=now)
    xmin, ids = rows.changed(book.shards, xmin=book.xmin)
    if not len(ids):
        book.xmin = xmin
        book.changed = set()
        return book
    if Asset.objects.count() != len(book.codes):
        return load(book.shards, now=now)
    fresh = reread(book, ids, xmin=xmin)
    most = max(LATE_FEW, int(LATE_SHARE * len(book.base.rows.account)))
    return merged(fresh) if len(fresh.late.rows.account) > most else fresh


def reread(book: Book, ids: IntArray, *, xmin: int) -> Book:
    """Return the book with some accounts read again into its small part, and everything else as it was."""
    fresh, _stored, switch_at = rows.read(book.shards, ids, book.asset_ids, reference=book.reference)
    switches = [at for at in (book.switch_at, switch_at) if at is not None]
    return replace(
        book,
        late=_spliced(book.late, fresh, _unknown(fresh), np.sort(ids)),
        xmin=xmin,
        switch_at=min(switches, default=None),
        changed=set(ids.tolist()),
    )


def merged(book: Book) -> Book:
    """Return the book laid out as one part again."""
    if not len(book.late.rows.account):
        return book
    base = _spliced(book.base, book.late.rows, book.late.rungs(), book.late.rows.account)
    # What the tables said belongs to the rows as they were: whoever was not decided yet is decided exactly.
    return replace(book, base=base, late=_part(rows.NONE, _unknown(rows.NONE)), stored=None)


def candidates(book: Book, marks: Marks, *, now: datetime) -> list[int]:
    """
    Return the keys of the accounts that must be decided exactly: those that a price may have moved to another
    level, those that changed, and those that a clock is running on. Floats select too many, never too few.
    """
    low, high = _price_bands(book, marks)
    elapsed_s = (now - book.reference).total_seconds()
    if book.stored is not None:
        _prime(book.base, book.stored, low, high, elapsed_s=elapsed_s)
        book.stored = None
    moved = [
        part.rows.account[nearest.screen(part.index, low, high, elapsed_s=elapsed_s)] for part in (book.base, book.late)
    ]
    earlier = moved[0][~np.isin(moved[0], book.late.rows.account)]
    return sorted({*earlier.tolist(), *moved[1].tolist(), *book.changed, *book.watch})


def note(book: Book, decided: dict[int, tuple[int, bool]]) -> None:
    """Remember the exact rung of accounts that were decided, and which of them a clock is running on."""
    if not decided:
        return
    keys = np.array(sorted(decided), dtype=np.int64)
    rung = np.array([decided[key][0] for key in keys.tolist()], dtype=np.int8)
    changed = np.isin(keys, book.late.rows.account)
    for part, here in ((book.late, changed), (book.base, ~changed)):
        nearest.decided(part.index, np.searchsorted(part.rows.account, keys[here]), rung[here])
    book.watch.difference_update(decided)
    book.watch.update(key for key, (_rung, watched) in decided.items() if watched)


def _prime(part: Part, stored: Stored, low: FloatArray, high: FloatArray, *, elapsed_s: float) -> None:
    """
    Give every account, as it was read from the tables, the rung that its stored state says, where a float can prove it.

    The rest keeps an UNKNOWN rung, so the first round decides it exactly.
    """
    warm = part.warm
    value = kernel.collateral(warm, low)
    owed = kernel.debt(warm, high, elapsed_s=elapsed_s)
    slack = owed * kernel.RELATIVE_SLACK + kernel.ABSOLUTE_SLACK_USD
    with np.errstate(invalid="ignore"):
        least, most = kernel.rungs(warm, value, owed - slack), kernel.rungs(warm, value, owed + slack)
    certain = np.array_equal(low, high, equal_nan=True) & (least == most) & np.isfinite(value) & np.isfinite(owed)
    flat = np.sort(warm.order[np.flatnonzero(certain)])
    rung = np.empty(warm.accounts, dtype=np.int8)
    rung[warm.order] = least
    proven = flat[_agrees(part.rows.terms[flat], stored.state[flat], rung[flat])]
    nearest.decided(part.index, proven, rung[proven])


def _agrees(terms: IntArray, state: IntArray, rung: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Return for some accounts whether a rung means the margin state that is stored for them."""
    agrees = np.zeros(len(terms), dtype=np.bool_)
    for key, row in LadderTerms.objects.in_bulk(np.unique(terms).tolist()).items():
        agrees |= (terms == key) & (_state_by_rung(row)[rung] == state)
    return agrees


def _state_by_rung(terms: LadderTerms) -> IntArray:
    """Return the state's index for each number of watched levels exceeded; clear_ltv changes no state."""
    ladder = ladder_of(terms)
    state_of_level = dict(reversed(ladder.rungs))
    states, state = [STATES.index(MarginState.HEALTHY)], MarginState.HEALTHY
    for level in watched_levels(ladder):
        state = MarginState(state_of_level.get(level, state).value)
        states.append(STATES.index(state))
    return np.array(states, dtype=np.int64)


def _price_bands(book: Book, marks: Marks) -> tuple[FloatArray, FloatArray]:
    """Return the ends of each asset's price band in the book's order of assets."""
    bands = [marks.band(code) for code in book.codes]
    return np.array([float(band.low) for band in bands]), np.array([float(band.high) for band in bands])


def _part(found: Rows, rung: NDArray[np.int8]) -> Part:
    """Return some rows laid out, with the rungs that their accounts are known to be on."""
    return Part(found, nearest.Nearest(kernel.warm(flat(found, rung))))


def _unknown(found: Rows) -> NDArray[np.int8]:
    """Return the rungs of accounts that were never decided."""
    return np.full(len(found.account), kernel.UNKNOWN_RUNG, dtype=np.int8)


def _spliced(old: Part, new: Rows, new_rung: NDArray[np.int8], ids: IntArray) -> Part:
    """Return the old accounts without some, with the new rows of these in their places, each on its rung."""
    spliced = rows.spliced(old.rows, new, ids)
    rung = np.empty(len(spliced.account), dtype=np.int8)
    rung[np.searchsorted(spliced.account, new.account)] = new_rung
    kept = np.isin(old.rows.account, ids, invert=True)
    rung[np.searchsorted(spliced.account, old.rows.account[kept])] = old.rungs()[kept]
    return _part(spliced, rung)


def flat(rows: Rows, rung: NDArray[np.int8]) -> kernel.FlatBook:
    """Return the rows as the kernel wants them: accounts by position, levels by account."""
    terms = LadderTerms.objects.in_bulk(np.unique(rows.terms).tolist())
    keys = np.array(sorted(terms), dtype=np.int64)
    table = np.array([[float(level) for level in watched_levels(ladder_of(terms[key]))] for key in keys.tolist()])
    levels = table[np.searchsorted(keys, rows.terms)].T if len(rows.account) else np.empty((5, 0))
    return kernel.FlatBook(
        levels=np.ascontiguousarray(levels),
        rung=rung,
        debt_account=np.searchsorted(rows.account, rows.debt_account),
        debt_asset=rows.debt_asset,
        debt_amount=rows.debt_amount,
        debt_per_s=rows.debt_per_s,
        pledge_account=np.searchsorted(rows.account, rows.pledge_account),
        pledge_asset=rows.pledge_asset,
        pledge_quantity=rows.pledge_quantity,
        pledge_weight=rows.pledge_weight,
    )

"""The warm book of a shard group: loaded by a few aggregating queries, kept up by what changed since."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray
from psycopg import Cursor

from lending import interest
from lending.models import Asset, LadderTerms
from risk.engine import kernel
from risk.engine.arrays import FloatArray, IntArray
from risk.exposures import ladder_of, watched_levels
from risk.models import MarginState
from risk.prices import Marks

# PostgreSQL gathers this many accounts into one row of arrays: far fewer rows to receive, none of them large.
BLOCK = 16384
DAY_S = 86_400.0
TRILLION = 1e12
STATES = tuple(MarginState.values)
_ARRAY_HEADER = 20
_WIRE = {"f": np.dtype([("size", ">i4"), ("value", ">f8")]), "i": np.dtype([("size", ">i4"), ("value", ">i8")])}

# The shard of an account is its key % 64, kept so by the database: no join is needed to find it. A numeric that is
# known to fit is sent as a whole number of trillionths: PostgreSQL turns numeric into float by way of text.
_ACCOUNTS = """
    SELECT array_agg(a.id), array_agg(a.terms_id),
           array_agg(coalesce(array_position(%(states)s::text[], s.state::text)::bigint - 1, -1)),
           array_agg((s.clear_since IS NOT NULL OR s.breach_since IS NOT NULL OR EXISTS (
               SELECT FROM risk_margincall c WHERE c.margin_account_id = a.id AND c.closed_at IS NULL
           ))::int::bigint)
      FROM lending_marginaccount a LEFT JOIN risk_marginstatus s ON s.margin_account_id = a.id
     WHERE a.id %% 64 = ANY(%(shards)s) AND (%(ids)s::bigint[] IS NULL OR a.id = ANY(%(ids)s))
     GROUP BY a.id / %(block)s
"""
_PLEDGES = """
    SELECT array_agg(p.margin_account_id), array_agg(p.asset_id),
           array_agg((p.quantity + p.held_quantity)::float8), array_agg((p.haircut * 1000000000000)::bigint)
      FROM lending_pledge p
     WHERE p.margin_account_id %% 64 = ANY(%(shards)s)
       AND (%(ids)s::bigint[] IS NULL OR p.margin_account_id = ANY(%(ids)s))
       AND (p.quantity > 0 OR p.held_quantity > 0)
     GROUP BY p.margin_account_id / %(block)s
"""
# Interest runs from accrued_at, at the default rate from the day after maturity on.
_LOANS = """
    SELECT array_agg(l.margin_account_id), array_agg(l.asset_id),
           array_agg((l.principal_outstanding + l.interest_due + l.fees_due)::float8),
           array_agg(CASE WHEN l.state = ANY(%(accruing)s) THEN l.principal_outstanding ELSE 0 END::float8),
           array_agg((l.annual_rate * 1000000000000)::bigint), array_agg((l.default_rate * 1000000000000)::bigint),
           array_agg(CASE l.day_count WHEN 'ACT/360' THEN 360 ELSE 365 END::bigint),
           array_agg(coalesce(date_part('epoch', l.accrued_at), 0)),
           array_agg((l.maturity_date + 1 - DATE '1970-01-01')::bigint)
      FROM lending_loan l
     WHERE l.margin_account_id %% 64 = ANY(%(shards)s)
       AND (%(ids)s::bigint[] IS NULL OR l.margin_account_id = ANY(%(ids)s))
       AND (l.principal_outstanding > 0 OR l.interest_due > 0 OR l.fees_due > 0)
     GROUP BY l.margin_account_id / %(block)s
"""
# One statement sees one snapshot: whatever it misses has a transaction id at or above the xmin it returns.
_CHANGED = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, array_agg(id)
      FROM lending_marginaccount
     WHERE touched_xid >= %(xmin)s AND shard = ANY(%(shards)s)
"""


class UnableToRead(RuntimeError):
    """The book can not be read from the database."""


@dataclass(frozen=True)
class Rows:
    """The rows of a book, each column sorted by its account (and asset)."""

    account: IntArray
    terms: IntArray
    pledge_account: IntArray
    pledge_asset: IntArray
    pledge_quantity: FloatArray
    pledge_weight: FloatArray
    debt_account: IntArray
    debt_asset: IntArray
    debt_amount: FloatArray
    debt_per_s: FloatArray


@dataclass(frozen=True)
class Stored:
    """What the tables say of each account when it is read: the index of its state, and whether a clock runs on it."""

    state: IntArray
    watched: IntArray


@dataclass
class Book:
    """
    The margin accounts of some shards, laid out for the kernel.

    Debts are computed at `reference` and grow linearly from there until `switch_at`, when the first of them takes
    another rate and the book must be loaded again. `watch` holds accounts that a clock, not a price, may move next.
    """

    shards: tuple[int, ...]
    codes: tuple[str, ...]
    asset_ids: IntArray
    reference: datetime
    xmin: int
    rows: Rows
    warm: kernel.WarmBook
    switch_at: datetime | None
    stored: Stored | None
    watch: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)

    @property
    def accounts(self) -> int:
        """Return how many margin accounts the book holds."""
        return len(self.rows.account)


def load(shards: Iterable[int], *, now: datetime) -> Book:
    """Return the book of some shards as it stands, in a constant number of queries."""
    parts = tuple(sorted(set(shards)))
    assets = list(Asset.objects.order_by("pk").values_list("pk", "code"))
    xmin, _ids = _changed(parts, xmin=None)
    asset_ids = np.array([key for key, _code in assets], dtype=np.int64)
    rows, stored, switch_at = read(parts, None, asset_ids, reference=now)
    return Book(
        shards=parts,
        codes=tuple(code for _key, code in assets),
        asset_ids=asset_ids,
        reference=now,
        xmin=xmin,
        rows=rows,
        warm=kernel.warm(_flat(rows, np.full(len(rows.account), kernel.UNKNOWN_RUNG, dtype=np.int8))),
        switch_at=switch_at,
        stored=stored,
        watch=set(rows.account[stored.watched == 1].tolist()),
    )


def refresh(book: Book, *, now: datetime) -> Book:
    """
    Return the book with every account that was touched since it was read, and those marked as changed.

    A transaction that was still open then is read again now, so an account may come twice, but none is missed. The
    result equals a cold load at the same reference instant.
    """
    if book.switch_at is not None and now >= book.switch_at:
        return load(book.shards, now=now)
    xmin, ids = _changed(book.shards, xmin=book.xmin)
    if not len(ids):
        book.xmin = xmin
        book.changed = set()
        return book
    if Asset.objects.count() != len(book.codes):
        return load(book.shards, now=now)
    return rebuild(book, ids, xmin=xmin)


def rebuild(book: Book, ids: IntArray, *, xmin: int) -> Book:
    """Return the book with some accounts read again and everything else as it was."""
    fresh, _stored, switch_at = read(book.shards, ids, book.asset_ids, reference=book.reference)
    rows = _spliced(book.rows, fresh, np.sort(ids))
    rung = np.full(len(rows.account), kernel.UNKNOWN_RUNG, dtype=np.int8)
    known = np.empty(book.accounts, dtype=np.int8)
    known[book.warm.order] = book.warm.rung
    at = np.searchsorted(rows.account, book.rows.account)
    rung[at] = known
    rung[np.searchsorted(rows.account, fresh.account)] = kernel.UNKNOWN_RUNG
    switches = [at for at in (book.switch_at, switch_at) if at is not None]
    return replace(
        book,
        rows=rows,
        warm=kernel.warm(_flat(rows, rung)),
        xmin=xmin,
        switch_at=min(switches, default=None),
        changed=set(ids.tolist()),
    )


def candidates(book: Book, marks: Marks, *, now: datetime) -> list[int]:
    """
    Return the keys of the accounts that must be decided exactly: those that a price may have moved to another
    level, those that changed, and those that a clock is running on. Floats select too many, never too few.
    """
    low, high = _price_bands(book, marks)
    elapsed_s = (now - book.reference).total_seconds()
    if book.stored is not None:
        _prime(book, book.stored, low, high, elapsed_s=elapsed_s)
        book.stored = None
    if np.array_equal(low, high, equal_nan=True):
        moved = kernel.screen(book.warm, low, elapsed_s=elapsed_s)
    else:
        moved = kernel.screen_bounded(book.warm, low, high, elapsed_s=elapsed_s)
    return sorted({*book.rows.account[moved].tolist(), *book.changed, *book.watch})


def note(book: Book, decided: dict[int, tuple[int, bool]]) -> None:
    """Remember the exact rung of accounts that were decided, and which of them a clock is running on."""
    if not decided:
        return
    keys = np.array(sorted(decided), dtype=np.int64)
    at = np.searchsorted(book.rows.account, keys)
    rung = np.array([decided[key][0] for key in keys.tolist()], dtype=np.int8)
    kernel.decided(book.warm, at, rung)
    book.watch.difference_update(decided)
    book.watch.update(key for key, (_rung, watched) in decided.items() if watched)


def _prime(book: Book, stored: Stored, low: FloatArray, high: FloatArray, *, elapsed_s: float) -> None:
    """
    Give every account of a book from the tables the rung that its stored state says, where a float can prove it.

    The rest keeps an UNKNOWN rung, so the first round decides it exactly.
    """
    value = kernel.collateral(book.warm, low)
    owed = kernel.debt(book.warm, high, elapsed_s=elapsed_s)
    slack = owed * kernel.RELATIVE_SLACK + kernel.ABSOLUTE_SLACK_USD
    with np.errstate(invalid="ignore"):
        least, most = kernel.rungs(book.warm, value, owed - slack), kernel.rungs(book.warm, value, owed + slack)
    certain = np.array_equal(low, high, equal_nan=True) & (least == most) & np.isfinite(value) & np.isfinite(owed)
    flat = np.sort(book.warm.order[np.flatnonzero(certain)])
    rung = np.empty(book.accounts, dtype=np.int8)
    rung[book.warm.order] = least
    proven = flat[_agrees(book.rows.terms[flat], stored.state[flat], rung[flat])]
    kernel.decided(book.warm, proven, rung[proven])


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


def _changed(shards: Sequence[int], *, xmin: int | None) -> tuple[int, IntArray]:
    """Return the xmin of the present snapshot and the accounts touched at or after an earlier one."""
    never = 2**62
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, {"xmin": never if xmin is None else xmin, "shards": list(shards)})
        latest, ids = cursor.fetchone()
    return latest, np.array(ids or [], dtype=np.int64)


def read(
    shards: Sequence[int], ids: IntArray | None, asset_ids: IntArray, *, reference: datetime
) -> tuple[Rows, Stored, datetime | None]:
    """Return the rows of some shards, or of some of their accounts, and when the first of their rates changes."""
    params = {
        "shards": list(shards),
        "ids": None if ids is None else ids.tolist(),
        "states": list(STATES),
        "block": BLOCK,
        "accruing": [str(state) for state in interest.ACCRUING],
    }
    account, terms, state, watched = _arrays(_ACCOUNTS, params, "iiii")
    p_account, p_asset, quantity, haircut = _arrays(_PLEDGES, params, "iifi")
    d_account, d_asset, base, principal, rate, late_rate, year, accrued, due = _arrays(_LOANS, params, "iiffiiifi")
    per_year = principal / (year * DAY_S)
    normal, default, switch = per_year * (rate / TRILLION), per_year * (late_rate / TRILLION), due * DAY_S
    weight = (TRILLION - haircut) / TRILLION
    amount, per_s = _debt_at(base, normal, default, accrued, switch, at=reference.timestamp())
    a, p = np.argsort(account, kind="stable"), np.lexsort((p_asset, p_account))
    d = np.lexsort((amount, d_asset, d_account))
    later = switch[switch > reference.timestamp()]
    switch_at = reference + timedelta(seconds=float(later.min()) - reference.timestamp()) if len(later) else None
    rows = Rows(
        account[a], terms[a],
        p_account[p], np.searchsorted(asset_ids, p_asset[p]), quantity[p], weight[p],
        d_account[d], np.searchsorted(asset_ids, d_asset[d]), amount[d], per_s[d],
    )  # fmt: skip
    return rows, Stored(state[a], watched[a]), switch_at


def _debt_at(
    base: FloatArray, normal: FloatArray, default: FloatArray, accrued: FloatArray, switch: FloatArray, *, at: float
) -> tuple[FloatArray, FloatArray]:
    """Return payoff amounts at an instant and their growth per second, in units of the debt asset."""
    late = np.maximum(switch, accrued) <= at
    switched = late | (accrued >= switch)
    turn = np.where(late, np.maximum(switch, accrued), accrued)
    before = np.where(accrued < turn, normal * (turn - accrued), 0.0)
    per_s = np.where(switched, default, normal)
    return base + before + per_s * (at - turn), per_s


def _flat(rows: Rows, rung: NDArray[np.int8]) -> kernel.FlatBook:
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


def _spliced(old: Rows, new: Rows, ids: IntArray) -> Rows:
    """Return the old rows without those of some accounts, with the new rows of these in their places."""
    merged: dict[str, NDArray[Any]] = {}
    for key, names in (
        ("account", ("account", "terms")),
        ("pledge_account", ("pledge_account", "pledge_asset", "pledge_quantity", "pledge_weight")),
        ("debt_account", ("debt_account", "debt_asset", "debt_amount", "debt_per_s")),
    ):
        owner = getattr(old, key)
        place = np.minimum(np.searchsorted(ids, owner), len(ids) - 1)
        kept = np.flatnonzero(ids[place] != owner)
        at = np.searchsorted(owner[kept], getattr(new, key))
        for name in names:
            merged[name] = np.insert(getattr(old, name)[kept], at, getattr(new, name))
    return Rows(**merged)


def _arrays(query: str, params: dict[str, Any], kinds: str) -> list[NDArray[Any]]:
    """Return the columns of a query of array aggregates, read straight from PostgreSQL's binary arrays."""
    connection.ensure_connection()
    with Cursor(connection.connection) as cursor:
        cursor.execute(query, params, binary=True)
        result = cursor.pgresult
        if result is None:
            raise UnableToRead("PostgreSQL gave no result")
        columns = []
        for column, kind in enumerate(kinds):
            native = np.float64 if kind == "f" else np.int64
            blocks = [
                np.frombuffer(result.get_value(row, column) or b"", dtype=_WIRE[kind], offset=_ARRAY_HEADER)["value"]
                for row in range(result.ntuples)
            ]
            columns.append(np.concatenate(blocks).astype(native) if blocks else np.empty(0, dtype=native))
    return columns

"""The rows of a margin book: a few aggregating queries straight into arrays, whole shards or what changed since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray
from psycopg import Cursor

from lending import interest
from lending.engine.interest import CONVENTIONS
from risk.engine import growth
from risk.engine.arrays import FloatArray, IntArray
from risk.engine.growth import DAY_S
from risk.models import MarginState

# PostgreSQL gathers this many accounts into one row of arrays: far fewer rows to receive, none of them large.
BLOCK = 16384
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
# Interest runs from accrued_at, at the default rate from the instant of default on: never, of what nobody has ended.
# Rates that were agreed for a later instant are in the columns within seconds of it; what is decided exactly counts
# them to the microsecond.
# A step-up counts from its day on: a book is read anew at each midnight, when every loan's interest is posted.
# What is not drawn of a line costs a fee besides, until its default.
_LOANS = """
    SELECT array_agg(l.margin_account_id), array_agg(l.asset_id),
           array_agg((l.principal_outstanding + l.interest_due + l.fees_due)::float8),
           array_agg(CASE WHEN l.state = ANY(%(accruing)s) THEN l.principal_outstanding ELSE 0 END::float8),
           array_agg(CASE WHEN l.state = ANY(%(accruing)s)
                          THEN greatest(l.principal - l.principal_outstanding, 0) * l.unused_fee ELSE 0 END::float8),
           array_agg(((l.annual_rate + s.more) * 1000000000000)::bigint),
           array_agg(((l.default_rate + s.more) * 1000000000000)::bigint),
           array_agg(array_position(%(conventions)s::text[], l.day_count::text)::bigint - 1),
           array_agg(coalesce(date_part('epoch', date_trunc('day', l.start_at, 'UTC')) / 86400, 0)::bigint),
           array_agg(coalesce(date_part('epoch', l.accrued_at), 0)),
           array_agg(coalesce(date_part('epoch', l.default_at),
                              (l.maturity_date + 1 - DATE '1970-01-01') * 86400.0, 'infinity')::float8)
      FROM lending_loan l
     CROSS JOIN LATERAL (SELECT CASE WHEN l.step_up_date <= %(today)s THEN l.step_up ELSE 0 END AS more) s
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


_KEYS, _FIGURES = np.empty(0, dtype=np.int64), np.empty(0)
NONE = Rows(_KEYS, _KEYS, _KEYS, _KEYS, _FIGURES, _FIGURES, _KEYS, _KEYS, _FIGURES, _FIGURES)


@dataclass(frozen=True)
class Stored:
    """What the tables say of each account when it is read: the index of its state, and whether a clock runs on it."""

    state: IntArray
    watched: IntArray


def changed(shards: Sequence[int], *, xmin: int | None) -> tuple[int, IntArray]:
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
        # As text: turning thousands of keys into parameters one by one would take longer than the query.
        "ids": None if ids is None else "{" + ",".join(map(str, ids.tolist())) + "}",
        "states": list(STATES),
        "block": BLOCK,
        "today": reference.astimezone(UTC).date(),
        "conventions": list(CONVENTIONS),
        "accruing": [str(state) for state in interest.ACCRUING],
    }
    account, terms, state, watched = arrays(_ACCOUNTS, params, "iiii")
    p_account, p_asset, quantity, haircut = arrays(_PLEDGES, params, "iifi")
    columns = arrays(_LOANS, params, "iifffiiiiff")
    d_account, d_asset, base, principal, unused_fee, *rates, day_count, first, accrued, switch = columns
    normal, default = (principal * (rate / TRILLION) for rate in rates)
    normal = normal + unused_fee
    counted = (day_count, first)
    weight = (TRILLION - haircut) / TRILLION
    amount, per_s = _debt_at(base, normal, default, accrued, switch, counted, at=reference.timestamp())
    a, p = np.argsort(account, kind="stable"), np.lexsort((p_asset, p_account))
    d = np.lexsort((amount, d_asset, d_account))
    later = switch[(switch > reference.timestamp()) & np.isfinite(switch)].tolist()
    if growth.changes_by_day(day_count):
        later.append((reference.timestamp() // DAY_S + 1) * DAY_S)
    switch_at = reference + timedelta(seconds=min(later) - reference.timestamp()) if later else None
    rows = Rows(
        account[a], terms[a],
        p_account[p], np.searchsorted(asset_ids, p_asset[p]), quantity[p], weight[p],
        d_account[d], np.searchsorted(asset_ids, d_asset[d]), amount[d], per_s[d],
    )  # fmt: skip
    return rows, Stored(state[a], watched[a]), switch_at


def _debt_at(
    base: FloatArray,
    normal: FloatArray,
    default: FloatArray,
    accrued: FloatArray,
    switch: FloatArray,
    counted: tuple[IntArray, IntArray],
    *,
    at: float,
) -> tuple[FloatArray, FloatArray]:
    """
    Return payoff amounts at an instant and their growth per second, in units of the debt asset.

    `normal` and `default` are a year's interest; `counted` is day count and first day, as `growth.years` takes them.
    """
    late = np.maximum(switch, accrued) <= at
    switched = late | (accrued >= switch)
    turn = np.where(late, np.maximum(switch, accrued), accrued)
    turned, now = growth.years(*counted, turn), np.full(len(base), at)
    before = np.where(accrued < turn, normal * (turned - growth.years(*counted, accrued)), 0.0)
    a_year = np.where(switched, default, normal)
    since = a_year * (growth.years(*counted, now) - turned)
    return base + before + since, a_year * growth.per_second(*counted, now)


def spliced(old: Rows, new: Rows, ids: IntArray) -> Rows:
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


def arrays(query: str, params: dict[str, Any], kinds: str) -> list[NDArray[Any]]:
    """
    Return the columns of a query of array aggregates, read straight from PostgreSQL's binary arrays.

    Each column is an array of bigint ("i") or float8 ("f") without nulls; rows follow each other.
    """
    connection.ensure_connection()
    with Cursor(connection.connection) as cursor:
        # Planned for its parameters each time: a plan made for any list of keys compares each row with every key.
        cursor.execute(query, params, binary=True, prepare=False)
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

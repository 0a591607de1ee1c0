"""The desk's key figures, hour by hour: what the book was, how safe, how calls ended, what sales cost and how long."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from lending.engine import money
from lending.engine.chart import SECURED_KINDS, AccountKind
from lending.models import Asset
from otc import pnl

HOURS = 24
_OWED = (AccountKind.LOAN_PRINCIPAL, AccountKind.INTEREST_RECEIVABLE, AccountKind.FEES_RECEIVABLE)
_SECURED = (*SECURED_KINDS, AccountKind.LIQUIDATION_HOLD)
_RATIO_DECIMALS = 6

_BALANCES = """
    SELECT a.kind, a.asset_id, width_bucket(e.effective_at, %(hours)s::timestamptz[]), sum(p.amount)
      FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id
      JOIN lending_ledgeraccount a ON a.id = p.account_id
     WHERE a.kind = ANY(%(kinds)s) AND e.effective_at < %(last)s
     GROUP BY 1, 2, 3
"""
_CALLS = """
    SELECT count(*) FILTER (WHERE c.issued_at <= t.at AND (c.closed_at IS NULL OR c.closed_at > t.at)),
           count(*) FILTER (WHERE c.closed_at <= t.at AND c.state = ANY(%(cured)s)),
           count(*) FILTER (WHERE c.closed_at <= t.at)
      FROM unnest(%(hours)s::timestamptz[]) WITH ORDINALITY AS t(at, n)
      LEFT JOIN risk_margincall c ON c.issued_at <= t.at
     GROUP BY t.n ORDER BY t.n
"""
_SALES = """
    SELECT (SELECT sum(f.slippage_bps * f.quantity * f.price) / nullif(sum(f.quantity * f.price), 0)
              FROM otc_fill f WHERE f.settled_at <= t.at),
           (SELECT avg(extract(epoch FROM f.settled_at - o.ordered_at))
              FROM otc_allocation x JOIN otc_fill f ON f.id = x.fill_id JOIN otc_blockorder p ON p.id = x.part_id
              JOIN risk_liquidationorder o ON o.id = p.order_id
             WHERE f.settled_at <= t.at)
      FROM unnest(%(hours)s::timestamptz[]) WITH ORDINALITY AS t(at, n) ORDER BY t.n
"""
_CURED = ("cured", "cured_by_market", "waived", "withdrawn")


@dataclass(frozen=True, slots=True)
class Series:
    """One figure at the end of each hour, oldest first; None where there is nothing to say. `unit` says in what."""

    name: str
    unit: str
    points: tuple[Decimal | None, ...]

    @property
    def last(self) -> Decimal | None:
        """Return the newest."""
        return self.points[-1]

    @property
    def hours(self) -> int:
        """Return how many hours ago the oldest known point is, 0 if none is known."""
        known = [n for n, point in enumerate(reversed(self.points)) if point is not None]
        return known[-1] if known else 0

    @property
    def change(self) -> Decimal | None:
        """Return the newest less the oldest known."""
        known = [point for point in self.points if point is not None]
        return known[-1] - known[0] if len(known) > 1 and self.last is not None else None


def hourly(*, now: datetime) -> list[Series]:
    """
    Return the key figures at each of the last 24 hours and at `now`, in five queries.

    Book size and LTV come from the ledger at the marks of each hour, LTV over the whole book without haircuts. The
    cure rate and what sales cost count everything that ended by then.
    """
    hours = [now - timedelta(hours=HOURS - n) for n in range(HOURS + 1)]
    size, ltv = _book(hours)
    calls = _rows(_CALLS, {"hours": hours, "cured": list(_CURED)})
    sales = _rows(_SALES, {"hours": hours})
    return [
        Series("Book size", "USD", size),
        Series("Average LTV", "ratio", ltv),
        Series("Open calls", "count", tuple(Decimal(opened) for opened, _cured, _closed in calls)),
        Series("Cure rate", "ratio", tuple(_share(cured, closed) for _opened, cured, closed in calls)),
        Series("Slippage", "bps", tuple(slippage for slippage, _seconds in sales)),
        Series("Order to settled", "seconds", tuple(seconds for _slippage, seconds in sales)),
    ]


def _share(part: int, whole: int) -> Decimal | None:
    return money.div_down(Decimal(part), Decimal(whole), _RATIO_DECIMALS) if whole else None


def _book(hours: Sequence[datetime]) -> tuple[tuple[Decimal | None, ...], tuple[Decimal | None, ...]]:
    """Return principal lent and LTV at each hour; None before the first loan, or where an asset had no mark at all."""
    codes = dict(Asset.objects.values_list("pk", "code"))
    kinds = [kind.value for kind in (*_OWED, *_SECURED)]
    rows = _rows(_BALANCES, {"hours": list(hours), "kinds": kinds, "last": hours[-1]})
    marks = pnl.marks_at(codes, {asset for _kind, asset, _hour, _amount in rows}, hours)
    balances: defaultdict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * len(hours))
    with money.exact():
        for kind, asset, hour, amount in rows:
            sums = balances[kind, codes[asset]]
            for n in range(hour, len(hours)):  # what happened within an hour counts from its end on
                sums[n] += amount
    found = [_worth(balances, marks[at], n) for n, at in enumerate(hours)]
    ltv = [money.div_up(owed, secured, _RATIO_DECIMALS) if owed and secured else None for _lent, owed, secured in found]
    began = next((n for n, (lent, _owed, _secured) in enumerate(found) if lent != 0), len(found))
    size = [lent if n >= began else None for n, (lent, _owed, _secured) in enumerate(found)]
    return tuple(size), tuple(ltv)


def _worth(
    balances: Mapping[tuple[str, str], Sequence[Decimal]], marks: Mapping[str, Decimal], n: int
) -> tuple[Decimal | None, Decimal | None, Decimal]:
    """Return principal, everything owed, and collateral at one hour, USD."""
    lent, owed, secured = Decimal(0), Decimal(0), Decimal(0)
    for (kind, code), sums in balances.items():
        if not sums[n]:
            continue
        if code not in marks:
            return None, None, Decimal(0)
        with money.exact():
            value = sums[n] * marks[code]
            lent += value if kind == AccountKind.LOAN_PRINCIPAL else 0
            owed += value if kind in _OWED else 0
            secured -= value if kind in _SECURED else 0
    return lent, owed, secured


def _rows(query: str, facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, facts)
        return list(cursor.fetchall())

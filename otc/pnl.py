"""Desk P&L: explained from the ledger and the marks, for any period and as it was known at any instant."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import connection
from django.db.models import Q, QuerySet

from lending.engine import chart
from lending.models import Asset, Book, Posting
from otc.engine import pnl as engine

Explain = engine.Explain
UnableToExplain = engine.UnableToExplain

UNEXPLAINED = "unexplained"
_EARNING = sorted({*chart.PROFIT_AND_LOSS_KINDS, chart.AccountKind.CAPITAL})
_NET = sorted(chart.NET_ASSET_KINDS)
_BASE = "USD"
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)

_POSITIONS = """
SELECT p.asset_id, coalesce(sum(p.amount) FILTER (WHERE e.effective_at < %(start)s), 0), sum(p.amount)
FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id JOIN lending_ledgeraccount a ON a.id = p.account_id
WHERE e.effective_at < %(end)s AND e.recorded_at <= %(known)s AND a.kind = ANY(%(net)s)
  AND (%(book)s::bigint IS NULL OR p.book_id = %(book)s)
GROUP BY p.asset_id
"""

# A mark of an instant is the newest minute's at or before it; before the first minute, that first one.
_MARK_AT = """
SELECT price FROM (
    (SELECT price, 1 AS choice FROM risk_markminute m WHERE m.asset_id = {asset} AND m.at <= {at}
        ORDER BY m.at DESC LIMIT 1)
    UNION ALL
    (SELECT price, 2 FROM risk_markminute m WHERE m.asset_id = {asset} AND m.at > {at} ORDER BY m.at LIMIT 1)
    UNION ALL
    (SELECT price, 3 FROM risk_mark m WHERE m.asset_id = {asset} AND price IS NOT NULL)
) choices ORDER BY choice LIMIT 1
"""

_FLOWS = f"""
WITH posted AS MATERIALIZED (
    SELECT p.asset_id, p.client_id, p.category,
        CASE WHEN e.effective_at >= %(start)s THEN date_trunc('minute', e.effective_at) END AS minute,
        sum(p.amount) AS amount
    FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id
        JOIN lending_ledgeraccount a ON a.id = p.account_id
    WHERE e.effective_at < %(end)s AND e.recorded_at <= %(known)s AND a.kind = ANY(%(earning)s)
      AND (%(book)s::bigint IS NULL OR p.book_id = %(book)s)
    GROUP BY 1, 2, 3, 4
), marked AS MATERIALIZED (
    SELECT DISTINCT asset_id, minute FROM posted WHERE minute IS NOT NULL AND asset_id <> %(base)s
), mark AS MATERIALIZED (
    SELECT k.asset_id, k.minute, m.price
    FROM marked k CROSS JOIN LATERAL ({_MARK_AT.format(asset="k.asset_id", at="k.minute")}) m
)
SELECT p.asset_id, p.client_id, p.category,
    coalesce(sum(p.amount) FILTER (WHERE p.minute IS NULL), 0),
    coalesce(sum(p.amount) FILTER (WHERE p.minute IS NOT NULL), 0),
    coalesce(sum(p.amount * CASE WHEN p.asset_id = %(base)s THEN 1 ELSE m.price END)
        FILTER (WHERE p.minute IS NOT NULL), 0)
FROM posted p LEFT JOIN mark m ON m.asset_id = p.asset_id AND m.minute = p.minute
GROUP BY 1, 2, 3
"""  # noqa: S608 - the parts are constants of this module

_MARKS = f"""
SELECT a.id, t.at, m.price
FROM unnest(%(assets)s::bigint[]) AS a(id) CROSS JOIN unnest(%(instants)s::timestamptz[]) AS t(at)
    CROSS JOIN LATERAL ({_MARK_AT.format(asset="a.id", at="t.at")}) m
"""  # noqa: S608


def explain(book: Book | None, start_at: datetime, end_at: datetime, *, known_at: datetime | None = None) -> Explain:
    """
    Explain the P&L of a book, or of all books, over [start_at, end_at).

    With `known_at` only entries recorded by then count: yesterday as it was known yesterday.

    Raises
    ------
    UnableToExplain
        If an asset that the desk has or owes was never marked.
    """
    assets = {asset.pk: asset for asset in Asset.objects.all()}
    base = next((pk for pk, asset in assets.items() if asset.code == _BASE), None)
    facts = {
        "start": start_at,
        "end": end_at,
        "known": known_at or _END_OF_TIME,
        "book": book.pk if book else None,
        "net": _NET,
        "earning": _EARNING,
        "base": base,
    }
    with connection.cursor() as cursor:
        cursor.execute(_POSITIONS, facts)
        positions = cursor.fetchall()
        cursor.execute(_FLOWS, facts)
        flows = cursor.fetchall()
    used = {row[0] for row in positions} | {row[0] for row in flows}
    marks = _marks_at(assets, used, (start_at, end_at))
    return engine.explain(
        [engine.Position(assets[pk].code, before, after) for pk, before, after in positions],
        [
            engine.Flow(assets[pk].code, client_id, category, before, during, value)
            for pk, client_id, category, before, during, value in flows
        ],
        start=marks[start_at],
        end=marks[end_at],
        local=frozenset(asset.code for asset in assets.values() if asset.kind != Asset.Kind.CRYPTO),
    )


def explain_day(book: Book | None, day: date, *, known_at: datetime | None = None) -> Explain:
    """Explain the P&L of one day, cut off at 00:00 UTC."""
    start_at, end_at = bounds(day)
    return explain(book, start_at, end_at, known_at=known_at)


def postings_for(book: Book | None, day: date, line: str, *, known_at: datetime | None = None) -> QuerySet[Posting]:
    """
    Return the postings behind a line of a day's P&L, newest first.

    A category's line rests on that day's postings of the category; `fx` and `inventory` re-mark everything that was
    ever earned or paid in and is still there; `unexplained` is what no line knows.
    """
    start_at, end_at = bounds(day)
    postings = Posting.objects.filter(
        account__kind__in=_EARNING, entry__effective_at__lt=end_at, entry__recorded_at__lte=known_at or _END_OF_TIME
    )
    if book:
        postings = postings.filter(book=book)
    known = [category.value for category in (*engine.EARNED, chart.Category.CAPITAL)]
    if line == engine.FX:
        postings = postings.filter(~Q(asset__kind=Asset.Kind.CRYPTO) & ~Q(asset__code=_BASE), category__in=known)
    elif line == engine.INVENTORY:
        postings = postings.filter(asset__kind=Asset.Kind.CRYPTO, category__in=known)
    elif line == UNEXPLAINED:
        postings = postings.exclude(category__in=known).filter(entry__effective_at__gte=start_at)
    else:
        postings = postings.filter(category=line, entry__effective_at__gte=start_at)
    return postings.select_related("entry", "account", "asset", "client", "loan", "book").order_by(
        "-entry__effective_at", "-pk"
    )


def bounds(day: date) -> tuple[datetime, datetime]:
    """Return the first instant of a day and that of the next, UTC."""
    start_at = datetime.combine(day, time(), tzinfo=UTC)
    return start_at, start_at + timedelta(days=1)


def _marks_at(
    assets: dict[int, Asset], used: Iterable[int], instants: tuple[datetime, datetime]
) -> dict[datetime, dict[str, Decimal]]:
    marks: dict[datetime, dict[str, Decimal]] = defaultdict(dict)
    with connection.cursor() as cursor:
        cursor.execute(_MARKS, {"assets": sorted(used), "instants": list(instants)})
        for pk, at, price in cursor.fetchall():
            marks[at][assets[pk].code] = price
    for at in instants:
        marks[at][_BASE] = Decimal(1)
    return marks

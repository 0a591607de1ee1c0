"""Desk P&L: explained from the ledger and the marks, for any period and as it was known at any instant."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, localcontext
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from lending.engine import chart
from lending.models import Asset, Book, Posting
from otc.engine import pnl as engine

Explain = engine.Explain
UnableToExplain = engine.UnableToExplain

UNEXPLAINED = "unexplained"
_EARNING = sorted(chart.PROFIT_AND_LOSS_KINDS | chart.EQUITY_KINDS)
_NET = sorted(chart.NET_ASSET_KINDS)
_BASE = "USD"
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)

# Periods end together and start one after the other: a posting counts in those up to its number, 0 is before all.
_PERIOD = "width_bucket(e.effective_at, %(starts)s::timestamptz[])"

_POSITIONS = f"""
SELECT p.book_id, p.asset_id, {_PERIOD}, sum(p.amount)
FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id JOIN lending_ledgeraccount a ON a.id = p.account_id
WHERE e.effective_at < %(end)s AND e.recorded_at <= %(known)s AND a.kind = ANY(%(net)s)
  AND (%(book)s::bigint IS NULL OR p.book_id = %(book)s)
GROUP BY 1, 2, 3
"""  # noqa: S608 - the parts are constants of this module

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
    SELECT p.book_id, p.asset_id, p.client_id, p.category, {_PERIOD} AS period,
        CASE WHEN e.effective_at >= (%(starts)s::timestamptz[])[1]
            THEN date_trunc('minute', e.effective_at) END AS minute,
        sum(p.amount) AS amount
    FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id
        JOIN lending_ledgeraccount a ON a.id = p.account_id
    WHERE e.effective_at < %(end)s AND e.recorded_at <= %(known)s AND a.kind = ANY(%(earning)s)
      AND (%(book)s::bigint IS NULL OR p.book_id = %(book)s)
    GROUP BY 1, 2, 3, 4, 5, 6
), marked AS MATERIALIZED (
    SELECT DISTINCT asset_id, minute FROM posted WHERE minute IS NOT NULL AND asset_id <> %(base)s
), mark AS MATERIALIZED (
    SELECT k.asset_id, k.minute, m.price
    FROM marked k CROSS JOIN LATERAL ({_MARK_AT.format(asset="k.asset_id", at="k.minute")}) m
)
SELECT p.book_id, p.asset_id, p.client_id, p.category, p.period, sum(p.amount),
    coalesce(sum(p.amount * CASE WHEN p.asset_id = %(base)s THEN 1 ELSE m.price END)
        FILTER (WHERE p.minute IS NOT NULL), 0)
FROM posted p LEFT JOIN mark m ON m.asset_id = p.asset_id AND m.minute = p.minute
GROUP BY 1, 2, 3, 4, 5
"""  # noqa: S608

_MARKS = f"""
SELECT a.id, t.at, m.price
FROM unnest(%(assets)s::bigint[]) AS a(id) CROSS JOIN unnest(%(instants)s::timestamptz[]) AS t(at)
    CROSS JOIN LATERAL ({_MARK_AT.format(asset="a.id", at="t.at")}) m
"""  # noqa: S608


@dataclass(frozen=True)
class Held:
    """What the desk has of an asset at the end of a period, less what it owes of it, at its mark; units and USD."""

    asset: str
    quantity: Decimal
    price: Decimal
    value: Decimal


@dataclass(frozen=True)
class Cut:
    """The P&L of one period: whole, by the key of each book, and what the desk holds at the end of it."""

    whole: Explain
    by_book: Mapping[int, Explain]
    held: tuple[Held, ...]


@dataclass(frozen=True)
class _Ledger:
    """Sums of postings by (book, asset, period) and by (book, asset, client, category, period)."""

    codes: Mapping[int, str]
    local: frozenset[str]
    positions: Sequence[tuple[int, int, int, Decimal]]
    flows: Sequence[tuple[int, int, int | None, str, int, Decimal, Decimal]]


def explain(book: Book | None, start_at: datetime, end_at: datetime, *, known_at: datetime | None = None) -> Explain:
    """
    Explain the P&L of a book, or of all books, over [start_at, end_at).

    With `known_at` only entries recorded by then count: yesterday as it was known yesterday.

    Raises
    ------
    UnableToExplain
        If an asset that the desk has or owes was never marked.
    """
    return explain_until(book, [start_at], end_at, known_at=known_at)[0].whole


def explain_until(
    book: Book | None, starts: Sequence[datetime], end_at: datetime, *, known_at: datetime | None = None
) -> list[Cut]:
    """
    Explain the P&L over several periods that end together, in four queries however many and however much was posted.

    `starts` ascend: the longest period comes first. Raises UnableToExplain as `explain` does.
    """
    ledger = _read(book, starts, end_at, known_at=known_at)
    used = {row[1] for row in ledger.positions} | {row[1] for row in ledger.flows}
    marks = marks_at(ledger.codes, used, (*starts, end_at))
    books = sorted({row[0] for row in ledger.positions} | {row[0] for row in ledger.flows})
    return [
        Cut(
            whole=_explained(ledger, None, period, marks[start_at], marks[end_at]),
            by_book={pk: _explained(ledger, pk, period, marks[start_at], marks[end_at]) for pk in books},
            held=_held(ledger, marks[end_at]),
        )
        for period, start_at in enumerate(starts, start=1)
    ]


def _read(book: Book | None, starts: Sequence[datetime], end_at: datetime, *, known_at: datetime | None) -> _Ledger:
    assets = list(Asset.objects.all())
    facts: dict[str, Any] = {
        "starts": list(starts),
        "end": end_at,
        "known": known_at or _END_OF_TIME,
        "book": book.pk if book else None,
        "net": _NET,
        "earning": _EARNING,
        "base": next((asset.pk for asset in assets if asset.code == _BASE), None),
    }
    with connection.cursor() as cursor:
        cursor.execute(_POSITIONS, facts)
        positions = cursor.fetchall()
        cursor.execute(_FLOWS, facts)
        flows = cursor.fetchall()
    local = frozenset(asset.code for asset in assets if asset.kind != Asset.Kind.CRYPTO)
    return _Ledger({asset.pk: asset.code for asset in assets}, local, positions, flows)


def _explained(
    ledger: _Ledger, book: int | None, period: int, start: Mapping[str, Decimal], end: Mapping[str, Decimal]
) -> Explain:
    """Explain one period of one book, or of all: what is numbered below it was there before."""
    sums: defaultdict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    flows: defaultdict[tuple[str, int | None, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 3)
    with localcontext(engine.WIDE):
        for owner, asset, number, amount in ledger.positions:
            if book in (None, owner):
                both = sums[ledger.codes[asset]]
                both[0] += amount if number < period else 0
                both[1] += amount
        for owner, asset, client, category, number, amount, value in ledger.flows:
            if book in (None, owner):
                flow = flows[ledger.codes[asset], client, category]
                if number < period:
                    flow[0] += amount
                else:
                    flow[1] += amount
                    flow[2] += value
    return engine.explain(
        [engine.Position(code, before, after) for code, (before, after) in sums.items()],
        [engine.Flow(*key, *amounts) for key, amounts in flows.items()],
        start=start,
        end=end,
        local=ledger.local,
    )


def _held(ledger: _Ledger, marks: Mapping[str, Decimal]) -> tuple[Held, ...]:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    with localcontext(engine.WIDE):
        for _book, asset, _number, amount in ledger.positions:
            sums[ledger.codes[asset]] += amount
        return tuple(
            Held(code, quantity, marks[code], quantity * marks[code])
            for code, quantity in sorted(sums.items())
            if quantity
        )


def explain_day(book: Book | None, day: date, *, known_at: datetime | None = None) -> Explain:
    """Explain the P&L of one day, cut off at 00:00 UTC."""
    start_at, end_at = bounds(day)
    return explain(book, start_at, end_at, known_at=known_at)


def postings_for(
    book: Book | None, day: date, line: str, *, since: date | None = None, known_at: datetime | None = None
) -> QuerySet[Posting]:
    """
    Return the postings behind a line of the P&L of a day, or of the days from `since` to it, newest first.

    A category's line rests on that day's postings of the category; `fx` and `inventory` re-mark everything that was
    ever earned or paid in and is still there; `unexplained` is what no line knows.
    """
    start_at, end_at = bounds(since or day)[0], bounds(day)[1]
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


def marks_at(
    codes: Mapping[int, str], used: Iterable[int], instants: Sequence[datetime]
) -> dict[datetime, dict[str, Decimal]]:
    """Return the mark of each asset at each instant, in USD; an asset that was never marked is not among them."""
    marks: dict[datetime, dict[str, Decimal]] = {at: {_BASE: Decimal(1)} for at in instants}
    with connection.cursor() as cursor:
        cursor.execute(_MARKS, {"assets": sorted(used), "instants": list(instants)})
        for pk, at, price in cursor.fetchall():
            if codes[pk] != _BASE:
                marks[at][codes[pk]] = price
    return marks

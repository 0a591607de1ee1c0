"""
What a client needs for a tax year: interest that was paid or became principal, and collateral that was sold.

All of it is from the sealed ledger. A payment or sale that was taken back stands as a line of its own with the opposite
sign, on the day that it stood on.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db.models import Q

from lending.engine import capitalisation, money
from lending.engine.chart import AccountKind
from lending.models import Client, Entry, Posting
from lending.statements import Basis, UnableToDraw, shown_as

_PAYS = {"repayment": "payment", "waterfall": "sale of collateral", "reallocation": "payment, counted anew"}
_INTEREST = {**_PAYS, **capitalisation.KINDS}
_SALE = "sale"


@dataclass(frozen=True, slots=True)
class Paid:
    """Interest that one payment paid, or that became principal, in the loan's asset; negative where taken back."""

    at: datetime
    of: str
    what: str
    asset: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Disposal:
    """Collateral that was sold: units, what they brought before the fee, and the fee, in cash."""

    at: datetime
    asset: str
    quantity: Decimal
    cash: str
    proceeds: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True)
class TaxYear:
    """
    A client's year over [from_date, to_date], both days whole in UTC.

    `grown` is interest that was not paid and became principal: what is paid of that is principal, and not in `paid`.
    """

    client: Client
    from_date: date
    to_date: date
    basis: Basis
    paid: tuple[Paid, ...]
    grown: tuple[Paid, ...]
    disposals: tuple[Disposal, ...]

    @property
    def totals(self) -> list[tuple[str, Decimal]]:
        """Return the interest paid in all, by asset."""
        return _by_asset(self.paid)

    @property
    def grown_totals(self) -> list[tuple[str, Decimal]]:
        """Return the interest that became principal in all, by asset."""
        return _by_asset(self.grown)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the summary's CSV."""
        return hashlib.sha256(as_csv(self).encode()).hexdigest()


def last_day(from_date: date) -> date:
    """
    Return the last day of the year that begins on a day.

    Raises
    ------
    UnableToDraw
        If the calendar has no such day.
    """
    try:
        after = from_date.replace(year=from_date.year + 1)
    except ValueError as wrong:
        raise UnableToDraw("a tax year can not begin on 29 February, nor end after the calendar") from wrong
    return after - timedelta(days=1)


def draw(client: Client, *, from_date: date, rests_on: Basis) -> TaxYear:
    """Return a client's tax year from a day on, as known at a link of the chain; UnableToDraw as `last_day`."""
    to_date = last_day(from_date)
    start_at = datetime.combine(from_date, time.min, tzinfo=UTC)
    end_at = datetime.combine(to_date, time.min, tzinfo=UTC) + timedelta(days=1)
    known = Posting.objects.filter(
        account__client=client,
        entry__seal__seq__lte=rests_on.seq,
        entry__effective_at__gte=start_at,
        entry__effective_at__lt=end_at,
    )
    known = known.select_related("entry__reverses", "account__asset", "account__loan", "account__margin_account")
    known = known.order_by("entry__effective_at", "entry__seal__seq", "pk")
    settles = Q(entry__kind__in=_INTEREST) | Q(entry__reverses__kind__in=_INTEREST)
    interest = list(known.filter(settles, account__kind=AccountKind.INTEREST_RECEIVABLE))
    sells = Q(entry__kind=_SALE) | Q(entry__reverses__kind=_SALE)
    sold = known.filter(sells, account__kind__in=(AccountKind.LIQUIDATION_HOLD, AccountKind.SALE_PROCEEDS))
    return TaxYear(
        client=client,
        from_date=from_date,
        to_date=to_date,
        basis=rests_on,
        paid=tuple(_paid(row) for row in interest if _kind(row.entry) in _PAYS),
        grown=tuple(_paid(row) for row in interest if _kind(row.entry) in capitalisation.KINDS),
        disposals=_disposals(list(sold)),
    )


def _paid(row: Posting) -> Paid:
    entry, account = row.entry, row.account
    what = _INTEREST.get(entry.kind) or f"{_INTEREST[_kind(entry)]}, taken back"
    return Paid(entry.effective_at, shown_as(account), what, account.asset.code, row.amount.copy_negate())


def _by_asset(rows: Iterable[Paid]) -> list[tuple[str, Decimal]]:
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    with money.exact():
        for row in rows:
            found[row.asset] += row.amount
    return sorted(found.items())


def _disposals(rows: list[Posting]) -> tuple[Disposal, ...]:
    by_entry: defaultdict[int, list[Posting]] = defaultdict(list)
    for row in rows:
        by_entry[row.entry_id].append(row)
    return tuple(_disposal(lines) for lines in by_entry.values())


def _disposal(lines: list[Posting]) -> Disposal:
    """Return what one sale's postings say: coins leave the hold, proceeds come in, the fee goes out of them."""
    entry = lines[0].entry
    sign = -1 if entry.kind != _SALE else 1
    held = [row for row in lines if row.account.kind == AccountKind.LIQUIDATION_HOLD]
    cash = [row for row in lines if row.account.kind == AccountKind.SALE_PROCEEDS]
    with money.exact():
        quantity = sum((row.amount for row in held), money.ZERO)
        proceeds = -sum((row.amount for row in cash if row.amount * sign < 0), money.ZERO)
        fee = sum((row.amount for row in cash if row.amount * sign > 0), money.ZERO)
    code = cash[0].account.asset.code if cash else "USD"
    return Disposal(entry.effective_at, held[0].account.asset.code, quantity, code, proceeds, fee)


def _kind(entry: Entry) -> str:
    return entry.reverses.kind if entry.reverses is not None else entry.kind


def as_csv(year: TaxYear) -> str:
    """
    Return a tax year as CSV, amounts in full, instants in UTC.

    A line per payment of interest, per time that interest became principal, and per sale.
    """
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\r\n").writerow
    write(("what", "at", "of", "asset", "quantity", "cash", "amount", "fee"))
    for name, rows in (("interest by", year.paid), ("interest that became principal,", year.grown)):
        for row in rows:
            at = row.at.astimezone(UTC).isoformat()
            write((f"{name} {row.what}", at, row.of, "", "", row.asset, money.text(row.amount), ""))
    for sold in year.disposals:
        at = sold.at.astimezone(UTC).isoformat()
        figures = (money.text(sold.quantity), sold.cash, money.text(sold.proceeds), money.text(sold.fee))
        write(("disposal", at, "", sold.asset, *figures))
    return text.getvalue()

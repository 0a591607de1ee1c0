"""
Rolling: what a loan without a fixed end asks for, written down as each of its periods begins.

A row is written once, whoever looks and however late: after an outage the periods that have begun meanwhile follow each
other as if somebody had looked every day.
"""

from datetime import UTC, datetime, time
from functools import partial

from django.db import transaction
from django.db.models import OuterRef, Subquery

from lending import calendars, interest, loans, obligations, one_by_one
from lending.engine import money
from lending.engine.periods import next_due_date
from lending.models import Loan, LoanState, Overdue, ScheduleRow, Tenor

_ROLLS = (LoanState.ACTIVE, LoanState.RECALLED)


def roll_due(*, now: datetime) -> int:
    """Write down the rows of the periods that have begun, with what they ask of clients, and return how many."""
    last = ScheduleRow.objects.filter(loan=OuterRef("pk")).order_by("-version", "-number")
    ready = Loan.objects.exclude(tenor=Tenor.FIXED).filter(state__in=_ROLLS)
    ready = ready.alias(written_to=Subquery(last.values("due_date")[:1])).filter(written_to__lte=now.astimezone(UTC))
    due = [(loan, partial(_roll, loan, now)) for loan in ready.order_by("margin_account_id", "pk")]
    return one_by_one.work(Overdue.Kind.ROLLING, due, now=now)


@transaction.atomic
def _roll(loan: Loan, now: datetime) -> int:
    loan, today = loans.lock(loan), now.astimezone(UTC).date()
    last = ScheduleRow.objects.filter(loan=loan).order_by("version", "number").last()
    written = 0
    while loan.state in _ROLLS and last is not None and last.due_date <= today:
        row = _after(loan, last)
        if _at(row) >= interest.maturity_at(loan):
            break  # what ends the loan asks for that too
        row.save(force_insert=True)
        obligations.expect([row])
        last, written = row, written + 1
    return written


def _after(loan: Loan, last: ScheduleRow) -> ScheduleRow:
    """Return the row of the period that begins when another ends: its interest, if nothing more is paid or lent."""
    if loan.start_at is None:
        raise interest.UnableToAccrue(f"{loan} was never funded")
    began = loan.began_date or loan.start_at.astimezone(UTC).date()
    day = next_due_date(began, loan.frequency_months, last.due_date)
    row = ScheduleRow(
        client_id=loan.client_id,
        loan=loan,
        version=last.version,
        number=last.number + 1,
        due_date=day,
        pay_date=calendars.following(loan.calendar, day),
        principal=money.ZERO,
        balance=loan.principal if loan.is_line else loan.principal_outstanding,
    )
    begin, end = interest.payoffs_at([loan], _at(last), _at(row))
    with money.exact():
        row.interest = end[loan.pk].pending - begin[loan.pk].pending
    return row


def _at(row: ScheduleRow) -> datetime:
    return datetime.combine(row.pay_date, time.min, tzinfo=UTC)

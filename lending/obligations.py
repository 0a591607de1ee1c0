"""Obligations: what a client is to pay on a loan and when; expected from its schedule, met by what is paid."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F, Q, QuerySet

from lending import calendars
from lending.engine import money
from lending.interest import DEFAULT_AFTER
from lending.models import OPEN_OBLIGATIONS, Client, Loan, LoanState, Obligation, ScheduleRow

NOTICE = timedelta(days=5)
_State, _Kind = Obligation.State, Obligation.Kind
_PAYABLE = (_State.NOTICED, _State.DUE, _State.LATE)


def default_at(calendar: str, due_date: date, grace_days: int) -> datetime:
    """Return when what is to be paid for a date is in default: its day and the business days of grace are over."""
    last = calendars.after(calendar, calendars.following(calendar, due_date), grace_days)
    return _midnight(last) + DEFAULT_AFTER


def default_of(terms: Mapping[str, Any]) -> datetime:
    """Return when a loan is in default that is not paid off at maturity, from its terms by name."""
    return default_at(terms["calendar"], terms["maturity_date"], terms["grace_days"])


def expect(rows: Iterable[ScheduleRow]) -> None:
    """Write down what the rows of schedules ask of clients; the last of each loan is all that is left by then."""
    Obligation.objects.bulk_create(
        Obligation(
            client_id=row.client_id,
            loan=row.loan,
            kind=_kind(row),
            due_date=row.due_date,
            due_at=_midnight(row.pay_date),
            default_at=default_at(row.loan.calendar, row.due_date, row.loan.grace_days),
            principal=row.principal,
            interest=row.interest,
            balance=row.balance,
            act_at=_midnight(row.pay_date) - NOTICE,
        )
        for row in rows
    )


def pay(loan: Loan, amount: Decimal, *, at: datetime) -> None:
    """
    Count money that reduced a locked loan towards what was announced or is due, the oldest first.

    What is left of it is a payment before its time: the notices to come ask for that much less. The last obligation
    is met when the loan is paid off and not before, because interest runs until then.
    """
    rows = Obligation.objects.filter(loan=loan, state__in=_PAYABLE).exclude(kind=_Kind.MATURITY)
    for row in rows.order_by("due_at", "pk") if amount > 0 else ():
        with money.exact():
            part = min(amount, row.asks - row.paid)
            amount -= part
            row.paid += part
        if row.paid == row.amount:
            row.state, row.met_at, row.act_at = _State.MET, at, None
        row.save(update_fields=["paid", "state", "met_at", "act_at"])


def follow(loan: Loan, before: str, after: str, *, now: datetime) -> None:
    """Let obligations follow a step of their loan: what ends it ends them, what takes that back brings them back."""
    mine = Obligation.objects.filter(loan=loan)
    if after == LoanState.REPAID:
        mine.filter(state__in=OPEN_OBLIGATIONS).update(state=_State.MET, met_at=now, act_at=None)
    elif after in (LoanState.DEFAULTED, LoanState.WORKOUT):
        mine.filter(state__in=OPEN_OBLIGATIONS).update(state=_State.CANCELLED, act_at=None)
    elif before == LoanState.LIQUIDATING and after == LoanState.ACTIVE:  # a sale does not heal a default
        mine.filter(state=_State.DEFAULTED).update(state=_State.LATE, act_at=now)
    elif before == LoanState.REPAID and after in (LoanState.ACTIVE, LoanState.MATURED):
        unpaid = Q(amount=None) | Q(paid__lt=F("amount"))
        again = {"amount": None, "paid": money.ZERO, "met_at": None, "act_at": now}
        mine.filter(unpaid, state=_State.MET).update(state=_State.EXPECTED, **again)


def near(loan: Loan) -> list[Obligation]:
    """Return what was announced of a loan so far, and what comes next."""
    rows = Obligation.objects.filter(loan=loan).order_by("due_at", "pk")
    expected = next((row.pk for row in rows if row.state == _State.EXPECTED), None)
    return [row for row in rows if row.state != _State.EXPECTED or row.pk == expected]


def ahead(clients: Iterable[Client], *, until: datetime | None = None) -> QuerySet[Obligation]:
    """Return what is open on the running loans of some clients, or of that what falls due by an instant."""
    rows = Obligation.objects.filter(client__in=clients, state__in=OPEN_OBLIGATIONS)
    rows = rows.filter(due_at__lte=until) if until else rows
    return rows.select_related("loan__asset", "client").order_by("due_at", "pk")


def _kind(row: ScheduleRow) -> str:
    if not row.balance:
        return _Kind.MATURITY
    return _Kind.INSTALMENT if row.principal else _Kind.INTEREST


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)

"""Obligations: what a client is to pay on a loan and when; expected from its schedule, met by what is paid."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Q, QuerySet

from lending import calendars, interest
from lending.engine import figures, money
from lending.models import (
    LOSS_OPEN,
    OPEN_OBLIGATIONS,
    WHOLE,
    Client,
    Loan,
    LoanState,
    MarginAccount,
    Obligation,
    ScheduleRow,
)

NOTICE = timedelta(days=5)
_State, _Kind = Obligation.State, Obligation.Kind
_PAYABLE = (_State.NOTICED, _State.DUE, _State.LATE)
_AFTER_A_SALE = (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED)
# These are not paid although they should be; what a sale left unpaid is no debt of the loan any more, but still a loss.
_DUE = (LoanState.MATURED, LoanState.DEFAULTED, LoanState.LIQUIDATING)
# A loan that was in default may be in sale by now, or paid off with the interest that its default brought.
_AFTER_DEFAULT = (LoanState.DEFAULTED, LoanState.LIQUIDATING, LoanState.REPAID)


@dataclass(frozen=True, slots=True)
class Received:
    """Money that reduced a loan, in its asset: when it counts, and when it became known; None is now."""

    at: datetime
    known_at: datetime | None
    amount: Decimal


def default_at(calendar: str, due_date: date, grace_days: int) -> datetime:
    """Return when what is to be paid for a date is in default: its day and the business days of grace are over."""
    last = calendars.after(calendar, calendars.following(calendar, due_date), grace_days)
    return _midnight(last) + interest.DEFAULT_AFTER


def default_of(terms: Mapping[str, Any]) -> datetime | None:
    """Return when a loan is in default that is not paid off at maturity, from its terms by name; None without one."""
    day = terms["maturity_date"]
    return default_at(terms["calendar"], day, terms["grace_days"]) if day else None


def agreed_default(loan: Loan) -> datetime:
    """Return when a loan is in default that is not paid off when it ends, if no other default comes before."""
    return default_at(loan.calendar, loan.end_date, loan.grace_days) if loan.end_date else interest.NEVER


def expect(rows: Iterable[ScheduleRow]) -> None:
    """
    Write down what the rows of schedules ask of clients; the last of each loan is all that is left by then.

    Where interest becomes principal, it is the one thing that is asked.
    """
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
        if not row.loan.capitalises or not row.balance
    )


def recall(loan: Loan, *, now: datetime) -> Obligation:
    """
    Announce that all that is left of a locked loan is to be paid on the day that ends it, and return that.

    It holds whatever was to be paid from then on, so that is asked for no more.
    """
    if loan.end_date is None:
        raise ValueError(f"{loan} has no end")
    due_at = _midnight(loan.end_date)
    _cancel(Obligation.objects.filter(loan=loan, state__in=OPEN_OBLIGATIONS, due_at__gte=due_at))
    owed = interest.payoff(loan, now=due_at)
    with money.exact():
        beside = owed.total - owed.principal
    row = Obligation.objects.create(
        client_id=loan.client_id,
        loan=loan,
        kind=_Kind.RECALL,
        due_date=loan.end_date,
        due_at=due_at,
        default_at=agreed_default(loan),
        principal=owed.principal,
        interest=beside,
        balance=money.ZERO,
        act_at=now,
    )
    row.amount, row.announced_at, row.state, row.act_at = owed.total, now, _State.NOTICED, due_at
    row.save(update_fields=["amount", "announced_at", "state", "act_at"])
    return row


def resume(loan: Loan, ended_on: date) -> None:
    """Ask again for what a notice held that was taken back from a locked loan, which it was to end on a day."""
    _cancel(Obligation.objects.filter(loan=loan, kind=_Kind.RECALL, state__in=OPEN_OBLIGATIONS))
    asked = Obligation.objects.filter(loan=loan).exclude(state=_State.CANCELLED)
    rows = ScheduleRow.objects.filter(loan=loan, pay_date__gte=ended_on).order_by("number")
    newest = rows.order_by("-version").values("version")[:1]
    expect(rows.filter(version=newest).exclude(due_date__in=asked.values("due_date")).select_related("loan"))


def project(loan: Loan) -> None:
    """Say anew what is to be paid on a line that was drawn: what is expected next, and all of it once it is ended."""
    for row in Obligation.objects.filter(loan=loan, state=_State.EXPECTED):
        with money.exact():
            row.interest = asked_for(loan, row)
        row.save(update_fields=["interest"])
    for row in Obligation.objects.filter(loan=loan, kind=_Kind.RECALL, state=_State.NOTICED):
        row.amount = asked_for(loan, row)
        row.save(update_fields=["amount"])


def _cancel(rows: QuerySet[Obligation]) -> None:
    rows.update(state=_State.CANCELLED, act_at=None)


def paid_until(loan: Loan) -> date | None:
    """Return the last due date of a loan for which all was paid that was asked for; None before the first."""
    met = Obligation.objects.filter(loan=loan, state=_State.MET).exclude(kind__in=WHOLE)
    return met.order_by("-due_date").values_list("due_date", flat=True).first()


def overdue(loan: Loan) -> list[Obligation]:
    """Return what is due of a loan and not paid, but for the last payment, which a later maturity puts off."""
    rows = Obligation.objects.filter(loan=loan, state__in=(_State.DUE, _State.LATE)).exclude(kind__in=WHOLE)
    return list(rows.order_by("due_at", "pk"))


def holds_back(client: Client, *, pledged_to: MarginAccount | None = None) -> str:
    """
    Return what a client has not paid, and gets neither money nor coins nor draws while it has not; "" where nothing is.

    Of whichever of its loans, and not only once its grace is over. What is pledged to an account that secures no debt
    any more is the client's own: nothing holds that back.
    """
    if pledged_to is not None and not secures(pledged_to):
        return ""
    loans = Loan.objects.filter(client=client)
    unpaid = loans.alias(dues=interest.DUES).filter(Q(dues__gt=0, state__in=_DUE) | Q(state__in=LOSS_OPEN))
    found = unpaid.select_related("asset").order_by("public_id")
    if broken := sorted(found, key=lambda loan: loan.state in LOSS_OPEN):
        return f"{broken[0]} is {broken[0].get_state_display().lower()} and not paid"
    open_rows = Obligation.objects.filter(client=client, state__in=(_State.DUE, _State.LATE)).exclude(kind__in=WHOLE)
    row = open_rows.select_related("loan__asset").order_by("due_at", "pk").first()
    if row is None:
        return ""
    with money.exact():
        missing = row.asks - row.paid
    said = figures.amount(missing, row.loan.asset.code)
    return f"{said} of {row.loan} was due on {figures.day(row.due_at.date())} and is not paid"


def secures(account: MarginAccount) -> bool:
    """Return whether what is pledged to an account secures anything: a debt, or what a sale left unpaid."""
    return account.loans.alias(dues=interest.DUES).filter(Q(dues__gt=0) | Q(state__in=LOSS_OPEN)).exists()


def behind(client_ids: Iterable[int]) -> QuerySet[Client]:
    """Return those of some clients whom `holds_back` may name something of: one query, that may return too many."""
    broken = Loan.objects.filter(state__in=(*_DUE, *LOSS_OPEN)).values("client")
    unpaid = Obligation.objects.filter(state__in=(_State.DUE, _State.LATE)).values("client")
    return Client.objects.filter(Q(pk__in=broken) | Q(pk__in=unpaid), pk__in=client_ids).order_by("pk")


def replace(rows: Sequence[ScheduleRow]) -> None:
    """Have the rows of a loan's new schedule stand for all that was expected, announced, or due at its end."""
    Obligation.objects.filter(loan=rows[0].loan, state__in=OPEN_OBLIGATIONS).update(state=_State.REPLACED, act_at=None)
    expect(rows)


def pay(loan: Loan, amount: Decimal, *, at: datetime) -> None:
    """
    Count money that reduced a locked loan towards what was announced or is due, the oldest first.

    What is left of it is a payment before its time: the notices to come ask for that much less. The last obligation
    is met when the loan is paid off and not before, because interest runs until then.
    """
    rows = Obligation.objects.filter(loan=loan, state__in=_PAYABLE).exclude(kind__in=WHOLE)
    for row in rows.order_by("due_at", "pk") if amount > 0 else ():
        with money.exact():
            part = min(amount, row.asks - row.paid)
            amount -= part
            row.paid += part
        if row.paid == row.amount:
            row.state, row.met_at, row.act_at = _State.MET, at, None
        row.save(update_fields=["paid", "state", "met_at", "act_at"])


def follow(loan: Loan, before: str, after: str, *, now: datetime) -> None:
    """Let obligations follow a step of their loan: what ends it ends them, and a sale that leaves debt does not."""
    mine = Obligation.objects.filter(loan=loan)
    if after == LoanState.REPAID:
        mine.filter(state__in=OPEN_OBLIGATIONS).update(state=_State.MET, met_at=now, act_at=None)
    elif after in (LoanState.DEFAULTED, LoanState.WORKOUT):
        _cancel(mine.filter(state__in=OPEN_OBLIGATIONS))
    elif before == LoanState.LIQUIDATING and after in _AFTER_A_SALE:  # a sale does not heal a default
        mine.filter(state=_State.DEFAULTED).update(state=_State.LATE, act_at=now)


def asked_for(loan: Loan, row: Obligation) -> Decimal:
    """Return what is to be paid by the start of the due day if nothing is paid before, less what is asked already."""
    owed = interest.payoff(loan, now=row.due_at)
    if row.kind in WHOLE:
        return owed.total
    before = Obligation.objects.filter(loan=loan, due_at__lt=row.due_at, state__in=(_State.DUE, _State.LATE))
    with money.exact():
        # Of a loan without a fixed end a period's row asks for interest alone, whatever was owed when it was written.
        principal = max(owed.principal - row.balance, money.ZERO) if loan.maturity_date else money.ZERO
        open_before = sum((other.asks - other.paid for other in before), money.ZERO)
        return max(owed.interest + owed.pending + owed.fees + principal - open_before, money.ZERO)


# --- a past that is put right -----------------------------------------------------------------------------------------


def heals(loan: Loan, paid: Sequence[Received]) -> bool:
    """Return whether a loan would not have been in default if this was paid: what its default rests on was in time."""
    if loan.state not in _AFTER_DEFAULT:
        return False
    rows = list(_standing(loan))
    met = {row.pk: met_at for row, _, met_at in _counted(rows, paid)}
    broken = [row for row in rows if row.state == _State.DEFAULTED]
    return bool(broken) and all((at := met.get(row.pk)) is not None and at < row.default_at for row in broken)


def broken_after(loan: Loan, at: datetime) -> bool:
    """Return whether what was paid at an instant came before something that a loan's default rests on was over."""
    return Obligation.objects.filter(loan=loan, state=_State.DEFAULTED, default_at__gt=at).exists()


def unmet(loan: Loan, paid: Sequence[Received]) -> list[tuple[Obligation, Decimal]]:
    """Return what stands as paid and would not be if this was paid, each with what would be missing; it only looks."""
    rows = Obligation.objects.filter(loan=loan, state__in=(*_PAYABLE, _State.MET)).order_by("due_at", "pk")
    with money.exact():
        return [
            (row, row.asks - part)
            for row, part, met_at in _counted(list(rows), paid)
            if row.state == _State.MET and met_at is None
        ]


def in_time(loan: Loan, paid: Sequence[Received]) -> list[Obligation]:
    """Return what a late fee was charged for and would have been paid within its grace, if this was paid."""
    if not loan.late_fee:
        return []
    found = _counted(list(_standing(loan).select_related("late_fee_entry")), paid)
    return [row for row, _, met_at in found if row.late_fee and met_at is not None and met_at < row.default_at]


def _standing(loan: Loan) -> QuerySet[Obligation]:
    """Return what a loan was asked for and no amendment has replaced: no payment counts towards that any more."""
    return Obligation.objects.filter(loan=loan).exclude(state=_State.REPLACED).order_by("due_at", "pk")


def recount(loan: Loan, paid: Sequence[Received], *, healed: bool = False, now: datetime) -> list[Obligation]:
    """
    Count anew what was paid towards what a locked loan was asked for, its past put right; return what is open again.

    Each payment counts at its own time, the oldest obligation first, towards what had been announced when it became
    known. What is no longer met is announced, due or late as the clock says. Nobody is in default at once of what
    they were told was paid: its grace runs again from now. `healed` says that the loan's default is undone; of one that
    is repaid by now, what paid it off has met all that was still to come.
    """
    repaid = loan.state == LoanState.REPAID
    if repaid and not healed:
        return []
    ended_at = max((flow.at for flow in paid), default=now)
    counts = (*_PAYABLE, _State.MET, *((_State.DEFAULTED, _State.CANCELLED) if healed else ()))
    rows = list(Obligation.objects.filter(loan=loan, state__in=counts).order_by("due_at", "pk"))
    rows = [row for row in rows if row.state != _State.CANCELLED or _stands(loan, row, rows)]
    counted = {row.pk: (part, met_at) for row, part, met_at in _counted(rows, paid)}
    again = []
    for row in rows:
        row.paid, met_at = counted.get(row.pk, (row.paid, None))
        if met_at is None and repaid:
            met_at = row.met_at or ended_at
        if met_at is not None:
            row.state, row.met_at, row.act_at = _State.MET, met_at, None
        elif row.state in (_State.MET, _State.DEFAULTED, _State.CANCELLED):
            _reopen(loan, row, now)
            again.append(row)
        row.save(update_fields=["state", "amount", "announced_at", "default_at", "paid", "met_at", "act_at"])
    return again


def _counted(rows: Sequence[Obligation], paid: Sequence[Received]) -> list[tuple[Obligation, Decimal, datetime | None]]:
    """Return what was announced, with what was paid of it and when that was all; parts do not meet the last one."""
    open_rows = [row for row in rows if row.amount is not None and row.kind not in WHOLE]
    parts = {row.pk: money.ZERO for row in open_rows}
    met_at = {row.pk: row.due_at for row in open_rows if not row.amount and row.state == _State.MET}
    for flow in sorted(paid, key=lambda flow: flow.at):
        left = flow.amount
        for row in open_rows:
            with money.exact():
                part = min(left, row.asks - parts[row.pk]) if _announced(row, flow) else money.ZERO
                left -= part
                parts[row.pk] += part
            if part and parts[row.pk] == row.asks:
                met_at[row.pk] = flow.at
    return [(row, parts[row.pk], met_at.get(row.pk)) for row in open_rows]


def _announced(row: Obligation, flow: Received) -> bool:
    return flow.known_at is None or (row.announced_at or row.due_at - NOTICE) <= flow.known_at


def _stands(loan: Loan, row: Obligation, rows: Sequence[Obligation]) -> bool:
    """Return whether what was cancelled would stand but for a default; not what a notice held, or one taken back."""
    if row.kind == _Kind.RECALL:
        return row.due_date == loan.ends_on
    again = any(other.due_date == row.due_date and other.pk > row.pk for other in rows)
    return not again and (loan.ends_on is None or row.due_at < _midnight(loan.ends_on))


def _reopen(loan: Loan, row: Obligation, now: datetime) -> None:
    row.met_at = None
    if loan.state == LoanState.DEFAULTED:
        row.state, row.act_at = _State.CANCELLED, None  # all of the loan is due, and this with it
        return
    if row.amount is None and now < row.due_at:
        row.state, row.act_at = _State.EXPECTED, row.due_at - NOTICE
        return
    if row.amount is None:
        row.amount, row.announced_at = asked_for(loan, row), now
    if now < row.due_at:
        row.state, row.act_at = _State.NOTICED, row.due_at
    elif now < row.due_at + interest.DEFAULT_AFTER:
        row.state, row.act_at = _State.DUE, row.due_at + interest.DEFAULT_AFTER
    else:
        again = default_at(loan.calendar, now.astimezone(UTC).date(), loan.grace_days)
        # What the client is told now is what a payment that comes to be known later is held against.
        row.state, row.default_at = _State.LATE, max(row.default_at, again)
        row.act_at = row.default_at


def near(loan: Loan) -> list[Obligation]:
    """Return what was announced of a loan so far, and what comes next."""
    rows = Obligation.objects.filter(loan=loan).exclude(state=_State.REPLACED).order_by("due_at", "pk")
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

"""
Interest on loans: posted once a day, exact to the second in between.

What is posted is always `round_up(interest from funding to t) - what was posted so far`, so that an outage, a payment
inside a day or a payment dated before the last accrual corrects itself with the next posting.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import F, QuerySet

from lending import bulk, ids, ledger, margin_accounts
from lending.engine import entries, interest, money
from lending.engine.interest import Step
from lending.models import Loan, LoanState, Repayment

DEFAULT_AFTER = timedelta(days=1)  # a loan that fell due and is unpaid so much later is in default
ACCRUING = (LoanState.ACTIVE, LoanState.MATURED, LoanState.DEFAULTED, LoanState.LIQUIDATING)
BATCH = ledger.BATCH  # margin accounts of one transaction: it has as many statements for one as for all of them
_REASON_LENGTH = 120  # of what may stand in an entry's key
_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class UnableToAccrue(Exception):
    """Interest can not be worked out for this loan; the message says why."""


@dataclass(frozen=True, slots=True)
class Payoff:
    """What pays a loan off at an instant, in the loan's asset."""

    principal: Decimal
    interest: Decimal
    pending: Decimal
    fees: Decimal
    total: Decimal
    good_at: datetime


Debt = tuple[Loan, Payoff]


def maturity_at(loan: Loan) -> datetime:
    """Return the instant at which a loan falls due: the start of its maturity date, UTC."""
    return _midnight(loan.maturity_date)


def default_at(loan: Loan) -> datetime:
    """Return the instant from which an unpaid loan is in default and bears the default rate."""
    return loan.default_at or maturity_at(loan) + DEFAULT_AFTER


def payoff(loan: Loan, *, now: datetime) -> Payoff:
    """Return what pays the loan off at `now`, with interest to the second."""
    return payoffs([loan], now=now)[loan.pk]


def payoffs(loans: Sequence[Loan], *, now: datetime) -> dict[int, Payoff]:
    """Return what pays each loan off at `now`, by loan key; reads the payments of all of them at once."""
    return payoffs_at(loans, now)[0]


def payoffs_at(loans: Sequence[Loan], *instants: datetime) -> list[dict[int, Payoff]]:
    """Return what pays each loan off at some instants if nothing is paid before; reads the payments once."""
    paid = _principal_paid(loan.pk for loan in loans)
    return [{loan.pk: _payoff(loan, paid[loan.pk], at) for loan in loans} for at in instants]


def in_debt(loans: QuerySet[Loan]) -> list[Loan]:
    """Return those of some loans that owe anything, in order of public id."""
    dues = F("principal_outstanding") + F("interest_due") + F("fees_due")
    return list(loans.alias(dues=dues).filter(dues__gt=0).select_related("asset").order_by("public_id"))


def owing(loans: QuerySet[Loan], *, now: datetime) -> list[Debt]:
    """Return those of some loans that owe anything, each with what pays it off at `now`, in order of public id."""
    found = in_debt(loans)
    paid_off_by = payoffs(found, now=now)
    return [(loan, paid_off_by[loan.pk]) for loan in found]


def owed_over(loans: Sequence[Loan], times: Sequence[datetime]) -> dict[int, list[Decimal]]:
    """
    Return what each loan owed at some instants up to now, by loan key, in the loan's asset: for charts.

    Principal and the interest that was earned and not yet paid, as the payments are known today; without fees.
    """
    paid: defaultdict[int, list[Repayment]] = defaultdict(list)
    for row in Repayment.objects.filter(loan__in=[loan.pk for loan in loans]).order_by("received_at", "pk"):
        paid[row.loan_id].append(row)
    return {loan.pk: [_owed_at(loan, paid[loan.pk], at) for at in times] for loan in loans}


def _owed_at(loan: Loan, paid: Sequence[Repayment], at: datetime) -> Decimal:
    if loan.start_at is None or at < loan.start_at:
        return money.ZERO
    until = [row for row in paid if row.received_at <= at]
    steps = [Step(row.received_at, row.principal) for row in until if row.principal]
    with money.exact():
        principal = loan.principal - sum((step.value for step in steps), money.ZERO)
        earned = _earned(loan, steps, at) if principal > 0 else money.ZERO
        return principal + max(earned - sum((row.interest for row in until), money.ZERO), money.ZERO)


def accrue_due(*, now: datetime) -> int:
    """
    Post the interest of every day that has ended and is not yet posted, and return the number of loan days.

    Idempotent per loan and day by the entry's key; a loan whose margin account is busy is left to the next call.
    """
    midnight = _midnight(now.astimezone(UTC).date())
    total, after = 0, 0
    while True:
        due = Loan.objects.filter(state__in=ACCRUING, accrued_at__lt=midnight, margin_account_id__gt=after)
        ids = list(due.order_by("margin_account_id").values_list("margin_account_id", flat=True).distinct()[:BATCH])
        if not ids:
            return total
        after = ids[-1]
        total += _accrue_batch(ids, midnight, now)


def catch_up(loan: Loan, *, until: datetime, reason: str, now: datetime) -> None:
    """
    Post the interest of a locked loan up to an instant inside a day, so that what is due at it is on the books.

    Days that have ended before it are posted first, just as the daily run would have: each counts in its own profit.
    `reason` becomes part of the last entry's key; it names the payment or sale that needs the exact amount.
    """
    if loan.state not in ACCRUING:
        return
    paid = _principal_paid([loan.pk])[loan.pk]
    ended = until - _INSTANT if until == _midnight(until.date()) else until
    why = reason if len(reason) <= _REASON_LENGTH else ids.derived(reason)
    key = f"accrual:{loan.public_id}:{ended.date()}:{why}"
    drafts = [_end_day(loan, paid, end) for end in _day_ends(loan, _midnight(until.date()))]
    drafts.append(_advance(loan, paid, until, key=key, effective_at=until))
    ledger.post_many([draft for draft in drafts if draft], now=now)
    loan.save(update_fields=["interest_due", "interest_posted", "accrued_at"])


@transaction.atomic
def _accrue_batch(margin_account_ids: list[int], midnight: datetime, now: datetime) -> int:
    locked = margin_accounts.lock_many(margin_account_ids, skip_locked=True)
    due = Loan.objects.filter(
        margin_account__in=[account.pk for account in locked], state__in=ACCRUING, accrued_at__lt=midnight
    )
    loans = list(due.select_related("asset").order_by("pk"))
    paid = _principal_paid(loan.pk for loan in loans)
    days, end = 0, _first_end(min(map(_accrued_at, loans), default=midnight))
    while end <= midnight:
        # A day of all loans at a time: an outage of a month is not held in memory as a whole.
        running = [loan for loan in loans if _accrued_at(loan) < end]
        drafts = [_end_day(loan, paid[loan.pk], end) for loan in running]
        ledger.post_many([draft for draft in drafts if draft], now=now)
        days += len(running)
        end += _DAY
    bulk.update(loans, ["interest_due", "interest_posted", "accrued_at"])
    margin_accounts.touch_many(loan.margin_account_id for loan in loans)
    return days


def _end_day(loan: Loan, paid: list[Step], end: datetime) -> entries.Draft | None:
    """Move a loan's interest to the end of a day, and return the entry that books it at the day's last instant."""
    earned_at = end - _INSTANT
    return _advance(loan, paid, end, key=f"accrual:{loan.public_id}:{earned_at.date()}", effective_at=earned_at)


def _advance(
    loan: Loan, paid: list[Step], until: datetime, *, key: str, effective_at: datetime
) -> entries.Draft | None:
    """Move a loan's interest to an instant in memory, and return the entry that books it, or None when it is zero."""
    amount = _unposted(loan, paid, until)
    loan.accrued_at = max(_accrued_at(loan), until)
    if not amount:
        return None
    with money.exact():
        loan.interest_due += amount
        loan.interest_posted += amount
    heading = entries.Heading(
        key=key, effective_at=effective_at, book_id=loan.book_id, client_id=loan.client_id, loan_id=loan.pk
    )
    return entries.accrual(heading, asset=loan.asset.code, amount=amount, default=until > default_at(loan))


def _payoff(loan: Loan, paid: list[Step], now: datetime) -> Payoff:
    pending = _unposted(loan, paid, now) if loan.state in ACCRUING else money.ZERO
    with money.exact():
        total = loan.principal_outstanding + loan.interest_due + pending + loan.fees_due
    return Payoff(
        principal=loan.principal_outstanding,
        interest=loan.interest_due,
        pending=pending,
        fees=loan.fees_due,
        total=total,
        good_at=now,
    )


def _unposted(loan: Loan, paid: list[Step], until: datetime) -> Decimal:
    """Return the interest to an instant less what is posted; negative after a payment dated before the last accrual."""
    earned = _earned(loan, paid, until)
    with money.exact():
        # Interest that was posted and already paid is not taken back: nothing is owed below zero.
        return max(earned - loan.interest_posted, -loan.interest_due)


def _earned(loan: Loan, paid: Sequence[Step], until: datetime) -> Decimal:
    """Return all interest from funding to an instant, rounded up; `paid` is principal that was paid back."""
    start_at = loan.start_at
    if start_at is None:
        raise UnableToAccrue(f"{loan} was never funded")
    principal = [Step(start_at, loan.principal)]
    with money.exact():
        for step in paid:
            principal.append(Step(step.at, principal[-1].value - step.value))
    rate = [Step(start_at, loan.annual_rate), Step(max(default_at(loan), start_at), loan.default_rate)]
    return interest.round_up(interest.cumulative(loan.day_count, principal, rate, until), loan.asset.decimals)


def _principal_paid(loan_ids: Iterable[int]) -> defaultdict[int, list[Step]]:
    rows = Repayment.objects.filter(loan__in=list(loan_ids), principal__gt=0)
    paid: defaultdict[int, list[Step]] = defaultdict(list)
    for loan_id, at, amount in rows.order_by("received_at", "pk").values_list("loan_id", "received_at", "principal"):
        paid[loan_id].append(Step(at, amount))
    return paid


def _day_ends(loan: Loan, midnight: datetime) -> Iterable[datetime]:
    end = _first_end(_accrued_at(loan))
    while end <= midnight:
        yield end
        end += _DAY


def _first_end(at: datetime) -> datetime:
    return _midnight(at.astimezone(UTC).date()) + _DAY


def _accrued_at(loan: Loan) -> datetime:
    if loan.accrued_at is None:
        raise UnableToAccrue(f"{loan} was never funded")
    return loan.accrued_at


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)

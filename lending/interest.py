"""
Interest on loans: posted once a day, exact to the second in between.

What is posted is always `round_up(interest from funding to t) - what was posted so far`, so that an outage or a payment
inside a day corrects itself with the next posting. What changes the past is booked by `lending/differences.py`, each
day's in its own day.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from operator import attrgetter, itemgetter

from django.db import transaction
from django.db.models import F, QuerySet, Value

from lending import bulk, ids, ledger, margin_accounts, one_by_one
from lending.engine import entries, interest, money
from lending.engine.chart import Category
from lending.engine.interest import Step
from lending.models import (
    Capitalisation,
    Draw,
    Loan,
    LoanState,
    Overdue,
    RateStep,
    Repayment,
    ScheduleRow,
    SplitChange,
)
from lending.models.fields import AmountField

DEFAULT_AFTER = timedelta(days=1)  # a loan that fell due and is unpaid so much later is in default
INSTANT = timedelta(microseconds=1)  # a day's own counts so much before its end
NEVER = datetime.max.replace(tzinfo=UTC)  # when what nobody has ended is in default by its dates
ACCRUING = (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED, LoanState.DEFAULTED, LoanState.LIQUIDATING)
DUES = F("principal_outstanding") + F("interest_due") + F("fees_due")  # what is posted of a loan's row and unpaid
BATCH = ledger.BATCH  # margin accounts of one transaction: it has as many statements for one as for all of them
_MOVED = ["interest_due", "interest_posted", "accrued_at"]
_MOVED_OF_LINES = ["fees_due", "unused_posted"]
_REASON_LENGTH = 100  # of what may stand in an entry's key
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


@dataclass(frozen=True, slots=True)
class Paid:
    """What was paid of a loan at an instant, in its asset, by any sign: a correction is one, and so is what is lent."""

    at: datetime
    interest: Decimal
    principal: Decimal


@dataclass(frozen=True, slots=True)
class Rates:
    """What a year costs from an instant on: the agreed rate, and the one in default."""

    at: datetime
    annual_rate: Decimal
    default_rate: Decimal


@dataclass(frozen=True, slots=True)
class History:
    """
    What happened to a loan that its interest depends on, as it is known now, each list ascending by instant.

    `rates` are those that were agreed or fixed since its funding, the first of them what held then; of a loan whose
    rates were never changed there are none, and its columns hold throughout. Of the same instant the last one holds.
    """

    paid: list[Paid] = field(default_factory=list)
    rates: list[Rates] = field(default_factory=list)


Debt = tuple[Loan, Payoff]


def maturity_at(loan: Loan) -> datetime:
    """Return the instant at which a loan falls due: the start of the day it ends on, UTC; NEVER without one."""
    return _midnight(loan.end_date) if loan.end_date else NEVER


def default_at(loan: Loan) -> datetime:
    """Return the instant from which an unpaid loan is in default and bears the default rate."""
    return loan.default_at or (maturity_at(loan) + DEFAULT_AFTER if loan.end_date else NEVER)


def payoff(loan: Loan, *, now: datetime) -> Payoff:
    """Return what pays the loan off at `now`, with interest to the second."""
    return payoffs([loan], now=now)[loan.pk]


def payoffs(loans: Sequence[Loan], *, now: datetime) -> dict[int, Payoff]:
    """Return what pays each loan off at `now`, by loan key; reads the payments of all of them at once."""
    return payoffs_at(loans, now)[0]


def payoffs_at(loans: Sequence[Loan], *instants: datetime) -> list[dict[int, Payoff]]:
    """
    Return what pays each loan off at some instants if nothing is paid before; reads the payments once.

    Interest that becomes principal by then bears interest from then on.
    """
    known, grow_at = histories(loan.pk for loan in loans), growing(loans, until=max(instants))
    return [{loan.pk: _payoff(loan, known[loan.pk], grow_at[loan.pk], at) for loan in loans} for at in instants]


def growing(loans: Iterable[Loan], *, until: datetime) -> defaultdict[int, list[datetime]]:
    """Return at which instants to one interest becomes principal that has not yet, by loan key; one query or none."""
    found: defaultdict[int, list[datetime]] = defaultdict(list)
    until_date = until.astimezone(UTC).date()
    if keys := [loan.pk for loan in loans if loan.capitalises and loan.state in ACCRUING]:
        rows = ScheduleRow.objects.filter(loan__in=keys, balance__gt=0, pay_date__lte=until_date, capitalisations=None)
        for loan_id, day in rows.order_by("pay_date").values_list("loan_id", "pay_date"):
            found[loan_id].append(_midnight(day))
    return found


def foreseen(loan: Loan, known: History, grow_at: Iterable[datetime], until: datetime) -> History:
    """Return a loan's history with what becomes principal at some instants up to one, if nothing is paid before."""
    found = known
    for at in grow_at:
        if at <= until:
            due = due_at(loan, found, at)
            paid = sorted([*found.paid, Paid(at, interest=due, principal=due.copy_negate())], key=attrgetter("at"))
            found = replace(found, paid=paid)
    return found


def due_at(loan: Loan, known: History, at: datetime) -> Decimal:
    """Return the interest that was earned and not paid at an instant."""
    with money.exact():
        settled = sum((row.interest for row in known.paid if row.at <= at), money.ZERO)
        return loan.interest_brought + earned(loan, known, at) - settled


def in_debt(loans: QuerySet[Loan]) -> list[Loan]:
    """Return those of some loans that owe anything, in order of public id."""
    return list(loans.alias(dues=DUES).filter(dues__gt=0).select_related("asset").order_by("public_id"))


def owing(loans: QuerySet[Loan], *, now: datetime) -> list[Debt]:
    """Return those of some loans that owe anything, each with what pays it off at `now`, in order of public id."""
    found = in_debt(loans)
    paid_off_by = payoffs(found, now=now)
    return [(loan, paid_off_by[loan.pk]) for loan in found]


def accrue_due(*, now: datetime) -> int:
    """
    Post the interest of every day that has ended and is not yet posted, and return the number of loan days.

    Idempotent per loan and day by the entry's key; a loan whose margin account is busy is left to the next call. A loan
    of which it can not be posted is kept as overdue, and holds back no other.
    """
    midnight = _midnight(now.astimezone(UTC).date())
    due = Loan.objects.filter(state__in=ACCRUING, accrued_at__lt=midnight)
    total, ids, failing, more = 0, [0], list[int](), True
    while more:
        later = due.filter(margin_account_id__gt=ids[-1]).order_by("margin_account_id")
        ids = list(later.values_list("margin_account_id", flat=True).distinct()[:BATCH])
        days, failed = one_by_one.halved(ids, lambda some: _accrue_batch(some, due, midnight, now))
        total, failing, more = total + days, failing + failed, len(ids) == BATCH
    rest = due.filter(margin_account__in=failing).order_by("pk") if failing else ()
    alone = (
        (loan, partial(_accrue_batch, [loan.margin_account_id], due.filter(pk=loan.pk), midnight, now)) for loan in rest
    )
    return total + one_by_one.work(Overdue.Kind.ACCRUAL, alone, now=now)


def catch_up(loan: Loan, *, until: datetime, reason: str, now: datetime) -> None:
    """
    Post the interest of a locked loan up to an instant inside a day, so that what is due at it is on the books.

    Days that have ended before it are posted first, just as the daily run would have: each counts in its own profit.
    `reason` becomes part of the last entry's key; it names the payment or sale that needs the exact amount.
    """
    if loan.state not in ACCRUING:
        return
    known = history(loan)
    ended = until - INSTANT if until == _midnight(until.date()) else until
    key = f"accrual:{loan.public_id}:{ended.date()}:{short(reason)}"
    drafts = [draft for end in ends_between(_accrued_at(loan), until) for draft in _end_day(loan, known, end)]
    ledger.post_many([*drafts, *_advance(loan, known, until, key=key, effective_at=until)], now=now)
    loan.save(update_fields=[*_MOVED, *_MOVED_OF_LINES])


@transaction.atomic
def _accrue_batch(margin_account_ids: list[int], due: QuerySet[Loan], midnight: datetime, now: datetime) -> int:
    locked = margin_accounts.lock_many(margin_account_ids, skip_locked=True)
    found = due.filter(margin_account__in=[account.pk for account in locked])
    loans = list(found.select_related("asset").order_by("pk"))
    known = histories(loan.pk for loan in loans)
    days, end = 0, _first_end(min(map(_accrued_at, loans), default=midnight))
    while end <= midnight:
        # A day of all loans at a time: an outage of a month is not held in memory as a whole.
        running = [loan for loan in loans if _accrued_at(loan) < end]
        ledger.post_many([draft for loan in running for draft in _end_day(loan, known[loan.pk], end)], now=now)
        days += len(running)
        end += _DAY
    bulk.update(loans, _MOVED)
    bulk.update([loan for loan in loans if loan.unused_fee], _MOVED_OF_LINES)
    margin_accounts.touch_many(loan.margin_account_id for loan in loans)
    return days


def _end_day(loan: Loan, known: History, end: datetime) -> list[entries.Draft]:
    """Move a loan's interest to the end of a day, and return the entries that book it at the day's last instant."""
    earned_at = end - INSTANT
    return _advance(loan, known, end, key=f"accrual:{loan.public_id}:{earned_at.date()}", effective_at=earned_at)


def _advance(loan: Loan, known: History, until: datetime, *, key: str, effective_at: datetime) -> list[entries.Draft]:
    """Move a loan's interest, and a line's fee, to an instant in memory, and return the entries that book them."""
    amount, fee = _unposted(loan, known, until), _unposted_fee(loan, known, until)
    loan.accrued_at = max(_accrued_at(loan), until)
    drafts = []
    if amount:
        about = heading(loan, key, effective_at)
        drafts.append(entries.accrual(about, asset=loan.asset.code, amount=amount, default=until > default_at(loan)))
    if fee:
        about, category = heading(loan, f"{key}:unused", effective_at), Category.UNUSED_FEE
        drafts.append(entries.fee(about, asset=loan.asset.code, amount=fee, category=category, corrects=fee < 0))
    with money.exact():
        loan.interest_due += amount
        loan.interest_posted += amount
        loan.fees_due += fee
        loan.unused_posted += fee
    return drafts


def heading(loan: Loan, key: str, effective_at: datetime, *, cause: str = "") -> entries.Heading:
    """Return the heading of an entry about a loan."""
    about = {"book_id": loan.book_id, "client_id": loan.client_id, "loan_id": loan.pk}
    return entries.Heading(key=key, effective_at=effective_at, cause=cause, **about)


def _payoff(loan: Loan, known: History, grow_at: Iterable[datetime], now: datetime) -> Payoff:
    accrues, then = loan.state in ACCRUING, foreseen(loan, known, grow_at, now)
    with money.exact():
        pending = _unposted(loan, then, now) + _unposted_fee(loan, then, now) if accrues else money.ZERO
        settled, will_be = (sum((row.interest for row in each.paid), money.ZERO) for each in (known, then))
        grows_by = will_be - settled
        posted = min(grows_by, loan.interest_due)
        principal, interest_due = loan.principal_outstanding + grows_by, loan.interest_due - posted
        pending -= grows_by - posted
        total = principal + interest_due + pending + loan.fees_due
    return Payoff(principal, interest_due, pending, loan.fees_due, total, now)


def _unposted(loan: Loan, known: History, until: datetime) -> Decimal:
    """Return the interest to an instant less what is posted."""
    so_far = earned(loan, known, until)
    with money.exact():
        return so_far - loan.interest_posted


def earned(loan: Loan, known: History, until: datetime) -> Decimal:
    """Return all interest from funding to an instant, rounded up."""
    principal, rate = principal_steps(loan, known), rate_steps(loan, known)
    exact = interest.cumulative(loan.day_count, principal, rate, until, since=loan.began_date)
    return interest.round_up(exact, loan.asset.decimals)


def _unposted_fee(loan: Loan, known: History, until: datetime) -> Decimal:
    """
    Return the fee on what is not drawn of a line to an instant, less what is posted.

    Where too much is, as after a default that counts from before, no more is taken back than is due: what was paid of
    it stays paid.
    """
    so_far = unused_fee(loan, known, until)
    with money.exact():
        return max(so_far - loan.unused_posted, -loan.fees_due)


def unused_fee(loan: Loan, known: History, until: datetime) -> Decimal:
    """Return all fees on what is not drawn of a line, until it ends or is in default, rounded up; else 0."""
    if not loan.unused_fee:
        return money.ZERO
    end, drawn = min(until, maturity_at(loan), default_at(loan)), principal_steps(loan, known)
    return interest.unused(loan.day_count, loan.principal, drawn, loan.unused_fee, end, loan.asset.decimals)


def principal_steps(loan: Loan, known: History) -> list[Step]:
    """Return a funded loan's outstanding principal, from its funding on: of a line what was drawn of it by then."""
    principal = [Step(_started(loan), money.ZERO if loan.is_line else loan.principal)]
    with money.exact():
        for row in known.paid:
            if row.principal:
                principal.append(Step(row.at, principal[-1].value - row.principal))
    return principal


def agreed_rates(loan: Loan) -> Rates:
    """Return what a funded loan's columns say, as if it had held from the funding on."""
    return Rates(_started(loan), loan.annual_rate, loan.default_rate)


def rate_steps(loan: Loan, known: History, *, default_from: datetime | None = None) -> tuple[Step, ...]:
    """Return a funded loan's rate as it was agreed, changed, reset and stepped up; in default, that in default."""
    start_at = _started(loan)
    agreed = known.rates or [agreed_rates(loan)]
    switch_at = max(default_from or default_at(loan), start_at)
    in_default = next(row.default_rate for row in reversed(agreed) if row.at <= switch_at)
    steps = (
        *(Step(row.at, row.annual_rate) for row in agreed if row.at < switch_at or row is agreed[0]),
        Step(switch_at, in_default),
        *(Step(row.at, row.default_rate) for row in agreed if row.at > switch_at),
    )
    if loan.step_up_date is None:
        return steps
    return interest.stepped_up(steps, loan.step_up, max(_midnight(loan.step_up_date), start_at))


def _started(loan: Loan) -> datetime:
    if loan.start_at is None:
        raise UnableToAccrue(f"{loan} was never funded")
    return loan.start_at


def history(loan: Loan) -> History:
    """Return what happened to one loan that its interest depends on; one query."""
    return histories([loan.pk])[loan.pk]


def histories(loan_ids: Iterable[int]) -> defaultdict[int, History]:
    """Return what happened to some loans that their interest depends on, after all corrections; one query for all."""
    keys = list(loan_ids)
    paid, rates = Value("paid"), Value("rates")
    rows = Repayment.objects.filter(loan__in=keys).values_list(
        "loan_id", "received_at", "interest", "principal", paid, Value(0)
    )
    changes = SplitChange.objects.filter(repayment__loan__in=keys).values_list(
        "repayment__loan_id", "repayment__received_at", "interest", "principal", paid, Value(0)
    )
    drawn = Draw.objects.filter(loan__in=keys, state=Draw.State.PAID_OUT).values_list(
        "loan_id", "decided_at", Value(money.ZERO, output_field=AmountField()), F("amount") * -1, paid, Value(0)
    )
    grown = Capitalisation.objects.filter(loan__in=keys).values_list(
        "loan_id", "at", "amount", F("amount") * -1, paid, Value(0)
    )
    agreed = RateStep.objects.filter(loan__in=keys).values_list(
        "loan_id", "at", "annual_rate", "default_rate", rates, "number"
    )
    found: defaultdict[int, History] = defaultdict(History)
    every = rows.union(changes, drawn, grown, agreed, all=True)
    for loan_id, at, first, second, what, _ in sorted(every, key=itemgetter(1, 5)):
        if what == "paid":
            found[loan_id].paid.append(Paid(at, interest=first, principal=second))
        else:
            found[loan_id].rates.append(Rates(at, annual_rate=first, default_rate=second))
    return found


def ends_between(after: datetime, until: datetime) -> Iterable[datetime]:
    """Yield the ends of the days that end after one instant and not after another."""
    end = _first_end(after)
    while end <= until:
        yield end
        end += _DAY


def short(reason: str) -> str:
    """Return a reason as it may stand in an entry's key."""
    return reason if len(reason) <= _REASON_LENGTH else str(ids.derived(reason))


def _first_end(at: datetime) -> datetime:
    return _midnight(at.astimezone(UTC).date()) + _DAY


def _accrued_at(loan: Loan) -> datetime:
    return loan.accrued_at or _started(loan)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)

"""
Outlook: what is still to be paid on a loan whose rate follows a benchmark.

The interest of a period is fixed once its rate is; of those after the next reset it is what today's fixing comes to.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal

from lending import bulk, interest
from lending.benchmarks import Known
from lending.engine import floating, money, schedule
from lending.interest import History, Rates
from lending.models import OPEN_OBLIGATIONS, WHOLE, Fixing, Loan, Obligation, ScheduleRow

NEVER = datetime(9999, 1, 1, tzinfo=UTC)  # the next reset of what is not reset any more


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is to be paid for a period that is not over: its interest is fixed, or expected at today's fixing."""

    due_date: date
    pay_date: date
    principal: Decimal
    interest: Decimal
    is_fixed: bool


def by_fixing(loan: Loan, fixing: Fixing, at: datetime, *, spread: Decimal) -> Rates:
    """Return what a fixing comes to by a loan's terms; in default it stays as much above as it was agreed to be."""
    annual = floating.rate(fixing.rate, spread=spread, floor=loan.rate_floor, cap=loan.rate_cap)
    with money.exact():
        return Rates(at, annual, annual + loan.default_rate - loan.annual_rate)


def ahead(loan: Loan, *, now: datetime) -> list[Ahead]:
    """Return what is to be paid on a running loan that floats, its interest fixed or expected at today's fixing."""
    return _of([loan], Known([loan.benchmark]), now)[loan.pk]


def _of(every: Sequence[Loan], known: Known, now: datetime) -> dict[int, list[Ahead]]:
    histories = interest.histories(loan.pk for loan in every)
    rows: defaultdict[int, defaultdict[int, list[ScheduleRow]]] = defaultdict(lambda: defaultdict(list))
    for row in ScheduleRow.objects.filter(loan__in=every).order_by("version", "number"):
        rows[row.loan_id][row.version].append(row)
    found, asked = {}, _asked_before(every, now)
    for loan in every:
        versions = rows[loan.pk]
        to_come = [row for row in versions[max(versions)] if _midnight(row.pay_date) > now] if versions else []
        fixing = known.on(loan.benchmark, now.astimezone(UTC).date())
        rows_ahead = _expected(loan, histories[loan.pk], to_come, fixing, now) if to_come else []
        if rows_ahead:  # its first row would ask again for what is due and not paid
            with money.exact():
                left = max(rows_ahead[0].interest - asked[loan.pk], money.ZERO)
            rows_ahead[0] = replace(rows_ahead[0], interest=left)
        found[loan.pk] = rows_ahead
    return found


def _asked_before(every: Sequence[Loan], now: datetime) -> defaultdict[int, Decimal]:
    """Return the interest of periods that are over that was asked for and is not paid, by the loan's key."""
    found: defaultdict[int, Decimal] = defaultdict(Decimal)
    rows = Obligation.objects.filter(loan__in=every, state__in=OPEN_OBLIGATIONS, due_at__lte=now)
    for row in rows.exclude(kind__in=WHOLE):
        with money.exact():
            found[row.loan_id] += min(row.interest, row.asks - row.paid)
    return found


def foresee(loan: Loan, known: History, fixing: Fixing | None, *, now: datetime) -> datetime:
    """Add to what is known of a loan what a fixing comes to from its next reset on; return that instant."""
    next_at = max(loan.next_reset_at or now, now)  # what could not be reset in the past is not known to be yet
    if fixing is not None and next_at < NEVER:
        if not known.rates:
            known.rates.append(interest.agreed_rates(loan))
        known.rates.append(by_fixing(loan, fixing, next_at, spread=loan.spread))
    return next_at


def _expected(
    loan: Loan, known: History, rows: Sequence[ScheduleRow], fixing: Fixing | None, now: datetime
) -> list[Ahead]:
    """Return rows of a schedule with the interest that the books will have posted, if today's fixing stays."""
    next_at = foresee(loan, known, fixing, now=now)
    with money.exact():
        paid = loan.interest_posted - loan.interest_due
    worked = schedule.continued(
        [schedule.Row(row.due_date, row.principal, row.interest, row.balance) for row in rows],
        interest.principal_steps(loan, known),
        interest.rate_steps(loan, known),
        loan.day_count,
        now,
        [row.pay_date for row in rows],
        loan.asset.decimals,
        paid=paid,
        goes_on=not loan.has_fixed_end,
        since=loan.began_date,
        capitalises=loan.capitalises,
    )
    return [
        Ahead(row.due_date, old.pay_date, row.principal, row.interest, _midnight(old.pay_date) <= next_at)
        for row, old in zip(worked, rows, strict=True)
    ]


def project(looked: Sequence[Loan], known: Known, *, now: datetime) -> None:
    """Say anew what is expected to be paid on some loans: what was announced already stands as it was announced."""
    found = _of(looked, known, now)
    changed = []
    for row in Obligation.objects.filter(loan__in=looked, state=Obligation.State.EXPECTED).order_by("pk"):
        expected = {ahead.due_date: ahead.interest for ahead in found[row.loan_id]}.get(row.due_date)
        if expected is not None and expected != row.interest:
            row.interest = expected
            changed.append(row)
    bulk.update(changed, ["interest"])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)

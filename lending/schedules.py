"""What a bullet loan will cost, and when: nothing here is posted, and every amount is as the books would have it."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from lending.engine import interest, money
from lending.engine.interest import Step
from lending.models import Loan


class UnableToSchedule(ValueError):
    """These terms have no schedule; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """A day of a schedule: interest earned until its start, and what is to be paid on it, in the loan's asset."""

    date: date
    interest: Decimal
    due: Decimal


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the client is paid, the interest at the end of each month, and what is due at maturity, in the asset."""

    fee: Decimal
    paid_out: Decimal
    rows: tuple[Row, ...]
    interest: Decimal
    total: Decimal


def bullet(
    *,
    principal: Decimal,
    annual_rate: Decimal,
    day_count: str,
    origination_fee: Decimal,
    decimals: int,
    start_at: datetime,
    maturity_date: date,
) -> Schedule:
    """
    Return the schedule of a loan that is repaid at once at 00:00 UTC of its maturity date, if nothing is paid before.

    Interest is by the day count, linear in seconds, and rounds up at the asset's decimals, as the daily
    accrual does.

    Raises
    ------
    UnableToSchedule
        If maturity is not after the start.
    """
    end_at = datetime.combine(maturity_date, time.min, tzinfo=UTC)
    if end_at <= start_at:
        raise UnableToSchedule(f"a loan can not mature on {maturity_date:%d %b %Y}, that is not after it starts")
    with money.exact():
        fee = money.quantize_up(principal * origination_fee, decimals)
        paid_out = principal - fee

    def earned(until: datetime) -> Decimal:
        steps = [Step(start_at, principal)], [Step(start_at, annual_rate)]
        return interest.round_up(interest.cumulative(day_count, *steps, until), decimals)

    rows = [Row(day.date(), earned(day), money.ZERO) for day in _month_ends(start_at, end_at)]
    with money.exact():
        total = principal + earned(end_at)
    return Schedule(fee, paid_out, (*rows, Row(maturity_date, earned(end_at), total)), earned(end_at), total)


def of_loan(loan: Loan, *, now: datetime) -> Schedule:
    """Return the schedule of a loan from its funding, or from now on while it is not funded."""
    return bullet(
        principal=loan.principal,
        annual_rate=loan.annual_rate,
        day_count=loan.day_count,
        origination_fee=loan.origination_fee,
        decimals=loan.asset.decimals,
        start_at=loan.start_at or now,
        maturity_date=loan.maturity_date,
    )


def _month_ends(start_at: datetime, end_at: datetime) -> Iterator[datetime]:
    """Yield the first instant after each month that ends between two instants."""
    day = start_at.astimezone(UTC).date()
    while True:
        day = day.replace(day=monthrange(day.year, day.month)[1]) + timedelta(days=1)
        at = datetime.combine(day, time.min, tzinfo=UTC)
        if at >= end_at:
            return
        yield at

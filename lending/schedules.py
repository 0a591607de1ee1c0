"""
Schedules: what a loan is to pay and when, from the engine alone; agreed when it is funded and kept as rows.

An amendment writes what is left to pay anew, under the next version.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from lending import calendars
from lending.engine import money, periods, schedule
from lending.engine.interest import Step
from lending.models import Loan, ScheduleKind, ScheduleRow

Part = tuple[date, Decimal]  # of the principal, and the date it is due
_MONTHS_SHOWN = 12  # of what goes on until somebody ends it


class UnableToSchedule(ValueError):
    """These terms have no schedule; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be paid for one period, in the loan's asset, and the principal that is left then."""

    due_date: date
    pay_date: date
    principal: Decimal
    interest: Decimal
    balance: Decimal

    @property
    def total(self) -> Decimal:
        with money.exact():
            return self.principal + self.interest


@dataclass(frozen=True, slots=True)
class Schedule:
    """
    What the client is paid, what is to be paid back period by period, and its sums, in the loan's asset.

    Of what is left of a loan that was amended, nothing is paid out any more.
    """

    fee: Decimal
    paid_out: Decimal
    rows: tuple[Row, ...]
    interest: Decimal
    total: Decimal
    is_rest: bool = False  # of a loan that was paid out before: what is left to pay

    @property
    def is_open(self) -> bool:
        """Return whether it goes on after its last row."""
        return bool(self.rows[-1].balance)

    @property
    def grows(self) -> bool:
        """Return whether interest becomes principal, so that nothing is paid before the end."""
        return not self.is_open and not self.rows[0].total

    @property
    def is_moved(self) -> bool:
        """Return whether a due date falls on a day on which no money moves."""
        return any(row.pay_date != row.due_date for row in self.rows)


def planned(
    *,
    principal: Decimal,
    annual_rate: Decimal,
    day_count: str,
    origination_fee: Decimal,
    decimals: int,
    start_at: datetime,
    maturity_date: date | None,
    schedule_kind: str,
    frequency_months: int,
    calendar: str,
    since: date | None = None,
    brought: Decimal = money.ZERO,
    to_come: Sequence[Part] = (),
    next_due_date: date | None = None,
    is_line: bool = False,
    step_up: Decimal = money.ZERO,
    step_up_date: date | None = None,
) -> Schedule:
    """
    Return the schedule of a loan that is funded at an instant, if nothing is paid before.

    Without a maturity it is the interest of the first year, of a line as if all was drawn: it goes on like that until
    somebody ends the loan. Periods are counted from the start then, and back from maturity otherwise. A due date on
    which no money moves is paid on the next day on which it does, and interest counts until then: it is what the books
    will have posted at 00:00 UTC of the pay date.

    Of a loan that is taken over from another system, `since` is when its first period began, `brought` the interest
    that is due already, and `to_come` the principal that it agreed to pay by which date, if parts are still to come;
    its periods are counted from `next_due_date` on, if it was agreed that the one which runs ends then.
    `step_up` is added to the rate from the start of its day on. A rate that floats is taken to stay as it is.

    Raises
    ------
    UnableToSchedule
        If maturity is not after the start, or the terms are none of `engine.schedule.build`.
    """
    start_date = start_at.astimezone(UTC).date()
    later = _later(annual_rate, step_up, step_up_date, start_at)
    if maturity_date is None:
        found = _first_year(
            principal, annual_rate, day_count, decimals, start_at, frequency_months, calendar, later, since, brought
        )
        return _summed(principal, origination_fee, decimals, found, is_line=is_line)
    if maturity_date <= start_date:
        raise UnableToSchedule(f"a loan can not mature on {maturity_date:%d %b %Y}, that is not after it starts")
    dates: tuple[date, ...] = (maturity_date,)
    try:
        if schedule_kind != ScheduleKind.BULLET:
            dates = _period_ends(since or start_date, start_date, maturity_date, frequency_months, next_due_date)
        if to_come:
            dates, rows = tuple(day for day, _ in to_come), _agreed(principal, to_come)
        else:
            rows = schedule.build(
                principal, annual_rate, day_count, start_date, len(dates), frequency_months, schedule_kind,
                Decimal(1).scaleb(-decimals), due_dates=dates,
            )  # fmt: skip
        pay_dates = [calendars.following(calendar, day) for day in dates]
        level = schedule_kind == ScheduleKind.EQUAL_INSTALMENT and not to_come
        rows = schedule.booked(
            rows, annual_rate, day_count, start_at, pay_dates, decimals, level=level, since=since, later=later,
            grows_from=principal if schedule_kind == ScheduleKind.CAPITALISED else None, brought=brought,
        )  # fmt: skip
    except periods.UnableToBuild as refusal:
        raise UnableToSchedule(str(refusal)) from refusal
    return _summed(principal, origination_fee, decimals, _paid_on(pay_dates, rows), is_line=is_line)


def _first_year(
    principal: Decimal, annual_rate: Decimal, day_count: str, decimals: int, start_at: datetime,
    frequency_months: int, calendar: str, later: Sequence[Step], since: date | None, brought: Decimal,
) -> list[Row]:  # fmt: skip
    day = start_at.astimezone(UTC).date()
    start_date = since or day
    days: list[tuple[date, date]] = []
    try:
        while len(days) * frequency_months < _MONTHS_SHOWN:
            day = periods.next_due_date(start_date, frequency_months, day)
            days.append((day, calendars.following(calendar, day)))
        rows = schedule.rolling(
            principal, annual_rate, day_count, start_at, days, decimals, later=later, since=since, brought=brought
        )
    except periods.UnableToBuild as refusal:
        raise UnableToSchedule(str(refusal)) from refusal
    return _paid_on([pay_date for _, pay_date in days], rows)


def _paid_on(days: Iterable[date], rows: Iterable[schedule.Row]) -> list[Row]:
    return [
        Row(row.due_date, day, row.principal, row.interest, row.balance) for row, day in zip(rows, days, strict=True)
    ]


def _period_ends(
    begin: date, start_date: date, maturity_date: date, frequency_months: int, next_due_date: date | None
) -> tuple[date, ...]:
    """Return the days after a start on which the periods of a fixed term end that began on a day."""
    every = periods.due_dates(begin, maturity_date, frequency_months)
    dates = tuple(day for day in every if day > start_date)
    if next_due_date is None:
        return dates
    if next_due_date in dates:  # counted back from maturity, a month's last days stay where they were agreed
        return dates[dates.index(next_due_date) :]
    return periods.due_dates_after(next_due_date, maturity_date, frequency_months)


def _later(annual_rate: Decimal, step_up: Decimal, step_up_date: date | None, start_at: datetime) -> list[Step]:
    """Return the rate that an agreed step brings after, or at, the start."""
    if step_up_date is None:
        return []
    with money.exact():
        return [Step(max(_midnight(step_up_date), start_at), annual_rate + step_up)]


def of_loan(loan: Loan, *, now: datetime) -> Schedule:
    """
    Return a loan's schedule: the rows that were written when it was funded, or what they would be if it were now.

    Of a loan that was funded before rows were kept it is what they would have been.

    Raises
    ------
    UnableToSchedule
        If it is not funded and its terms have no schedule any more.
    """
    rows = _standing(loan)
    if not rows:
        return _planned(loan, loan.start_at or now)
    found = [Row(row.due_date, row.pay_date, row.principal, row.interest, row.balance) for row in rows]
    if rows[0].version > 1:
        return _rest(found)
    return _summed(loan.principal, loan.origination_fee, loan.asset.decimals, found, is_line=loan.is_line)


def _standing(loan: Loan) -> list[ScheduleRow]:
    """Return the rows of a loan's newest version; none of one that is not funded, or was before rows were kept."""
    rows = list(ScheduleRow.objects.filter(loan=loan).order_by("version", "number")) if loan.start_at else []
    return [row for row in rows if row.version == rows[-1].version]


def rest(
    loan: Loan,
    *,
    principal: Sequence[Step],
    rate: Sequence[Step],
    interest_paid: Decimal,
    period_start: date,
    now: datetime,
) -> Schedule:
    """
    Return what is left to pay of a funded loan on its terms, which may be others than it has run by, from now on.

    Periods end when they did, after `period_start`, the last due date that was paid or the day of funding; they are
    counted back from another maturity; without one it is the year ahead. The first row asks for all interest that was
    earned and not paid.

    Parameters
    ----------
    principal, rate : sequence of Step
        As `lending.interest` has them: the rate with what is agreed for the time to come.

    Raises
    ------
    UnableToSchedule
        If the maturity is not after today, or nothing is left to pay.
    """
    end = loan.maturity_date
    if end is not None and _midnight(calendars.following(loan.calendar, end)) <= now:
        raise UnableToSchedule(f"a loan can not mature on {end:%d %b %Y}, that is not after today")
    owed = principal[-1].value
    try:
        dates = _due_dates(loan, principal[0].at, period_start, now)
        ahead = {day: pay for day in dates if _midnight(pay := calendars.following(loan.calendar, day)) > now}
        if end is None:
            rows: Sequence[schedule.Row] = [schedule.Row(day, money.ZERO, money.ZERO, owed) for day in ahead]
        else:
            rows = schedule.build(
                owed, loan.annual_rate, loan.day_count, period_start, len(ahead), loan.frequency_months,
                loan.schedule_kind, Decimal(1).scaleb(-loan.asset.decimals), due_dates=list(ahead),
            )  # fmt: skip
        level = loan.schedule_kind == ScheduleKind.EQUAL_INSTALMENT
        rows = schedule.continued(
            rows, principal, rate, loan.day_count, now, list(ahead.values()), loan.asset.decimals,
            paid=interest_paid, level=level, goes_on=end is None, since=loan.began_date,
            capitalises=loan.schedule_kind == ScheduleKind.CAPITALISED,
        )  # fmt: skip
    except periods.UnableToBuild as refusal:
        raise UnableToSchedule(str(refusal)) from refusal
    return _rest(_paid_on((ahead[row.due_date] for row in rows), rows))


def _due_dates(loan: Loan, start_at: datetime, period_start: date, now: datetime) -> Sequence[date]:
    """Return when the periods of a running loan end: as they stand, back from another maturity, or ahead of none."""
    if loan.maturity_date is None:
        start_date = loan.began_date or start_at.astimezone(UTC).date()
        day = now.astimezone(UTC).date()
        return [
            day := periods.next_due_date(start_date, loan.frequency_months, day)
            for _ in range(0, _MONTHS_SHOWN, loan.frequency_months)
        ]
    if loan.schedule_kind == ScheduleKind.BULLET:
        return (loan.maturity_date,)
    stand = [row.due_date for row in _standing(loan)]
    if stand and stand[-1] == loan.maturity_date:  # one that was taken over may pay on days that were agreed there
        return [day for day in stand if day > period_start]
    return periods.due_dates(period_start, loan.maturity_date, loan.frequency_months)


def rewrite(loan: Loan, found: Schedule, *, now: datetime) -> list[ScheduleRow]:
    """Write down what is left to pay of an amended loan under its next version, and return the rows."""
    last = ScheduleRow.objects.filter(loan=loan).order_by("-version").values_list("version", flat=True).first()
    return keep([(loan, found)], version=(last or 1) + 1, agreed_at=now)


def write(loans: Iterable[Loan], *, start_at: datetime) -> list[ScheduleRow]:
    """
    Write down the schedules of loans that are funded at an instant, in one statement, and return their rows.

    Of a loan without a fixed end it is the first row; `rolling` writes the next ones as their periods begin.

    Raises
    ------
    UnableToSchedule
        If the terms of one have no schedule.
    """
    return keep((loan, _planned(loan, start_at)) for loan in loans)


def taken_over(
    loan: Loan,
    *,
    at: datetime,
    to_come: Sequence[Part] = (),
    next_due_date: date | None = None,
    drawn: Decimal | None = None,
) -> Schedule:
    """
    Return the schedule of a loan from the instant on at which it is taken over; raises as `planned` does.

    `drawn` is what is drawn of a line then; without it, it is as if all was.
    """
    return _planned(loan, at, to_come, next_due_date, drawn)


def keep(
    agreed: Iterable[tuple[Loan, Schedule]], *, version: int = 1, agreed_at: datetime | None = None
) -> list[ScheduleRow]:
    """Write down what was agreed for some loans, in one statement, and return the rows."""
    return ScheduleRow.objects.bulk_create(
        ScheduleRow(
            client_id=loan.client_id,
            loan=loan,
            version=version,
            agreed_at=agreed_at,
            number=number,
            due_date=row.due_date,
            pay_date=row.pay_date,
            principal=row.principal,
            # Nothing is drawn at first of what is funded here.
            interest=money.ZERO if loan.is_line and version == 1 and loan.began_date is None else row.interest,
            balance=loan.principal if loan.is_line else row.balance,
        )
        for loan, found in agreed
        for number, row in enumerate(found.rows[: None if loan.has_fixed_end else 1], 1)
    )


def _planned(
    loan: Loan,
    start_at: datetime,
    to_come: Sequence[Part] = (),
    next_due_date: date | None = None,
    drawn: Decimal | None = None,
) -> Schedule:
    return planned(
        principal=loan.principal if drawn is None else drawn,
        annual_rate=loan.annual_rate,
        day_count=loan.day_count,
        origination_fee=loan.origination_fee,
        decimals=loan.asset.decimals,
        start_at=start_at,
        maturity_date=loan.maturity_date,
        schedule_kind=loan.schedule_kind,
        frequency_months=loan.frequency_months,
        calendar=loan.calendar,
        since=loan.began_date,
        brought=loan.interest_brought or money.ZERO,
        to_come=to_come,
        next_due_date=next_due_date,
        is_line=loan.is_line,
        step_up=loan.step_up,
        step_up_date=loan.step_up_date,
    )


def _agreed(principal: Decimal, to_come: Sequence[Part]) -> tuple[schedule.Row, ...]:
    rows, balance = [], principal
    for day, part in to_come:
        with money.exact():
            balance -= part
        rows.append(schedule.Row(day, part, money.ZERO, balance))
    if balance:
        raise UnableToSchedule(f"the parts that are still to come leave {money.text(balance)} of the principal")
    return tuple(rows)


def _summed(
    principal: Decimal, origination_fee: Decimal, decimals: int, rows: Sequence[Row], *, is_line: bool
) -> Schedule:
    with money.exact():
        fee = money.quantize_up(principal * origination_fee, decimals)
        interest = sum((row.interest for row in rows), money.ZERO)
        if not rows[-1].balance:  # what became principal on the way was interest
            interest = sum((row.principal for row in rows), interest) - principal
        paid_out = money.ZERO if is_line else principal - fee  # a line is drawn later, and its fee is due at once
        return Schedule(fee, paid_out, tuple(rows), interest, principal + interest)


def _rest(rows: Sequence[Row]) -> Schedule:
    with money.exact():
        interest = sum((row.interest for row in rows), money.ZERO)
        total = sum((row.principal for row in rows), interest)
    return Schedule(money.ZERO, money.ZERO, tuple(rows), interest, total, is_rest=True)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)

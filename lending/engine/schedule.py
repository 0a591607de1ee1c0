"""What is due on a loan by its terms: a row per period, with principal, interest and the balance after it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from lending.engine import interest, money
from lending.engine.interest import Step
from lending.engine.money import Rounding
from lending.engine.periods import UnableToBuild, check_count, due_date

KINDS = ("bullet", "interest_only", "equal_principal", "equal_instalment", "capitalised")


class Row(NamedTuple):
    """What is due on a day, in the loan's asset: principal and interest; and the balance once it is paid."""

    due_date: date
    principal: Decimal
    interest: Decimal
    balance: Decimal


def build(
    principal: Decimal,
    annual_rate: Decimal,
    convention: str,
    start_date: date,
    periods: int,
    frequency_months: int,
    kind: str,
    rounding: Rounding | Decimal | int | str,
    *,
    instalment: Decimal | None = None,
    due_dates: Sequence[date] | None = None,
) -> tuple[Row, ...]:
    """
    Return the rows of a loan's schedule, one per period; their principal sums to the principal exactly.

    Interest of a period is the balance before it times the rate times the convention's year fraction of the period,
    rounded. The last period takes whatever principal is left, so the balance ends at zero. Dates are not moved to
    business days here.

    Parameters
    ----------
    principal : Decimal
        In the loan's asset, > 0, a multiple of the rounding's step.
    annual_rate : Decimal
        A fraction in [0, 1): 0.085 is 8.5 %.
    convention : str
        A day count of `interest.CONVENTIONS`.
    start_date : date
        The first period's first day. Due dates are whole periods later, each counted from the start and on the start's
        day of the month, or on the month's last day where it has no such day.
    periods, frequency_months : int
        How many periods, and how many months each of them has; >= 1.
    kind : str
        bullet: all principal and all interest on the last day, as one period of interest. interest_only: interest at
        every due date, principal on the last. equal_principal: the same principal each time, and interest on what is
        left. equal_instalment: the same sum each time, of which interest is a falling part.
        capitalised: nothing before the last day; each period's interest is added to the balance, which pays more.
    rounding : Rounding, Decimal, int or str
        Of interest, of equal parts of the principal and of the instalment; see `Rounding.of`.
    instalment : Decimal, optional
        The instalment that was agreed. Without it, the level payment of an annuity over the periods' own lengths,
        rounded: principal = instalment x sum over k of 1 / ((1 + r_1) ... (1 + r_k)), r_i the interest on 1 in period
        i.
    due_dates : sequence of date, optional
        The due dates that were agreed, one per period, ascending and after the start: where periods are counted back
        from a maturity, the first may be a part of one.

    Returns
    -------
    rows : tuple of Row, as many as there are periods.

    Raises
    ------
    UnableToBuild
        If the terms are out of the ranges above, the last due date is beyond the calendar, agreed due dates are not
        one per period in order, or an agreed instalment does not cover the interest or is not asked for by the kind.
    lending.engine.interest.UnknownDayCount
        If the convention is unknown.
    ValueError
        If the rounding is none.
    TypeError
        If start_date is not a date.
    """
    rounding = Rounding.of(rounding)
    interest.check_date(start_date)
    _check(principal, annual_rate, periods, frequency_months, rounding)
    _check_kind(kind, instalment, rounding)
    if due_dates is None:
        due_dates = [due_date(start_date, k * frequency_months) for k in range(1, periods + 1)]
    dates = [start_date, *due_dates]
    if len(due_dates) != periods or any(after <= before for before, after in pairwise(dates)):
        raise UnableToBuild(f"{periods} periods need as many due dates, each after the one before it")
    # At one per period: the interest on an amount of 1.
    growth = [Fraction(annual_rate) * interest.years(convention, start, end) for start, end in pairwise(dates)]
    if kind == "bullet":  # one period of interest, whatever the dates between
        whole = Fraction(annual_rate) * interest.years(convention, start_date, dates[-1])
        nothing = [Row(day, money.ZERO, money.ZERO, principal) for day in dates[1:-1]]
        return (*nothing, Row(dates[-1], principal, rounding.apply(Fraction(principal) * whole), money.ZERO))
    part = rounding.apply(Fraction(principal) / periods)
    level = rounding.apply(_level_payment(principal, growth)) if instalment is None else instalment
    rows = []
    balance = principal
    for day, grown in zip(dates[1:], growth, strict=True):
        earned = rounding.apply(Fraction(balance) * grown)
        if instalment is not None and balance > 0 and instalment <= earned:
            raise UnableToBuild(f"an instalment of {instalment} does not cover the interest of {earned} due on {day}")
        with money.exact():
            if kind == "capitalised" and day != dates[-1]:
                balance += earned
                rows.append(Row(day, money.ZERO, money.ZERO, balance))
                continue
            due = {"equal_principal": part, "equal_instalment": level - earned}.get(kind, money.ZERO)
            # A rounding may ask for more than is left, or for less than the interest of a very small loan.
            paid = balance if day == dates[-1] else min(max(due, money.ZERO), balance)
            balance -= paid
        rows.append(Row(day, paid, earned, balance))
    return tuple(rows)


def booked(
    rows: Sequence[Row],
    annual_rate: Decimal,
    convention: str,
    start_at: datetime,
    pay_dates: Sequence[date],
    decimals: int,
    *,
    level: bool = False,
    since: date | None = None,
    later: Sequence[Step] = (),
    grows_from: Decimal | None = None,
    brought: Decimal = money.ZERO,
) -> tuple[Row, ...]:
    """
    Return rows with the interest that the books will have posted when each is paid at 00:00 UTC of its pay date.

    Books count interest from the instant of funding to the instant of payment, linear in seconds, and round up the
    sum so far: so a row's interest is what that sum grew by since the row before it.

    Parameters
    ----------
    rows : sequence of Row
        As `build` returns them: due dates and principal.
    annual_rate, convention
        As `build` takes them.
    start_at : datetime
        Aware; the instant of funding, before the first pay date.
    pay_dates : sequence of date
        One per row, ascending: the due date, or the next day on which money moves.
    decimals : int
        Of the loan's asset.
    level : bool
        Keep what is paid per row, and let principal be what interest leaves of it; else keep the principal. The last
        row takes what is left either way.
    since : date, optional
        As `interest.cumulative` takes it.
    later : sequence of Step
        Rates that hold from later instants on, ascending.
    grows_from : Decimal, optional
        What is lent, where each period's interest becomes principal at its end, as much as is posted then.
    brought : Decimal
        Interest that was due already when the loan was taken over: the first row asks for it too.

    Raises
    ------
    UnableToBuild
        If there is not one pay date per row in order after the start.
    """
    principal = [Step(start_at, rows[0].principal + rows[0].balance if grows_from is None else grows_from)]
    return continued(
        rows, principal, [Step(start_at, annual_rate), *later], convention, start_at, pay_dates, decimals,
        paid=brought.copy_negate(), level=level, since=since, capitalises=grows_from is not None,
    )  # fmt: skip


def continued(
    rows: Sequence[Row],
    principal: Sequence[Step],
    rate: Sequence[Step],
    convention: str,
    from_at: datetime,
    pay_dates: Sequence[date],
    decimals: int,
    *,
    paid: Decimal = money.ZERO,
    level: bool = False,
    goes_on: bool = False,
    since: date | None = None,
    capitalises: bool = False,
) -> tuple[Row, ...]:
    """
    Return rows for what is left of a loan that runs, as `booked` does for a whole one.

    Parameters
    ----------
    rows, convention, pay_dates, decimals, level, since
        As `booked` takes them; the principal of the rows together is what is outstanding.
    principal, rate : sequence of Step
        From the funding to `from_at`, and for the rate what is agreed beyond it; as `interest.cumulative` takes them.
    from_at : datetime
        Aware, before the first pay date; from here on nothing is paid but the rows.
    paid : Decimal
        Interest that was paid until then, less what was due when the loan was taken over: the first row asks for all
        that is not paid.
    goes_on : bool
        The last row ends nothing: it pays what it says, like every other.
    capitalises : bool
        What each period but the last has earned becomes principal at its end.

    Raises
    ------
    UnableToBuild
        If there is not one pay date per row in order after `from_at`.
    """
    ends = [datetime.combine(day, time.min, tzinfo=UTC) for day in pay_dates]
    if len(ends) != len(rows) or any(after <= before for before, after in pairwise([from_at, *ends])):
        raise UnableToBuild(f"{len(rows)} rows need as many pay dates after {from_at:%Y-%m-%d}, in order")
    found, posted, steps, total = [], paid, list(principal), Fraction(0)
    began = principal[0].at.astimezone(UTC).date()
    began = min(since, began) if since else began
    with money.exact():
        sum_due = rows[0].principal + rows[0].interest
        balance = steps[-1].value
        for row, end in zip(rows, ends, strict=True):
            # What was earned since the row before, of periods that began where they did, adds up exactly.
            total += interest.cumulative(convention, steps, rate, end, since=began)
            so_far = interest.round_up(total, decimals)
            earned, posted = so_far - posted, so_far
            if capitalises and end != ends[-1]:
                balance += earned
                steps = [Step(end, balance)]
                found.append(Row(row.due_date, money.ZERO, money.ZERO, balance))
                continue
            wanted = max(sum_due - earned, money.ZERO) if level else row.principal
            part = balance if end == ends[-1] and not goes_on else min(wanted, balance)
            balance -= part
            steps = [Step(end, balance)]
            found.append(Row(row.due_date, part, earned, balance))
    return tuple(found)


def rolling(
    principal: Decimal,
    annual_rate: Decimal,
    convention: str,
    start_at: datetime,
    dates: Sequence[tuple[date, date]],
    decimals: int,
    *,
    later: Sequence[Step] = (),
    since: date | None = None,
    brought: Decimal = money.ZERO,
) -> tuple[Row, ...]:
    """
    Return rows that ask for interest alone, period by period, of a principal that stays until somebody ends the loan.

    Parameters
    ----------
    principal, annual_rate, convention, start_at, decimals, later, since, brought
        As `booked` takes them.
    dates : sequence of (date, date)
        Due date and pay date of each period, ascending, after the start; interest counts to the start of the pay date.

    Raises
    ------
    UnableToBuild
        If the pay dates are not in order after the start.
    """
    ends = [datetime.combine(pay_date, time.min, tzinfo=UTC) for _, pay_date in dates]
    if any(after <= before for before, after in pairwise([start_at, *ends])):
        raise UnableToBuild(f"pay dates come after the start, {start_at:%Y-%m-%d}, and in order")
    lent, rate = [Step(start_at, principal)], [Step(start_at, annual_rate), *later]
    posted, found = brought.copy_negate(), []
    for (day, _), end in zip(dates, ends, strict=True):
        so_far = interest.round_up(interest.cumulative(convention, lent, rate, end, since=since), decimals)
        with money.exact():
            found.append(Row(day, money.ZERO, so_far - posted, principal))
        posted = so_far
    return tuple(found)


def _level_payment(principal: Decimal, growth: list[Fraction]) -> Decimal | Fraction:
    """Return the payment that, made at the end of each period, leaves nothing; to 60 digits unless it is exact."""
    if not any(growth):
        return Fraction(principal) / len(growth)
    with localcontext(Context(prec=money.PRECISION)):
        discount, discounts = Decimal(1), Decimal(0)
        for grown in growth:
            discount *= Decimal(grown.denominator) / Decimal(grown.numerator + grown.denominator)
            discounts += discount
        return principal / discounts


def _check(principal: Decimal, annual_rate: Decimal, periods: int, frequency_months: int, rounding: Rounding) -> None:
    for name, amount in (("principal", principal), ("rate", annual_rate)):
        if not isinstance(amount, Decimal):
            raise UnableToBuild(f"a {name} is a Decimal, not {amount!r}")
    check_count("periods", periods)
    check_count("months of a period", frequency_months)
    if not _is_amount(principal, rounding):
        raise UnableToBuild(f"{principal} is not a principal above zero in steps of {rounding.step}")
    if not annual_rate.is_finite() or not 0 <= annual_rate < 1:
        raise UnableToBuild(f"{annual_rate} is not an annual rate; 8.5 % is 0.085")


def _check_kind(kind: str, instalment: Decimal | None, rounding: Rounding) -> None:
    if kind not in KINDS:
        raise UnableToBuild(f"unknown kind of schedule {kind!r}; known are {', '.join(KINDS)}")
    if instalment is not None and kind != "equal_instalment":
        raise UnableToBuild(f"a schedule of kind {kind} has no instalment")
    if instalment is not None and not _is_amount(instalment, rounding):
        raise UnableToBuild(f"{instalment} is not an instalment above zero in steps of {rounding.step}")


def _is_amount(value: Decimal, rounding: Rounding) -> bool:
    return money.is_positive(value) and not Fraction(value) % Fraction(rounding.step)

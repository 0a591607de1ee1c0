"""A rate that follows a benchmark: what a fixing comes to by the terms of a loan, and on which days it is reset."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

from lending.engine import money, periods


def rate(fixing: Decimal, *, spread: Decimal, floor: Decimal, cap: Decimal) -> Decimal:
    """
    Return the rate of a year that a fixing comes to: with the spread, not below the floor and not above the cap.

    Parameters
    ----------
    fixing, spread, floor, cap : Decimal
        Annual rates as fractions; the fixing may be below zero, and a cap of 0 is none.
    """
    with money.exact():
        found = max(fixing + spread, floor)
    return min(found, cap) if cap else found


def reset_dates(start_date: date, maturity_date: date | None, months: int, *, after: date) -> Iterator[date]:
    """
    Yield the days after a day on which periods of a rate begin, in order: after the start, and before the maturity.

    They are counted as the periods of interest are: back from maturity, a part of a week at the start joined to the
    next; or from the start and without an end where nobody agreed on one.

    Raises
    ------
    lending.engine.schedule.UnableToBuild
        If the months of a period are not a whole number from 1 on, or a day is beyond the calendar.
    """
    if maturity_date is not None:
        yield from (day for day in periods.due_dates(start_date, maturity_date, months)[:-1] if day > after)
        return
    day = max(start_date, after)
    while True:
        day = periods.next_due_date(start_date, months, day)
        yield day

"""When the periods of a loan end: on its day of the month, or the last where the month has no such day."""

from calendar import monthrange
from datetime import date, timedelta

_SHORTEST_PERIOD = timedelta(days=7)
MOST_YEARS = 50  # before or after the day on which it is agreed: what lies further off is a slip


class UnableToBuild(ValueError):
    """These terms have no schedule; the message says why."""


def is_far_off(day: date, today: date) -> bool:
    """Return whether a day of a loan's terms lies further off than any loan runs."""
    return abs(day.year - today.year) > MOST_YEARS


def due_dates(start_date: date, maturity_date: date, frequency_months: int) -> tuple[date, ...]:
    """
    Return the days on which periods end, counted back from maturity, each on its day of the month.

    What is left at the start is a shorter first period; less than a week of it is joined to the next.

    Raises
    ------
    UnableToBuild
        If the months of a period are not a whole number from 1 on, or the periods begin before the calendar does.
    """
    check_count("months of a period", frequency_months)
    found: list[date] = [maturity_date]
    while (day := due_date(maturity_date, -frequency_months * len(found))) >= start_date + _SHORTEST_PERIOD:
        found.append(day)
    return tuple(reversed(found))


def due_dates_after(first_date: date, maturity_date: date, frequency_months: int) -> tuple[date, ...]:
    """
    Return the days on which periods end, counted from the first of them that was agreed; the last is the maturity.

    Less than a week at the end is joined to the period before.

    Raises
    ------
    UnableToBuild
        If the months of a period are not a whole number from 1 on, or the first day is after the maturity.
    """
    check_count("months of a period", frequency_months)
    if first_date > maturity_date:
        raise UnableToBuild(f"a period can not end on {first_date}, after the maturity on {maturity_date}")
    found: list[date] = [first_date]
    while (day := due_date(first_date, frequency_months * len(found))) <= maturity_date - _SHORTEST_PERIOD:
        found.append(day)
    return (*(day for day in found if day < maturity_date), maturity_date)


def next_due_date(start_date: date, frequency_months: int, after: date) -> date:
    """
    Return the first due date after a day, of periods of whole months that are counted from a start.

    Raises
    ------
    UnableToBuild
        If the months of a period are not a whole number from 1 on, or the day is beyond the calendar.
    """
    check_count("months of a period", frequency_months)
    passed = (after.year - start_date.year) * 12 + after.month - start_date.month
    periods = max(passed // frequency_months, 1)
    while (day := due_date(start_date, periods * frequency_months)) <= after:
        periods += 1
    return day


def due_date(start_date: date, months: int) -> date:
    """
    Return the day a number of months after a start: its day of the month, or the last where the month has no such day.

    Raises
    ------
    UnableToBuild
        If the calendar has no such day.
    """
    year, month = divmod(start_date.year * 12 + start_date.month - 1 + months, 12)
    if not date.min.year <= year <= date.max.year:
        raise UnableToBuild(f"{months} months after {start_date} is beyond the calendar")
    return date(year, month + 1, min(start_date.day, monthrange(year, month + 1)[1]))


def check_count(name: str, count: int) -> None:
    """Raise UnableToBuild unless a count is a whole number from 1 on."""
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UnableToBuild(f"the {name} are a whole number from 1 on, not {count!r}")

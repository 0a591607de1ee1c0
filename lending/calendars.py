"""Business days: when the banks' own settlement moves money, and the next day on which it does."""

from datetime import date, timedelta
from functools import cache

from holidays import HolidayBase, financial_holidays

_DAY = timedelta(days=1)
_SATURDAY = 5


def is_business_day(calendar: str, day: date) -> bool:
    """
    Return whether money moves on a day by a calendar of `models.Calendar`; by none it moves every day.

    The Fed's holidays that fall on a Saturday are not moved to the Friday before: Fedwire is open then. One on a
    Sunday is kept on Monday. TARGET moves none.
    """
    return not calendar or (day.weekday() < _SATURDAY and day not in _holidays(calendar))


def following(calendar: str, day: date) -> date:
    """Return the day itself, or the next one on which money moves."""
    while not is_business_day(calendar, day):
        day += _DAY
    return day


def after(calendar: str, day: date, count: int) -> date:
    """Return the day that is a number of business days after a day."""
    for _ in range(count):
        day = following(calendar, day + _DAY)
    return day


def before(calendar: str, day: date, count: int) -> date:
    """Return the day that is a number of business days before a day."""
    for _ in range(count):
        day -= _DAY
        while not is_business_day(calendar, day):
            day -= _DAY
    return day


@cache
def _holidays(calendar: str) -> HolidayBase:
    return financial_holidays(calendar)

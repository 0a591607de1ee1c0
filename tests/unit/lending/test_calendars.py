"""Business days, against the calendars that the Fed and the ECB have published."""

import datetime as dt

import pytest

from lending import calendars
from lending.models import Calendar

FEDWIRE, TARGET = Calendar.FEDWIRE, Calendar.TARGET


@pytest.mark.parametrize(
    ("calendar", "day", "moves"),
    [
        (Calendar.EVERY_DAY, "2021-12-25", True),
        (Calendar.EVERY_DAY, "2021-06-20", True),  # a Sunday
        (FEDWIRE, "2021-06-18", True),  # Juneteenth was on the Saturday after: Fedwire is open on the Friday
        (FEDWIRE, "2021-12-24", True),  # Christmas too
        (FEDWIRE, "2021-12-31", True),  # and New Year's Day of 2022
        (FEDWIRE, "2027-12-31", True),
        (FEDWIRE, "2021-07-05", False),  # Independence Day was on a Sunday: kept on Monday
        (FEDWIRE, "2022-12-26", False),
        (FEDWIRE, "2022-06-20", False),
        (FEDWIRE, "2021-11-25", False),  # Thanksgiving
        (FEDWIRE, "2021-04-02", True),  # Good Friday is none of the Fed's
        (TARGET, "2021-04-02", False),
        (TARGET, "2021-04-05", False),
        (TARGET, "2023-05-01", False),
        (TARGET, "2022-12-26", False),
        (TARGET, "2021-12-27", True),  # Christmas and the day after fell on a weekend: TARGET moves none
        (TARGET, "2021-07-05", True),
        (TARGET, "2021-06-19", False),  # a Saturday
    ],
)
def test_on_which_days_money_moves(calendar, day, moves):
    assert calendars.is_business_day(calendar, dt.date.fromisoformat(day)) is moves


@pytest.mark.parametrize(
    ("calendar", "day", "paid"),
    [
        (Calendar.EVERY_DAY, "2021-06-19", "2021-06-19"),
        (FEDWIRE, "2021-06-18", "2021-06-18"),
        (FEDWIRE, "2021-07-03", "2021-07-06"),  # Saturday, Sunday, and the Monday on which the fourth is kept
        (TARGET, "2021-04-02", "2021-04-06"),  # from Good Friday over Easter Monday
        (FEDWIRE, "2022-01-01", "2022-01-03"),
    ],
)
def test_a_day_on_which_it_rests_is_put_off(calendar, day, paid):
    assert calendars.following(calendar, dt.date.fromisoformat(day)) == dt.date.fromisoformat(paid)


def test_counting_business_days_passes_over_the_others():
    assert calendars.after(FEDWIRE, dt.date(2021, 7, 1), 2) == dt.date(2021, 7, 6)
    assert calendars.after(Calendar.EVERY_DAY, dt.date(2021, 7, 1), 2) == dt.date(2021, 7, 3)
    assert calendars.after(FEDWIRE, dt.date(2021, 7, 3), 0) == dt.date(2021, 7, 3)

"""What a fixing comes to, on which days a rate is reset, and a step on top of it."""

import datetime as dt
from decimal import Decimal
from itertools import islice

import pytest

from lending import calendars
from lending.engine import floating, interest
from lending.engine.interest import Step

D, DAY = Decimal, dt.date


@pytest.mark.parametrize(
    ("fixing", "spread", "floor", "cap", "comes_to"),
    [
        ("0.0531", "0.02", "0", "0", "0.0731"),
        ("-0.0054", "0.02", "0.03", "0", "0.03"),
        ("-0.0054", "0", "0", "0", "0"),
        ("0.0531", "0.02", "0.03", "0.07", "0.07"),
        ("0.05", "0.02", "0.07", "0.07", "0.07"),
    ],
)
def test_a_fixing_comes_to_a_rate_within_floor_and_cap(
    fixing: str, spread: str, floor: str, cap: str, comes_to: str
) -> None:
    assert floating.rate(D(fixing), spread=D(spread), floor=D(floor), cap=D(cap)) == D(comes_to)


def test_resets_are_counted_like_periods_of_interest() -> None:
    start = DAY(2021, 5, 19)
    back = floating.reset_dates(start, DAY(2021, 8, 31), 1, after=start)
    assert list(back) == [DAY(2021, 5, 31), DAY(2021, 6, 30), DAY(2021, 7, 31)]
    # Less than a week at the start is no period of its own; what lies behind is not yielded again.
    assert list(floating.reset_dates(start, DAY(2021, 8, 24), 1, after=start)) == [DAY(2021, 6, 24), DAY(2021, 7, 24)]
    assert list(floating.reset_dates(start, DAY(2021, 8, 19), 1, after=DAY(2021, 6, 19))) == [DAY(2021, 7, 19)]
    assert list(floating.reset_dates(start, DAY(2021, 6, 1), 3, after=start)) == []
    on = floating.reset_dates(start, None, 3, after=DAY(2021, 9, 1))
    assert list(islice(on, 3)) == [DAY(2021, 11, 19), DAY(2022, 2, 19), DAY(2022, 5, 19)]


def test_a_step_goes_on_top_of_what_holds_and_of_what_comes() -> None:
    def at(day: int) -> dt.datetime:
        return dt.datetime(2021, 5, day, tzinfo=dt.UTC)

    rate = [Step(at(1), D("0.05")), Step(at(10), D("0.06")), Step(at(10), D("0.07")), Step(at(20), D("0.04"))]
    assert interest.stepped_up(rate, D("0.01"), at(15)) == (
        Step(at(1), D("0.05")), Step(at(10), D("0.06")), Step(at(10), D("0.07")), Step(at(15), D("0.08")),
        Step(at(20), D("0.05")),
    )  # fmt: skip
    assert interest.stepped_up(rate[:1], D("0.01"), at(1)) == (Step(at(1), D("0.06")),)
    assert interest.stepped_up(rate[3:], D("0.01"), at(1)) == (Step(at(20), D("0.05")),)


def test_business_days_are_counted_back() -> None:
    assert calendars.before("XFED", DAY(2021, 6, 1), 2) == DAY(2021, 5, 27)  # Memorial Day and a weekend between
    assert calendars.before("", DAY(2021, 6, 1), 2) == DAY(2021, 5, 30)
    assert calendars.before("XECB", DAY(2021, 6, 1), 0) == DAY(2021, 6, 1)

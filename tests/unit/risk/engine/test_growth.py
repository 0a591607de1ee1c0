"""The screen's years against the exact ones."""

import datetime as dt
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lending.engine import interest
from lending.engine.interest import CONVENTIONS, Step
from risk.engine import growth
from risk.engine.arrays import ShapeMismatch

EPOCH = dt.date(1970, 1, 1)
days = st.dates(dt.date(2015, 1, 1), dt.date(2036, 1, 1))


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.min, tzinfo=dt.UTC)


@given(days, st.timedeltas(dt.timedelta(0), dt.timedelta(days=3000)))
def test_they_are_the_years_that_interest_accrues_over(first: dt.date, passed: dt.timedelta) -> None:
    start = midnight(first)
    at = start + passed
    count = len(CONVENTIONS)
    column = np.arange(count), np.full(count, (first - EPOCH).days)
    found = growth.years(*column, np.full(count, at.timestamp()))
    per_s = growth.per_second(*column, np.full(count, at.timestamp()))
    begin, end = midnight(at.date()), midnight(at.date()) + dt.timedelta(days=1)
    for convention, years, rate in zip(CONVENTIONS, found.tolist(), per_s.tolist(), strict=True):
        exact = [
            interest.cumulative(convention, [Step(start, 1)], [Step(start, 1)], until) for until in (at, begin, end)
        ]
        assert abs(Fraction(years) - exact[0]) < Fraction(1, 10**11)
        assert abs(Fraction(rate) * 86400 - (exact[2] - exact[1])) < Fraction(1, 10**12)


def test_only_conventions_of_one_length_of_day_hold_over_midnight() -> None:
    assert [growth.changes_by_day(np.array([index])) for index in range(5)] == [False, False, True, True, True]
    assert not growth.changes_by_day(np.array([], dtype=np.int64))


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"at_s has shape \(1,\), expected \(2,\)"):
        growth.years(np.array([0, 1]), np.array([0, 0]), np.array([0.0]))

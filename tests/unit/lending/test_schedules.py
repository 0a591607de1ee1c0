"""Schedules of bullet loans, against figures worked out by hand."""

import datetime as dt
from decimal import Decimal

import pytest

from lending import schedules

START = dt.datetime(2021, 5, 19, 12, tzinfo=dt.UTC)


def bullet(maturity: dt.date, **changes):
    terms = {
        "principal": Decimal(600_000),
        "annual_rate": Decimal("0.10"),
        "day_count": "ACT/360",
        "origination_fee": Decimal("0.005"),
        "decimals": 2,
        "start_at": START,
        "maturity_date": maturity,
        **changes,
    }
    return schedules.bullet(**terms)


def test_a_loan_over_a_month_end():
    found = bullet(dt.date(2021, 6, 18))
    assert (found.fee, found.paid_out) == (3_000, 597_000)
    # 166.6666... a day: 12.5 days to 1 June, 29.5 to 18 June
    assert [(row.date, row.interest) for row in found.rows] == [
        (dt.date(2021, 6, 1), Decimal("2083.34")),
        (dt.date(2021, 6, 18), Decimal("4916.67")),
    ]
    assert (found.interest, found.total) == (Decimal("4916.67"), Decimal("604916.67"))
    assert [row.due for row in found.rows] == [0, Decimal("604916.67")]


def test_a_loan_that_ends_with_a_month_has_one_row_for_both():
    found = bullet(dt.date(2021, 6, 1))
    assert [(row.date, row.due > 0) for row in found.rows] == [(dt.date(2021, 6, 1), True)]


def test_another_year_of_days():
    found = bullet(dt.date(2022, 5, 19), day_count="ACT/365F", start_at=START.replace(hour=0))
    assert found.interest == 60_000
    assert len(found.rows) == 13


def test_a_fee_rounds_up_in_the_assets_decimals():
    found = bullet(dt.date(2021, 6, 1), principal=Decimal("100.01"))
    assert (found.fee, found.paid_out) == (Decimal("0.51"), Decimal("99.50"))


@pytest.mark.parametrize("maturity", [dt.date(2021, 5, 19), dt.date(2020, 1, 1)])
def test_a_loan_that_ends_before_it_starts_has_no_schedule(maturity):
    with pytest.raises(schedules.UnableToSchedule, match="not after it starts"):
        bullet(maturity)

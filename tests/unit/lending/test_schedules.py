"""Schedules of every kind, against figures worked out by hand."""

import datetime as dt
from decimal import Decimal

import pytest

from lending import schedules
from lending.engine import interest
from lending.engine.interest import Step

START = dt.datetime(2021, 5, 19, 12, tzinfo=dt.UTC)
D = Decimal


def planned(maturity: dt.date, **changes):
    terms = {
        "principal": D(600_000),
        "annual_rate": D("0.10"),
        "day_count": "ACT/360",
        "origination_fee": D("0.005"),
        "decimals": 2,
        "start_at": START,
        "maturity_date": maturity,
        "schedule_kind": "bullet",
        "frequency_months": 1,
        "calendar": "",
        **changes,
    }
    return schedules.planned(**terms)


def test_all_at_maturity():
    found = planned(dt.date(2021, 6, 18))
    assert (found.fee, found.paid_out) == (3_000, 597_000)
    # 166.6666... a day for 29.5 days
    (row,) = found.rows
    assert (row.due_date, row.principal, row.interest, row.balance) == (
        dt.date(2021, 6, 18), 600_000, D("4916.67"), 0,
    )  # fmt: skip
    assert (found.interest, found.total, row.total) == (D("4916.67"), D("604916.67"), D("604916.67"))


def test_another_year_of_days():
    found = planned(dt.date(2022, 5, 19), day_count="ACT/365F", start_at=START.replace(hour=0))
    assert found.interest == 60_000


def test_interest_each_month_counts_from_the_instant_of_funding():
    found = planned(dt.date(2021, 8, 19), schedule_kind="interest_only")
    # 166.6666... a day: 30.5 days, then 60.5 and 91.5 in all, rounded up
    assert [(row.due_date.isoformat(), row.principal, row.interest, row.balance) for row in found.rows] == [
        ("2021-06-19", 0, D("5083.34"), 600_000),
        ("2021-07-19", 0, D("5000.00"), 600_000),
        ("2021-08-19", 600_000, D("5166.66"), 0),
    ]
    assert found.interest == D("15250.00")


def test_equal_parts_of_the_principal():
    found = planned(dt.date(2021, 8, 19), schedule_kind="equal_principal", start_at=START.replace(hour=0))
    assert [(row.principal, row.interest, row.balance) for row in found.rows] == [
        (200_000, D("5166.67"), 400_000),  # 31 days of 166.6666...
        (200_000, D("3333.33"), 200_000),  # 30 of 111.1111..., 8500 in all
        (200_000, D("1722.23"), 0),  # 31 of 55.5555..., 10222.2222... in all, rounded up
    ]


def test_equal_instalments_differ_in_the_last_alone():
    found = planned(dt.date(2022, 5, 19), schedule_kind="equal_instalment")
    *others, last = found.rows
    assert len(found.rows) == 12
    assert len({row.total for row in others}) == 1
    # The first period lacks the half day before the funding, so the last one is that much cheaper, and what it earns.
    assert 80 < others[0].total - last.total < 100
    assert sum(row.principal for row in found.rows) == 600_000
    assert last.balance == 0


@pytest.mark.parametrize("day_count", interest.CONVENTIONS)
@pytest.mark.parametrize("kind", ["equal_principal", "equal_instalment", "capitalised"])
def test_what_is_added_up_row_by_row_is_what_was_earned_in_all(day_count: str, kind: str):
    began = dt.date(2021, 5, 5)
    found = planned(dt.date(2024, 1, 31), schedule_kind=kind, day_count=day_count, since=began)
    paid = [(dt.datetime.combine(row.pay_date, dt.time(), tzinfo=dt.UTC), row.balance) for row in found.rows]
    lent = [Step(START, D(600_000)), *(Step(at, balance) for at, balance in paid)]
    earned = interest.cumulative(day_count, lent, [Step(START, D("0.10"))], paid[-1][0], since=began)
    assert found.interest == interest.round_up(earned, 2)
    assert len(found.rows) == 33


def test_a_day_on_which_no_money_moves_is_put_off_with_its_interest():
    found = planned(dt.date(2021, 8, 19), schedule_kind="interest_only", calendar="XFED")
    # 19 June 2021 was a Saturday: paid on Monday the 21st, with 32.5 days of interest, and the next has 28 left
    assert [(row.due_date.day, row.pay_date.day, row.interest) for row in found.rows] == [
        (19, 21, D("5416.67")),
        (19, 19, D("4666.67")),
        (19, 19, D("5166.66")),
    ]
    assert found.is_moved
    assert not planned(dt.date(2021, 8, 19), schedule_kind="interest_only").is_moved


@pytest.mark.parametrize(
    ("start", "first", "periods"),
    [
        ("2021-05-19", "2021-06-19", 6),
        ("2021-05-25", "2021-06-19", 6),  # a shorter first period
        ("2021-06-12", "2021-06-19", 6),  # a week of it
        ("2021-06-13", "2021-07-19", 5),  # less is joined to the next
        ("2021-11-18", "2021-11-19", 1),
    ],
)
def test_periods_are_counted_back_from_maturity(start, first, periods):
    at = dt.datetime.fromisoformat(f"{start}T12:00+00:00")
    found = planned(dt.date(2021, 11, 19), schedule_kind="interest_only", start_at=at)
    assert (found.rows[0].due_date.isoformat(), len(found.rows)) == (first, periods)


def test_a_loan_that_matures_on_the_31st_pays_on_the_last_day_of_each_month():
    found = planned(dt.date(2021, 8, 31), schedule_kind="interest_only")
    assert [row.due_date.isoformat()[5:] for row in found.rows] == ["05-31", "06-30", "07-31", "08-31"]


def test_a_fee_rounds_up_in_the_assets_decimals():
    found = planned(dt.date(2021, 6, 1), principal=D("100.01"))
    assert (found.fee, found.paid_out) == (D("0.51"), D("99.50"))


@pytest.mark.parametrize(
    ("maturity", "changes", "words"),
    [
        (dt.date(2021, 5, 19), {}, "not after it starts"),
        (dt.date(2020, 1, 1), {}, "not after it starts"),
        (dt.date(2021, 8, 19), {"schedule_kind": "balloon"}, "unknown kind of schedule"),
        (dt.date(2021, 8, 19), {"frequency_months": 0, "schedule_kind": "interest_only"}, "whole number from 1 on"),
        (dt.date(2021, 8, 19), {"principal": D("0.001")}, "not a principal"),
        (dt.date(2021, 8, 19), {"annual_rate": D(2)}, "not an annual rate"),
    ],
)
def test_terms_that_have_no_schedule(maturity, changes, words):
    with pytest.raises(schedules.UnableToSchedule, match=words):
        planned(maturity, **changes)


def test_without_a_maturity_a_year_of_interest_is_shown_and_the_principal_stays():
    found = planned(None, schedule_kind="interest_only", frequency_months=6, calendar="XECB")
    # 166.6666... a day from noon on 19 May: to Friday 19 November, and to Thursday 19 May 2022
    assert [(row.due_date.isoformat(), row.principal, row.interest, row.balance) for row in found.rows] == [
        ("2021-11-19", 0, D("30583.34"), 600_000),
        ("2022-05-19", 0, D("30166.66"), 600_000),
    ]
    assert found.is_open
    assert (found.fee, found.paid_out) == (3_000, 597_000)

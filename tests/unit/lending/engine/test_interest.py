"""Interest worked by hand: whole days, parts of days, changes of principal and rate, and the two roundings."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lending.engine import interest
from lending.engine.interest import Step

START = dt.datetime(2021, 5, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("convention", "start", "end", "years"),
    [
        ("ACT/360", "2021-01-01", "2022-01-01", Fraction(365, 360)),
        ("ACT/365F", "2021-01-01", "2022-01-01", Fraction(1)),
        ("ACT/365F", "2020-01-01", "2021-01-01", Fraction(366, 365)),  # leap year, fixed basis
        ("ACT/360", "2020-02-28", "2020-03-01", Fraction(2, 360)),
        ("ACT/360", "2021-05-01", "2021-05-01", Fraction(0)),
    ],
)
def test_year_fraction(convention: str, start: str, end: str, years: Fraction) -> None:
    assert interest.year_fraction(convention, dt.date.fromisoformat(start), dt.date.fromisoformat(end)) == years


def test_year_fraction_refuses_a_period_that_runs_backwards_and_an_unknown_convention() -> None:
    with pytest.raises(ValueError, match=r"can not end \(2021-01-01\) before it starts \(2021-01-02\)"):
        interest.year_fraction("ACT/360", dt.date(2021, 1, 2), dt.date(2021, 1, 1))
    with pytest.raises(interest.UnknownDayCount, match="unknown day count '30/360'; known are ACT/360, ACT/365F"):
        interest.year_fraction("30/360", dt.date(2021, 1, 1), dt.date(2021, 1, 2))


def earned(until: dt.datetime, *, convention: str = "ACT/360", principal: list[Step] | None = None) -> Fraction:
    """Return the interest on a million at 9 % from START, or on the given principal."""
    return interest.cumulative(
        convention, principal or [Step(START, Decimal(1_000_000))], [Step(START, Decimal("0.09"))], until
    )


@pytest.mark.parametrize(
    ("elapsed", "amount"),
    [
        (dt.timedelta(0), Fraction(0)),
        (DAY, Fraction(250)),  # 1,000,000 x 0.09 / 360
        (dt.timedelta(hours=6), Fraction(250, 4)),
        (dt.timedelta(seconds=1), Fraction(250, 86400)),
        (dt.timedelta(microseconds=1), Fraction(250, 86_400_000_000)),
        (30 * DAY, Fraction(7500)),
        (-DAY, Fraction(0)),
    ],
)
def test_interest_is_linear_in_seconds(elapsed: dt.timedelta, amount: Fraction) -> None:
    assert earned(START + elapsed) == amount


def test_a_whole_period_is_principal_times_rate_times_year_fraction() -> None:
    end = START + 91 * DAY
    for convention in interest.DAYS_IN_YEAR:
        years = interest.year_fraction(convention, START.date(), end.date())
        assert earned(end, convention=convention) == 1_000_000 * Fraction(9, 100) * years


def test_a_payment_inside_a_day_lowers_what_follows() -> None:
    noon = START + dt.timedelta(hours=12)
    principal = [Step(START, Decimal(1_000_000)), Step(noon, Decimal(400_000))]
    assert earned(START + DAY, principal=principal) == 125 + 50


def test_the_default_rate_counts_from_its_instant() -> None:
    rate = [Step(START, Decimal("0.09")), Step(START + DAY, Decimal("0.18"))]
    total = interest.cumulative("ACT/360", [Step(START, Decimal(1_000_000))], rate, START + 2 * DAY)
    assert total == 250 + 500


def test_a_rate_that_changed_before_the_start_counts_from_the_start() -> None:
    rate = [Step(START - DAY, Decimal("0.09")), Step(START - DAY / 2, Decimal("0.18"))]
    assert interest.cumulative("ACT/360", [Step(START, Decimal(360))], rate, START + DAY) == Fraction(18, 100)


def test_eighteen_decimals_are_kept() -> None:
    tiny = [Step(START, Decimal("0.000000000000000001"))]
    assert earned(START + DAY, principal=tiny) == Fraction(9, 100 * 360 * 10**18)


@pytest.mark.parametrize(
    ("principal", "rate", "message"),
    [
        ([], [Step(START, Decimal(1))], "no principal steps"),
        ([Step(START, Decimal(1))], [], "no rate steps"),
        ([Step(START, Decimal(1)), Step(START - DAY, Decimal(1))], [Step(START, Decimal(1))], "out of order"),
        ([Step(START, Decimal(1))], [Step(START + DAY, Decimal(1))], "no rate is known when the principal starts"),
    ],
)
def test_histories_that_make_no_sense_are_refused(principal: list[Step], rate: list[Step], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interest.cumulative("ACT/360", principal, rate, START + DAY)


@pytest.mark.parametrize(
    ("value", "up", "down"),
    [
        (Fraction(1, 3), "0.34", "0.33"),
        (Fraction(1, 4), "0.25", "0.25"),
        (Fraction(-1, 3), "-0.33", "-0.34"),
        (Fraction(0), "0.00", "0.00"),
        (Fraction(10**40 + 1, 3), "3333333333333333333333333333333333333333.67", None),
    ],
)
def test_rounding_says_its_direction(value: Fraction, up: str, down: str | None) -> None:
    assert str(interest.round_up(value, 2)) == up
    if down is not None:
        assert str(interest.round_down(value, 2)) == down


@given(
    st.lists(st.integers(min_value=0, max_value=10**7), min_size=1, max_size=6),
    st.decimals(min_value="0.01", max_value="10000000", places=2),
)
def test_posting_day_by_day_ends_where_posting_once_does(gaps_s: list[int], principal: Decimal) -> None:
    """round_up(cumulative) - posted so far: however often it is posted, the sum is the same, and never falls."""
    steps = [Step(START, principal)]
    posted, at = Decimal(0), START
    for gap_s in gaps_s:
        at += dt.timedelta(seconds=gap_s)
        amount = interest.round_up(earned(at, principal=steps), 2) - posted
        assert amount >= 0
        posted += amount
    assert posted == interest.round_up(earned(at, principal=steps), 2)

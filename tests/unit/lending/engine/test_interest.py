"""Interest worked by hand: whole days, parts of days, changes of principal and rate, and the two roundings."""

import csv
import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lending.engine import interest
from lending.engine.interest import Step
from tests.recordings import recording

START = dt.datetime(2021, 5, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


D = dt.date.fromisoformat


@pytest.mark.parametrize(
    ("convention", "start", "end", "years"),
    [
        ("ACT/360", "2021-01-01", "2022-01-01", Fraction(365, 360)),
        ("ACT/360", "2020-02-28", "2020-03-01", Fraction(2, 360)),
        ("ACT/360", "2021-05-01", "2021-05-01", Fraction(0)),
        ("ACT/365F", "2021-01-01", "2022-01-01", Fraction(1)),
        ("ACT/365F", "2020-01-01", "2021-01-01", Fraction(366, 365)),  # leap year, fixed basis
        ("ACT/ACT ISDA", "2020-01-01", "2021-01-01", Fraction(1)),
        ("ACT/ACT ISDA", "2019-12-31", "2020-01-02", Fraction(1, 365) + Fraction(1, 366)),
        ("ACT/ACT ISDA", "2019-07-01", "2024-07-01", Fraction(184, 365) + 4 + Fraction(182, 366)),
        # Both 30/360s agree inside a month and part at its end.
        ("30/360", "2006-08-20", "2007-02-20", Fraction(180, 360)),
        ("30/360", "2006-08-31", "2007-02-28", Fraction(178, 360)),
        ("30/360", "2007-02-28", "2007-08-31", Fraction(183, 360)),
        ("30/360", "2007-01-30", "2007-01-31", Fraction(0)),
        ("30/360", "2007-01-29", "2007-01-31", Fraction(2, 360)),
        ("30/360", "2008-02-29", "2008-03-01", Fraction(2, 360)),
        ("30E/360", "2006-08-20", "2007-02-20", Fraction(180, 360)),
        ("30E/360", "2006-08-31", "2007-02-28", Fraction(178, 360)),
        ("30E/360", "2007-02-28", "2007-08-31", Fraction(182, 360)),
        ("30E/360", "2007-01-29", "2007-01-31", Fraction(1, 360)),
        ("30E/360", "2007-01-31", "2007-01-31", Fraction(0)),
    ],
)
def test_a_period_in_years(convention: str, start: str, end: str, years: Fraction) -> None:
    assert interest.years(convention, D(start), D(end)) == years
    shown = interest.year_fraction(convention=convention, start_date=D(start), end_date=D(end))
    assert isinstance(shown, Decimal)
    assert abs(Fraction(shown) - years) < Fraction(1, 10**27)


@pytest.mark.recordings
def test_year_fractions_equal_the_recorded_ones() -> None:
    """The ACT/ACT ISDA rows of QuantLib's own tests; its ISMA and AFB rows are conventions that this desk has not."""
    with (recording("oracles") / "daycount" / "quantlib_actual_actual.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["convention"] == "ISDA"]
    assert len(rows) == 7
    for row in rows:
        found = interest.year_fraction("ACT/ACT ISDA", D(row["start"]), D(row["end"]))
        assert abs(found - Decimal(row["expected_fraction"])) < Decimal("1e-11")  # they are written to 10 or 12 places


def test_year_fraction_refuses_what_is_no_period() -> None:
    with pytest.raises(ValueError, match=r"can not end \(2021-01-01\) before it starts \(2021-01-02\)"):
        interest.year_fraction("ACT/360", dt.date(2021, 1, 2), dt.date(2021, 1, 1))
    known = "known are ACT/360, ACT/365F, ACT/ACT ISDA, 30/360, 30E/360"
    with pytest.raises(interest.UnknownDayCount, match=f"unknown day count 'ACT/364'; {known}"):
        interest.year_fraction("ACT/364", dt.date(2021, 1, 1), dt.date(2021, 1, 2))
    for wrong in (START, "2021-05-01", None):
        with pytest.raises(TypeError, match="needs dates without a time"):
            interest.year_fraction("ACT/360", wrong, dt.date(2021, 6, 1))  # type: ignore[arg-type]


days = st.dates(dt.date(1990, 1, 1), dt.date(2060, 1, 1))


@given(st.sampled_from(interest.CONVENTIONS), days, st.lists(st.integers(0, 900), min_size=2, max_size=5))
def test_time_never_runs_backwards_and_is_about_a_calendars(convention: str, start: dt.date, gaps: list[int]) -> None:
    at, before = start, Fraction(0)
    for gap in gaps:
        at += gap * dt.timedelta(days=1)
        now = interest.years(convention, start, at)
        assert now >= before
        assert abs(now - Fraction((at - start).days * 4, 1461)) < Fraction(1, 100) + now / 50
        before = now


@given(st.sampled_from(["ACT/360", "ACT/365F", "ACT/ACT ISDA"]), days, st.integers(0, 2000), st.integers(0, 2000))
def test_periods_of_actual_days_add_up(convention: str, start: dt.date, first: int, second: int) -> None:
    middle = start + first * dt.timedelta(days=1)
    end = middle + second * dt.timedelta(days=1)
    parts = interest.years(convention, start, middle) + interest.years(convention, middle, end)
    assert parts == interest.years(convention, start, end)


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


@given(st.sampled_from(interest.CONVENTIONS), days, st.integers(0, 2000))
def test_a_whole_period_is_principal_times_rate_times_years(convention: str, start: dt.date, length: int) -> None:
    begin = dt.datetime.combine(start, dt.time.min, tzinfo=dt.UTC)
    steps = [Step(begin, Decimal(1_000_000))], [Step(begin, Decimal("0.09"))]
    years = interest.years(convention, start, start + length * DAY)
    assert interest.cumulative(convention, *steps, begin + length * DAY) == 90_000 * years


def test_each_calculation_period_is_counted_by_itself() -> None:
    """30/360 from 31 January: 28 days to 28 February, 33 more as a period of its own, 32 within one period of two."""
    begin = dt.datetime(2021, 1, 31, tzinfo=dt.UTC)
    steps = [Step(begin, Decimal(3600))], [Step(begin, Decimal("0.1"))]  # 1 a day
    end = dt.datetime(2021, 3, 31, tzinfo=dt.UTC)
    due = [dt.date(2021, 2, 28)]
    assert interest.cumulative("30/360", *steps, end) == 60
    assert interest.cumulative("30/360", *steps, end, period_dates=due) == 61
    assert interest.cumulative("30/360", *steps, end - 31 * DAY, period_dates=due) == 28
    assert interest.cumulative("ACT/360", *steps, end, period_dates=due) == 59
    with pytest.raises(ValueError, match="period dates are out of order"):
        interest.cumulative("30/360", *steps, end, period_dates=[*due, *due])


def test_a_principal_that_is_taken_over_goes_on_in_its_period() -> None:
    """30/360 from 15 January, taken over on the 31st: that day was counted, and is not counted again."""
    begin = dt.datetime(2021, 1, 31, tzinfo=dt.UTC)
    steps = [Step(begin, Decimal(3600))], [Step(begin, Decimal("0.1"))]  # 1 a day
    first = dt.date(2021, 1, 15)
    for days, of_its_own, gone_on in ((1, 1, 0), (2, 2, 1), (59, 60, 60)):
        at = begin + days * DAY
        assert interest.cumulative("30/360", *steps, at) == of_its_own
        assert interest.cumulative("30/360", *steps, at, since=first) == gone_on
        assert interest.cumulative("ACT/360", *steps, at, since=first) == days


def test_a_day_of_no_interest_and_a_day_of_three() -> None:
    """Under 30/360 the 31st earns nothing, and 28 February earns what makes its month thirty days long."""
    begin = dt.datetime(2021, 1, 15, tzinfo=dt.UTC)
    steps = [Step(begin, Decimal(3600))], [Step(begin, Decimal("0.1"))]
    at = {day: interest.cumulative("30E/360", *steps, dt.datetime.fromisoformat(f"2021-{day}+00:00")) for day in (
        "01-30T00:00", "01-30T12:00", "01-31T00:00", "02-28T00:00", "02-28T08:00", "03-01T00:00",
    )}  # fmt: skip
    assert list(at.values()) == [15, 15, 15, 43, 44, 46]


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

"""What it costs to pay principal before its time, by tables of worked numbers."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from lending.engine import prepayment
from lending.engine.interest import Step
from lending.engine.prepayment import Kind, Position, Terms
from lending.engine.waterfall import Claims, allocate
from lending.models import Prepayment

D = Decimal
FUNDED = datetime(2021, 1, 1, tzinfo=UTC)
DUE = datetime(2022, 1, 1, tzinfo=UTC)
NOTICE = timedelta(days=5)


def terms(kind: str, rate: str, *, day_count: str = "ACT/365F", decimals: int = 2) -> Terms:
    return Terms(Kind(kind), D(rate), day_count, decimals, date(2021, 1, 1), NOTICE)


def bullet(at: datetime, *, owed: str = "100000", rate: str = "0.10") -> Position:
    """Return a loan of a year, all of it due at the end."""
    return Position(at, (Step(FUNDED, D(owed)),), (Step(DUE, D(0)),), D(rate))


def in_parts(at: datetime, *, owed: str = "90000") -> Position:
    """Return 120,000 of which 30,000 are due every quarter, after the first of them was paid."""
    days = [(datetime(2021, month, 1, tzinfo=UTC), D(left)) for month, left in ((4, 90_000), (7, 60_000), (10, 30_000))]
    rows = (*(Step(day, left) for day, left in days), Step(DUE, D(0)))
    return Position(at, (Step(FUNDED, D(120_000)), Step(days[0][0], D(owed))), rows, D("0.10"))


HALF = datetime(2021, 7, 2, tzinfo=UTC)  # 183 days before it is due


@pytest.mark.parametrize(
    ("agreed", "paid", "cost"),
    [
        (terms("", "0"), "100000", "0"),
        (terms("share", "0.02"), "100000", "2000"),
        (terms("share", "0.02"), "0.01", "0.01"),  # rounded up
        (terms("interest", "0.03"), "100000", "3509.59"),  # 100,000 x 7 % x 183 / 365 = 3,509.589...
        (terms("interest", "0.03"), "50000", "1754.80"),
        (terms("interest", "0"), "100000", "5013.70"),
        (terms("interest", "0.03", day_count="ACT/360"), "100000", "3558.34"),
        (terms("interest", "0.03", day_count="30/360"), "100000", "3480.56"),  # 179 days of 30/360
        (terms("interest", "0.12"), "100000", "0"),  # it earns more elsewhere: nothing is lost, and nothing given back
        (terms("interest", "0.03", decimals=8), "100000", "3509.58904110"),
        (terms("share", "0.02"), "0", "0"),
    ],
)
def test_a_bullet_loan_half_way(agreed: Terms, paid: str, cost: str) -> None:
    assert prepayment.make_whole(agreed, bullet(HALF), D(paid)) == D(cost)


@pytest.mark.parametrize(("paid", "early"), [("30000", "0"), ("30000.01", "0.01"), ("90000", "60000")])
def test_what_is_due_is_not_early(paid: str, early: str) -> None:
    place = in_parts(datetime(2021, 7, 2, tzinfo=UTC))
    assert prepayment.early_part(terms("share", "0.02"), place, D(paid)) == D(early)


def test_parts_lose_interest_until_each_was_due() -> None:
    """On 2 May 60 days before July, 152 before October, 244 before the end: each 30,000 at 7 %, over 365."""
    place = in_parts(datetime(2021, 5, 2, tzinfo=UTC))
    agreed = terms("interest", "0.03")
    assert prepayment.make_whole(agreed, place, D(30_000)) == D("345.21")  # 30,000 x 7 % x 60 / 365
    assert prepayment.make_whole(agreed, place, D(60_000)) == D("1219.73")  # and x 152: the parts due first go first
    assert prepayment.make_whole(agreed, place, D(90_000)) == D("2623.57")
    # Of what was paid early before, nothing is due until what it paid would have been.
    less = in_parts(datetime(2021, 5, 2, tzinfo=UTC), owed="60000")
    assert prepayment.make_whole(agreed, less, D(30_000)) == D("874.53")  # 30,000 x 7 % x 152 / 365


def test_within_the_notice_nothing_is_early() -> None:
    agreed = terms("share", "0.02")
    assert prepayment.make_whole(agreed, bullet(DUE - NOTICE), D(100_000)) == 0
    assert prepayment.make_whole(agreed, bullet(DUE - NOTICE - timedelta(microseconds=1)), D(100_000)) == 2000
    assert prepayment.make_whole(agreed, bullet(DUE), D(100_000)) == 0


def test_interest_that_was_asked_for_and_is_not_earned_yet_is_no_prepayment_once() -> None:
    """Three days before a part is due: 3 x 90,000 x 10 % / 365 = 73.98 are to come and count as principal today."""
    agreed, at = terms("share", "0.02"), datetime(2021, 6, 28, tzinfo=UTC)
    place = in_parts(at)
    assert prepayment.early_part(agreed, place, D("30073.98")) == 0
    assert prepayment.early_part(agreed, place, D("30073.99")) == D("0.01")
    rest = D(90_000) - D("30073.98")
    again = Position(at, (*place.principal, Step(at, rest)), place.left, place.annual_rate)
    assert prepayment.early_part(agreed, again, D(100)) == 100
    half = Position(at, (*place.principal, Step(at, D(75_000))), place.left, place.annual_rate)
    assert prepayment.early_part(agreed, half, D("15061.65")) == 0  # 75,000 x 10 % x 3 / 365 = 61.64...


@pytest.mark.parametrize(
    ("agreed", "amount", "paid", "cost", "over"),
    [
        (terms("share", "0.02"), "102000", "100000", "2000", "0"),
        (terms("share", "0.02"), "103000", "100000", "2000", "1000"),
        (terms("share", "0.02"), "51000", "50000", "1000", "0"),
        (terms("share", "0.02"), "1", "0.98", "0.02", "0"),
        (terms("share", "0.5"), "0.01", "0", "0", "0.01"),  # a cent pays none together with its price
        (terms("interest", "0.03"), "50000", "48304.7", "1695.3", "0"),
    ],
)
def test_a_payment_pays_the_most_principal_that_it_can(
    agreed: Terms, amount: str, paid: str, cost: str, over: str
) -> None:
    claims, place = Claims(principal=D(100_000)), bullet(HALF)
    split = prepayment.allocate_early(D(amount), claims, agreed, place)
    assert (split.principal, split.make_whole, split.surplus) == (D(paid), D(cost), D(over))
    assert split.principal + split.make_whole + split.surplus == D(amount)
    assert split.make_whole == prepayment.make_whole(agreed, place, split.principal)
    more = split.principal + D("0.01")
    assert split.principal == 100_000 or more + prepayment.make_whole(agreed, place, more) > D(amount)
    assert split.short == 100_000 - split.principal


def test_fees_and_interest_come_first_and_bad_claims_are_refused() -> None:
    agreed, place = terms("share", "0.02"), bullet(HALF)
    claims = Claims(fees=D(100), interest=D(1_000), principal=D(100_000))
    split = prepayment.allocate_early(D(1_120), claims, agreed, place)
    assert (split.fees, split.interest, split.principal, split.make_whole) == (100, 1_000, D("19.60"), D("0.40"))
    short = prepayment.allocate_early(D(50), claims, agreed, place)
    assert (short.fees, short.principal, short.make_whole, short.short) == (50, 0, 0, 101_050)
    assert allocate(D(5), Claims(fees=D(5))).make_whole == 0
    with pytest.raises(ValueError, match="90000 is claimed and 100000 is outstanding"):
        prepayment.allocate_early(D(50), Claims(principal=D(90_000)), agreed, place)
    for wrong in (D(-1), D("100000.01")):
        with pytest.raises(ValueError, match="is not a part of the principal"):
            prepayment.make_whole(agreed, place, wrong)


def test_the_kinds_are_those_of_the_books() -> None:
    assert [kind.value for kind in Kind] == [kind.value for kind in Prepayment]

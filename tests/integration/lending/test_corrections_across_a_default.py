"""Two corrections in a row, across a default and closed months: interest and default interest are what was earned."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db.models import Sum

from lending import approvals, closing, corrections, dunning, interest
from lending.models import Loan, Period, PeriodState, Posting, Role
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW, D = make.NOW, Decimal
DAY = dt.timedelta(days=1)
FIFTH = dt.datetime(2021, 7, 5, 9, tzinfo=dt.UTC)


def lock(month: dt.date) -> None:
    """Close a month as two persons would have."""
    row = Period.objects.create(start_date=month, end_at=closing.end_of(month))
    row.state, row.changed_at, row.reason = PeriodState.LOCKED, FIFTH, "closed"
    row.maker, row.checker = make.staff("olga", Role.OPERATIONS), make.staff("dana", Role.DESK_HEAD)
    row.save(update_fields=["state", "maker", "checker", "reason", "changed_at"])


def late(loan: Loan, amount: int, received_at: dt.datetime) -> None:
    asked = corrections.ask_payment(
        Loan.objects.get(pk=loan.pk), D(amount), received_at=received_at, reason="found",
        maker=make.staff("olga", Role.OPERATIONS), now=FIFTH,
    )  # fmt: skip
    approvals.decide(asked, checker=make.staff("oscar", Role.OPERATIONS), approve=True, now=FIFTH)


def test_each_kind_of_interest_is_what_was_earned() -> None:
    loan = make.active_loan(days=30)
    make.give(loan.client, "USD", "700000")
    at = NOW
    while at < FIFTH:
        at += DAY
        interest.accrue_due(now=at)
        dunning.work_due(now=at)
    lock(dt.date(2021, 5, 1))
    lock(dt.date(2021, 6, 1))
    late(loan, 252_600, dt.datetime(2021, 6, 9, tzinfo=dt.UTC))
    late(loan, 1_000, dt.datetime(2021, 6, 25, tzinfo=dt.UTC))
    rows = Posting.objects.filter(loan=loan, category__in=("interest", "default_interest"))
    booked = {row["category"]: -row["sum"] for row in rows.values("category").annotate(sum=Sum("amount"))}
    assert booked == {"interest": D("3208.30"), "default_interest": D("1652.66")}

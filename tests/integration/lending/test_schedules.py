"""What was agreed is what runs: rows are written once, and the books come to the same cent on every pay date."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from lending import interest, repayments, schedules
from lending.models import Calendar, Loan, LoanState, ScheduleKind, ScheduleRow
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, 12, 34, 56, tzinfo=dt.UTC)


def lent(kind: str, *, calendar: str = "", day_count: str = "ACT/360", days: int = 200) -> Loan:
    product = make.ProductFactory(code=f"{kind}-{calendar}", schedule_kind=kind, calendar=calendar, day_count=day_count)
    return make.active_loan(now=FUNDED, days=days, product=product)


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time.min, tzinfo=dt.UTC)


@pytest.mark.parametrize("kind", [kind for kind in ScheduleKind.values if kind != ScheduleKind.CAPITALISED])
@pytest.mark.parametrize("calendar", [Calendar.EVERY_DAY, Calendar.FEDWIRE])
@pytest.mark.parametrize("day_count", ["ACT/360", "30E/360"])
def test_who_pays_as_agreed_pays_what_was_agreed(kind: str, calendar: str, day_count: str) -> None:
    loan = lent(kind, calendar=calendar, day_count=day_count)
    rows = schedules.of_loan(loan, now=FUNDED).rows
    assert len(rows) == (1 if kind == ScheduleKind.BULLET else 7)
    make.give(loan.client, "USD", "600000", now=FUNDED)
    for number, row in enumerate(rows, 1):
        at = midnight(row.pay_date)
        interest.accrue_due(now=at)
        assert Loan.objects.get().interest_due == row.interest
        repayments.record(loan, row.total, key=f"row:{number}", received_at=at, now=at)
        loan = Loan.objects.get()
        assert (loan.principal_outstanding, loan.interest_due) == (row.balance, 0)
    assert loan.state == LoanState.REPAID


def test_a_schedule_is_kept_as_it_was_when_the_loan_was_funded() -> None:
    loan = lent(ScheduleKind.EQUAL_PRINCIPAL)
    stored = list(ScheduleRow.objects.order_by("number").values_list("number", "due_date", "balance"))
    assert [number for number, _, _ in stored] == list(range(1, 8))
    assert stored[-1] == (7, loan.maturity_date, 0)
    before = schedules.of_loan(loan, now=FUNDED)
    loan.annual_rate = Decimal("0.20")
    assert schedules.of_loan(loan, now=FUNDED) == before


def test_a_loan_that_is_not_funded_has_the_schedule_of_now() -> None:
    loan = make.quoted_loan(now=FUNDED)
    early, late = (schedules.of_loan(loan, now=FUNDED + dt.timedelta(days=days)).interest for days in (0, 1))
    assert early - late == Decimal("125.00")
    assert not ScheduleRow.objects.exists()
    with pytest.raises(schedules.UnableToSchedule, match="not after it starts"):
        schedules.of_loan(loan, now=FUNDED + dt.timedelta(days=40))


def test_a_product_that_changes_leaves_its_loans_alone() -> None:
    loan = lent(ScheduleKind.INTEREST_ONLY, calendar=Calendar.TARGET)
    loan.product.schedule_kind = ScheduleKind.BULLET
    loan.product.save()
    loan = Loan.objects.get()
    assert (loan.schedule_kind, loan.calendar, loan.frequency_months) == ("interest_only", "XECB", 1)


ANOTHER_ROW = """
    INSERT INTO lending_schedulerow
        (client_id, loan_id, version, number, due_date, pay_date, principal, interest, balance)
    SELECT client_id, loan_id, {version}, 1, due_date, due_date + {days}, 0, {interest}, 0 FROM lending_schedulerow
"""


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE lending_schedulerow SET interest = 0",
        "DELETE FROM lending_schedulerow",
        ANOTHER_ROW.format(version=1, days=0, interest=0),  # the same row twice
        ANOTHER_ROW.format(version=2, days=-1, interest=0),  # paid before it is due
        ANOTHER_ROW.format(version=2, days=0, interest=-1),
    ],
)
def test_the_database_keeps_what_was_agreed(sql: str) -> None:
    lent(ScheduleKind.BULLET)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


def test_another_version_of_a_schedule_is_new_rows() -> None:
    lent(ScheduleKind.BULLET)
    with connection.cursor() as cursor:
        cursor.execute(ANOTHER_ROW.format(version=2, days=0, interest=0))
    assert ScheduleRow.objects.count() == 2

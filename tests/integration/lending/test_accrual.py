"""The daily accrual of many loans is one batch: as many questions for a hundred loans as for two, each day once."""

import datetime as dt
from decimal import Decimal

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from deploy.benches import desk as desks
from lending import interest, ledger, overdue, repayments
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.engine.interest import Step, cumulative, round_up
from lending.models import Entry, Loan, LoanState, MarginAccount, Overdue, Product
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW  # 08:00
MIDNIGHT = dt.datetime(2021, 5, 20, tzinfo=dt.UTC)
DAY, MINUTE = dt.timedelta(days=1), dt.timedelta(minutes=1)


def running(number: int, product: Product) -> list[Loan]:
    """Write loans as rows, funded at NOW, of odd amounts and every day count; the ledger knows their interest alone."""
    client = make.ClientFactory()
    counts = ("ACT/360", "ACT/365F", "ACT/ACT ISDA", "30/360", "30E/360")
    terms = product.terms
    held = MarginAccount.objects.bulk_create(
        MarginAccount(client=client, terms=terms, shard=0, created_at=NOW) for _ in range(number)
    )
    rows = Loan.objects.bulk_create(
        Loan(
            client=client,
            margin_account=account,
            product=product,
            book=product.book,
            asset=product.asset,
            principal=Decimal(100_000 + 1_237 * n),
            principal_outstanding=Decimal(100_000 + 1_237 * n),
            annual_rate=Decimal("0.0831"),
            default_rate=Decimal("0.1331"),
            day_count=counts[n % len(counts)],
            maturity_date=dt.date(2021, 8, 1),
            quoted_until=NOW,
            start_at=NOW,
            accrued_at=NOW,
            made_by=client.relationship_manager,
            approved_by=make.staff("rhea"),
            funded_by=make.staff("olga"),
        )
        for n, account in enumerate(held)
    )
    mine = Loan.objects.filter(pk__in=[row.pk for row in rows])
    desks.sign(mine, by=make.staff("alice"), now=NOW)
    for state in (LoanState.ACCEPTED, LoanState.APPROVED, LoanState.COLLATERAL_PENDING, LoanState.ACTIVE):
        mine.update(state=state)
    return list(mine.order_by("pk"))


def questions(now: dt.datetime, posted: list[int]) -> tuple[int, int]:
    """Accrue, and return how many statements Django sent and how many the ledger did."""
    posted.clear()
    with CaptureQueriesContext(connection) as through:
        interest.accrue_due(now=now)
    return len(through), len(posted)


@pytest.mark.parametrize("days", [1, 5])  # within a month: a day of a past month looks whether it is locked
def test_a_batch_asks_as_often_for_a_hundred_loans_as_for_two(
    days: int, monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    settings.LENDING_HOUSE_STRIPES = 1  # opening another row of income would be a question of its own
    posted: list[int] = []
    run = ledger._execute

    def counted(sql: str, parameters: list[object], *, prepare: bool = False) -> tuple[object, ...]:
        posted.append(1)
        return run(sql, parameters, prepare=prepare)

    monkeypatch.setattr(ledger, "_execute", counted)
    product = make.ProductFactory()
    running(2, product)
    interest.accrue_due(now=MIDNIGHT)  # opens the accounts of the house
    few = questions(MIDNIGHT + days * DAY, posted)
    running(98, product)
    interest.accrue_due(now=MIDNIGHT + days * DAY)
    many = questions(MIDNIGHT + 2 * days * DAY, posted)
    assert Loan.objects.filter(accrued_at=MIDNIGHT + 2 * days * DAY).count() == 100
    assert few == many == (few[0], days), "a statement of postings a day, whatever the number of loans"
    assert few[0] < 10
    assert interest.BATCH >= 10_000


def test_a_loan_of_which_interest_can_not_be_posted_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    loans = running(7, make.ProductFactory())
    broken, honest = loans[3], interest.earned

    def fails(loan: Loan, known: interest.History, until: dt.datetime) -> Decimal:
        if loan.pk == broken.pk:
            raise ZeroDivisionError
        return honest(loan, known, until)

    monkeypatch.setattr(interest, "earned", fails)
    assert [interest.accrue_due(now=MIDNIGHT + DAY + minute) for minute in (MINUTE, 2 * MINUTE)] == [12, 0]
    posted = Loan.objects.filter(accrued_at=MIDNIGHT + DAY).values_list("pk", flat=True)
    assert set(posted) == {loan.pk for loan in loans} - {broken.pk}
    [late] = overdue.failing(before=MIDNIGHT + DAY + MINUTE)
    assert late.loan == broken
    assert "its daily interest failed" in late.reason
    monkeypatch.undo()
    assert interest.accrue_due(now=MIDNIGHT + DAY + 3 * MINUTE) == 2
    assert overdue.failing(before=MIDNIGHT + DAY + 3 * MINUTE) == []
    keys = Entry.objects.filter(idempotency_key__startswith=f"accrual:{broken.public_id}")
    assert keys.count() == 2


def test_what_ails_the_database_is_no_loans_doing(monkeypatch: pytest.MonkeyPatch) -> None:
    running(2, make.ProductFactory())

    def lost(*args: object, **kwargs: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(ledger, "post_many", lost)
    with pytest.raises(OperationalError):
        interest.accrue_due(now=MIDNIGHT)
    assert not Overdue.objects.exists()


def test_a_batch_posts_what_each_loan_earned_and_each_day_once() -> None:
    loans = running(25, make.ProductFactory())
    at = MIDNIGHT + 9 * DAY
    assert interest.accrue_due(now=MIDNIGHT) == 25
    assert interest.accrue_due(now=at + dt.timedelta(hours=3)) == 25 * 9
    assert interest.accrue_due(now=at + dt.timedelta(hours=4)) == 0
    for loan in loans:
        loan.refresh_from_db()
        terms = [Step(NOW, loan.principal)], [Step(NOW, loan.annual_rate)]
        earned = round_up(cumulative(loan.day_count, *terms, at), 2)
        assert loan.interest_due == loan.interest_posted == earned
        receivable = accounts.of_loan(AccountKind.INTEREST_RECEIVABLE, "USD", loan.client_id, loan.pk)
        assert ledger.balance(receivable) == earned
        assert loan.accrued_at == at
        for day in (dt.date(2021, 5, 19) + n * DAY for n in range(10)):
            assert Entry.objects.filter(idempotency_key=f"accrual:{loan.public_id}:{day}").count() == 1


def test_loans_that_lag_behind_are_brought_to_the_same_midnight() -> None:
    loans = running(4, make.ProductFactory())
    Loan.objects.filter(pk=loans[0].pk).update(accrued_at=MIDNIGHT, interest_posted=Decimal(0))
    assert interest.accrue_due(now=MIDNIGHT + 2 * DAY) == 3 * 3 + 2
    assert set(Loan.objects.values_list("accrued_at", flat=True)) == {MIDNIGHT + 2 * DAY}


def test_a_fee_that_was_charged_too_much_and_paid_stops_nobodys_accrual() -> None:
    sold = make.ProductFactory(
        code="line", tenor="revolving", notice_days=5, schedule_kind="interest_only", unused_fee=Decimal("0.0036"),
        origination_fee=Decimal(0),
    )  # fmt: skip
    line, other = make.active_loan(product=sold, days=None), make.active_loan()
    tenth = MIDNIGHT + 10 * DAY
    interest.accrue_due(now=tenth)
    line.refresh_from_db()
    paid = line.fees_due
    make.give(line.client, "USD", str(paid), now=tenth)
    repayments.record(line, paid, key="wire", received_at=tenth, now=tenth)
    # Its default is dated back behind what it paid: of that nothing is given back.
    Loan.objects.filter(pk=line.pk).update(default_at=NOW + 5 * DAY)
    assert interest.accrue_due(now=tenth + DAY) == 2
    line.refresh_from_db()
    other.refresh_from_db()
    assert (line.fees_due, line.unused_posted) == (0, paid)
    assert line.accrued_at == other.accrued_at == tenth + DAY
    assert interest.payoff(line, now=tenth + 2 * DAY).total == 0

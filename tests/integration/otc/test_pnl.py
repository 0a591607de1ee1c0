"""The explain on a real ledger: residual zero, drill-down, as known at an instant, and what can not be plugged."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import connection, transaction

from lending import ledger
from lending.engine import entries
from lending.engine.entries import Dues, Heading
from otc import pnl
from risk.models import MarkMinute
from tests.factories.lending import AssetFactory, BookFactory, LoanFactory

pytestmark = pytest.mark.django_db

D = Decimal
DAY = dt.date(2021, 5, 19)
NOON = dt.datetime(2021, 5, 19, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def desk():
    """A book with a USDC loan, and USDC marks that slide from 1.00 to 0.97 over the day."""
    usdc = AssetFactory(code="USDC")
    AssetFactory(code="USD")
    loan = LoanFactory(product__asset=usdc, product__book=BookFactory(code="lending"))
    start = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
    for hours, price in ((-24, "1.00"), (0, "0.99"), (12, "0.98"), (24, "0.97")):
        MarkMinute.objects.create(asset=usdc, at=start + hours * HOUR, price=D(price), quality="good")
    return loan


def heading(loan, key, at):
    return Heading(key=key, effective_at=at, book_id=loan.book_id, client_id=loan.client_id, loan_id=loan.pk)


def house(loan, key, at):
    return Heading(key=key, effective_at=at, book_id=loan.book_id)


def lend_and_earn(loan):
    """Yesterday: 1,000 USDC of capital, lent on. Today at noon: 10 USDC of interest, 2 of it paid at 13:00."""
    yesterday = NOON - 24 * HOUR
    ledger.post(
        entries.capital(house(loan, "cap", yesterday), asset="USDC", amount=D(1000), custodian="paper"), now=yesterday
    )
    ledger.post(entries.disbursement(heading(loan, "lend", yesterday), asset="USDC", principal=D(1000)), now=yesterday)
    ledger.post(entries.accrual(heading(loan, "acc", NOON), asset="USDC", amount=D(10)), now=NOON)
    ledger.post(
        entries.repayment(heading(loan, "pay", NOON + HOUR), asset="USDC", paid=Dues(interest=D(2))), now=NOON + HOUR
    )


def plant(loan, category, at):
    """Write an entry past the drafts, as a program that knows better would."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid)"
            " VALUES ('planted', 'planted', %s, %s, '\\x00', 0) RETURNING id",
            [at, at],
        )
        entry = cursor.fetchone()[0]
        cursor.execute(
            "INSERT INTO lending_posting (entry_id, account_id, asset_id, amount, book_id, category, cause)"
            " SELECT %s, a.id, a.asset_id, v.amount, %s, v.category, '' FROM"
            " (VALUES (%s, %s::numeric, 'balance_sheet'), (%s, -%s::numeric, %s)) AS v(kind, amount, category)"
            " JOIN LATERAL (SELECT * FROM lending_ledgeraccount WHERE key LIKE v.kind || '/USDC%%' LIMIT 1) a ON true",
            [entry, loan.book_id, "custody", 5, "interest_income", 5, category],
        )
        assert cursor.rowcount == 2


def test_interest_counts_at_its_instant_and_the_rest_is_fx(desk):
    lend_and_earn(desk)
    result = pnl.explain_day(desk.book, DAY)
    assert result.lines["interest"] == D("9.8")  # 10 at 0.98
    assert result.lines["fx"] == D(1000) * D("-0.02") + D(10) * D("-0.01")
    assert result.total == D(1010) * D("0.97") - D(1000) * D("0.99")
    assert result.residual == 0
    assert result.by_client[desk.client_id]["interest"] == D("9.8")
    assert result.by_asset["USDC"]["fx"] == result.lines["fx"]
    assert pnl.explain(None, NOON - 72 * HOUR, NOON + 72 * HOUR).residual == 0


def test_days_add_up(desk):
    lend_and_earn(desk)
    days = [pnl.explain_day(desk.book, DAY + dt.timedelta(days=n)).total for n in (-1, 0, 1)]
    whole = pnl.explain(desk.book, pnl.bounds(DAY)[0] - 24 * HOUR, pnl.bounds(DAY)[1] + 24 * HOUR)
    assert sum(days) == whole.total != 0


def test_a_planted_category_leaves_a_residual(desk):
    lend_and_earn(desk)
    plant(desk, "mystery", NOON)
    result = pnl.explain_day(desk.book, DAY)
    assert result.residual == D("4.85")
    rows = pnl.postings_for(desk.book, DAY, pnl.UNEXPLAINED)
    assert [row.category for row in rows] == ["mystery"]


def test_the_same_posting_with_a_known_category_leaves_none(desk):
    lend_and_earn(desk)
    plant(desk, "interest", NOON)
    assert pnl.explain_day(desk.book, DAY).residual == 0


def test_yesterday_as_it_was_known(desk):
    lend_and_earn(desk)
    before = pnl.explain_day(desk.book, DAY)
    late = NOON + 48 * HOUR
    ledger.post(entries.accrual(heading(desk, "late", NOON), asset="USDC", amount=D(3)), now=late)
    restated = pnl.explain_day(desk.book, DAY)
    assert restated.lines["interest"] == before.lines["interest"] + D("2.94")
    assert pnl.explain_day(desk.book, DAY, known_at=late - HOUR) == before
    assert restated.residual == 0


def test_every_line_drills_down_to_its_postings(desk):
    lend_and_earn(desk)
    rows = list(pnl.postings_for(desk.book, DAY, "interest"))
    assert [(row.entry.idempotency_key, row.amount) for row in rows] == [("acc", D(-10))]
    assert {row.entry.idempotency_key for row in pnl.postings_for(desk.book, DAY, "fx")} == {"cap", "acc"}
    assert not pnl.postings_for(desk.book, DAY, "trade")


def test_other_books_are_not_counted(desk):
    lend_and_earn(desk)
    assert pnl.explain_day(BookFactory(code="other"), DAY).total == 0


def test_pledged_collateral_is_never_profit(desk):
    btc = AssetFactory(code="BTC")
    for hours, price in ((0, "40000"), (20, "30000")):
        MarkMinute.objects.create(asset=btc, at=pnl.bounds(DAY)[0] + hours * HOUR, price=D(price), quality="good")
    at = NOON - 24 * HOUR
    owner = heading(desk, "dep", at)
    ledger.post(entries.deposit(owner, asset="BTC", quantity=D(3), custodian="paper"), now=at)
    pledged = heading(desk, "pledge", at)
    ledger.post(entries.pledge(pledged, asset="BTC", quantity=D(3), margin_account_id=desk.margin_account_id), now=at)
    result = pnl.explain_day(desk.book, DAY)
    assert (result.total, result.residual) == (0, 0)


def test_an_asset_that_was_never_marked_can_not_be_explained(desk):
    AssetFactory(code="LINK")
    at = NOON
    ledger.post(entries.capital(house(desk, "cap", at), asset="LINK", amount=D(1), custodian="paper"), now=at)
    with pytest.raises(pnl.UnableToExplain, match="LINK"):
        pnl.explain_day(desk.book, DAY)


def test_it_takes_a_handful_of_queries_however_much_was_posted(desk, django_assert_max_num_queries):
    lend_and_earn(desk)
    for n in range(50):
        at = NOON + n * dt.timedelta(minutes=1)
        ledger.post(entries.accrual(heading(desk, f"a{n}", at), asset="USDC", amount=D("0.5")), now=at)
    with django_assert_max_num_queries(4):
        result = pnl.explain_day(desk.book, DAY)
    assert result.residual == 0

"""What charts and the book page tell: an account's LTV as it was, and the book under falls."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lending import interest
from lending.debts import owed_over
from lending.models import Asset, Loan, MarginAccount
from risk import history, positions, prices, stress
from risk.models import Quality
from tests.factories.risk import Desk


def told(desk: Desk, loan: Loan, *, minutes: int = 60) -> history.LtvHistory:
    account = MarginAccount.objects.get(pk=loan.margin_account_id)
    start_at = desk.now - timedelta(minutes=minutes)
    return history.of_account(account, prices.current(now=desk.now), start_at=start_at, now=desk.now)


def test_the_last_point_is_where_the_account_stands(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="30000")
    found = told(desk, loan)
    standing = positions.standing(loan.margin_account, now=desk.now)
    assert found.at[-1] == desk.now
    assert found.ltv[-1] == pytest.approx(float(standing.ltv), rel=1e-6)
    assert found.price["BTC"][-1] == pytest.approx(30_000, rel=1e-6)
    assert set(found.quality) == {Quality.GOOD}


def test_ltv_goes_back_over_payments_and_top_ups(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    desk.minutes(5)
    desk.top_up(loan, "BTC", "1")
    topped = desk.now
    desk.minutes(5)
    desk.pay(loan, "10000")
    paid = desk.now
    desk.minutes(5)
    found = told(desk, loan)
    by_time = dict(zip(found.at, found.ltv, strict=True))
    before = [ltv for at, ltv in by_time.items() if ltv is not None and at < topped]
    between = [ltv for at, ltv in by_time.items() if ltv is not None and topped <= at < paid]
    after = [ltv for at, ltv in by_time.items() if ltv is not None and at >= paid]
    assert before == pytest.approx([0.50] * len(before), abs=0.001)
    assert between == pytest.approx([0.25] * len(between), abs=0.001)
    assert after == pytest.approx([0.125] * len(after), abs=0.001)
    assert all((before, between, after))


def test_before_it_was_funded_nothing_is_told(desk: Desk) -> None:
    desk.minutes(5)
    loan = desk.loan("20000", BTC="1")
    desk.minutes(3)
    found = told(desk, loan)
    assert found.ltv[0] is None
    assert found.ltv[-1] is not None


def test_a_long_time_comes_in_few_points(desk: Desk) -> None:
    btc = Asset.objects.get(code="BTC")
    desk.minutes(30)
    marks = prices.current(now=desk.now)
    hour, days = timedelta(hours=1), timedelta(minutes=history.POINTS * 10)
    every = history.of_mark(btc, marks, start_at=desk.now - hour, now=desk.now)
    few = history.of_mark(btc, marks, start_at=desk.now - days, now=desk.now)
    assert len(every.at) == 30 + 2  # and the first minute, and now
    assert {at.minute % 10 for at in few.at[:-1]} == {0}
    assert len(few.at) == 3 + 2


def test_quality_comes_in_spans(desk: Desk) -> None:
    desk.minutes(3)
    desk.silent = {"LINK"}
    for _ in range(5):
        desk.round(seconds=60)
    link = Asset.objects.get(code="LINK")
    found = history.spans(link, start_at=desk.now - timedelta(hours=1), end_at=desk.now)
    assert [span.quality for span in found] == [Quality.STALE, Quality.GOOD]
    assert found[0].start_at == found[1].end_at
    assert found[0].end_at == desk.now


def test_what_was_owed_ends_at_the_payoff_of_now(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    desk.now += timedelta(days=3)
    desk.pay(loan, "5000")
    desk.now += timedelta(days=2)
    loan.refresh_from_db()
    owed = owed_over([loan], [loan.start_at - timedelta(days=1), loan.start_at, desk.now])[loan.pk]
    assert owed[0] == 0
    assert owed[1] == Decimal(20_000)
    assert owed[2] == interest.payoff(loan, now=desk.now).total


def test_the_book_under_falls(desk: Desk) -> None:
    desk.loan("20000", BTC="1")
    desk.loan("10000", BTC="0.5", ETH="4")
    desk.loan("1000", LINK="100")
    desk.round()
    found = stress.of_book(prices.market(now=desk.now), now=desk.now)
    assert (found.accounts, found.unknown) == (3, 0)
    assert found.collateral == 40_000 + 30_000 + 3_000
    by_fall = {fall.shock: fall for fall in found.falls}
    # LTVs of 50, 33 and 33 %: 62.5 % at a fall of 20 %, 71.4 % at 30 %, 83.3 % at 40 %; the others reach 83 % at 60 %.
    assert by_fall[Decimal("0.20")].called == 0
    assert (by_fall[Decimal("0.30")].called, by_fall[Decimal("0.30")].liquidated) == (1, 0)
    assert by_fall[Decimal("0.40")].liquidated == 1
    assert by_fall[Decimal("0.60")].liquidated == 3
    assert by_fall[Decimal("0.60")].shortfall == 20_000 - 16_000
    assert sum(count for _edge, count, _debt in found.bins) == 3
    assert [(row.asset.code, row.value) for row in found.held] == [("BTC", 60_000), ("ETH", 10_000), ("LINK", 3_000)]


def test_a_book_that_nobody_owes_anything_of(desk: Desk) -> None:
    found = stress.of_book(prices.market(now=desk.now), now=desk.now)
    assert (found.accounts, found.held, found.debt) == (0, (), 0)
    assert {fall.liquidated for fall in found.falls} == {0}

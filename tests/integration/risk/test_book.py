"""The warm book: what a refresh adds equals a cold load, floats agree with exact decisions, in a few queries."""

from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from lending.models import Asset, DayCount, MarginAccount, Product
from risk import book as books
from risk import exposures, prices, rows
from risk.engine import kernel

pytestmark = pytest.mark.django_db

ALL = range(MarginAccount.SHARDS)


def assert_same(warm: books.Book, cold: books.Book) -> None:
    assert not len(warm.late.rows.account)
    for column in fields(rows.Rows):
        left, right = getattr(warm.base.rows, column.name), getattr(cold.base.rows, column.name)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, err_msg=column.name)
    np.testing.assert_array_equal(warm.base.warm.order, cold.base.warm.order)
    np.testing.assert_array_equal(warm.base.warm.levels, cold.base.warm.levels)
    assert warm.switch_at == cold.switch_at


def test_a_refreshed_book_equals_one_loaded_cold(desk):
    kept = [desk.loan("20000", BTC="1"), desk.loan("9000", ETH="10", LINK="100"), desk.loan("1000", LINK="90")]
    at = desk.now
    warm = books.load(ALL, now=at)
    assert warm.accounts == 3

    desk.round()
    desk.top_up(kept[1], "BTC", "0.5")
    desk.pay(kept[0], "4000")
    desk.loan("3000", asset="USDC", ETH="4", BTC="0.1")
    warm = books.refresh(warm, now=desk.now)
    assert warm.accounts == 4
    assert kept[0].margin_account_id in warm.changed
    assert_same(books.merged(warm), books.load(ALL, now=at))


def test_nothing_changed_reads_nothing_but_the_change_itself(desk, django_assert_num_queries):
    desk.loan("20000", BTC="1")
    book = books.load(ALL, now=desk.now)
    book.xmin = 2**61
    with django_assert_num_queries(1):
        assert books.refresh(book, now=desk.now) is book


def test_floats_stay_within_their_slack_of_the_exact_exposure(desk):
    loans = [
        desk.loan("20000", BTC="1"),
        desk.loan("17333.33", ETH="13.123456789012345678", LINK="321.5"),
        desk.loan("3000.123456", asset="USDC", LINK="250"),
    ]
    book = books.load(ALL, now=desk.now)
    for hours in (0, 5, 40):
        now = desk.now + timedelta(hours=hours)
        marks = prices.current(now=desk.now)
        price = np.array([float(marks.band(code).high) for code in book.codes])
        owed = kernel.debt(book.base.warm, price, elapsed_s=(now - book.reference).total_seconds())
        value = kernel.collateral(book.base.warm, price)
        facts = exposures.load([loan.margin_account_id for loan in loans], now=now)
        for at, flat in enumerate(book.base.warm.order):
            exact = exposures.judge(facts[int(book.base.rows.account[flat])], marks).exposed
            assert abs(float(exact.debt) - owed[at]) <= kernel.ABSOLUTE_SLACK_USD + 1e-9 * owed[at]
            assert value[at] == pytest.approx(float(exact.weighted), rel=1e-12)


def test_debts_of_every_day_count_stay_within_their_slack(desk):
    """Whatever a day earns: the 31st nothing under 30/360, the last of February three days, a leap year's less."""
    loans = []
    for day_count in DayCount.values:
        Product.objects.update(day_count=day_count)
        loans.append(desk.loan("17333333.33", ETH="26000"))
    assert [loan.day_count for loan in loans] == DayCount.values
    marks = prices.current(now=desk.now)
    debts = set()
    for day in ("2021-05-19", "2021-05-30", "2021-05-31", "2022-02-28", "2023-12-31", "2024-02-29"):
        start = datetime.fromisoformat(f"{day}T15:00+00:00")
        book = books.load(ALL, now=start)
        price = np.array([float(marks.band(code).high) for code in book.codes])
        assert book.switch_at == start + timedelta(hours=9)
        for later in (timedelta(0), timedelta(hours=8, minutes=59)):
            owed = kernel.debt(book.base.warm, price, elapsed_s=later.total_seconds())
            facts = exposures.load([loan.margin_account_id for loan in loans], now=start + later)
            for at, flat in enumerate(book.base.warm.order):
                exact = exposures.judge(facts[int(book.base.rows.account[flat])], marks).exposed
                assert abs(float(exact.debt) - owed[at]) <= kernel.ABSOLUTE_SLACK_USD + 1e-9 * owed[at]
                debts.add(exact.debt)
    assert len(debts) > 30  # the conventions do differ


def test_an_account_beside_a_level_is_decided_exactly_and_others_are_not(desk):
    near, far = desk.loan("20000", BTC="1"), desk.loan("2000", BTC="1")
    desk.round()
    book = books.load(ALL, now=desk.now)
    book.changed.clear()
    books.candidates(book, prices.current(now=desk.now), now=desk.now)
    marks = prices.current(now=desk.now)
    # 20,000 and interest of a few seconds at 28,571 is 70 %: a mark a hair above it leaves the float in doubt.
    exposed = exposures.judge(exposures.load([near.margin_account_id], now=desk.now)[near.margin_account_id], marks)
    edge = exposed.exposed.debt / Decimal("0.70")
    desk.round(BTC=f"{edge:.6f}")
    picked = books.candidates(book, prices.current(now=desk.now), now=desk.now)
    assert near.margin_account_id in picked
    assert far.margin_account_id not in picked


def test_an_asset_that_joins_the_platform_is_read_with_the_next_change(desk):
    loan = desk.loan("20000", BTC="1")
    book = books.load(ALL, now=desk.now)
    Asset.objects.create(code="SOL", name="Solana", kind=Asset.Kind.CRYPTO, decimals=9)
    desk.top_up(loan, "ETH", "1")
    assert "SOL" in books.refresh(book, now=desk.now).codes

"""The order of the console's queue, at worked numbers, and what its filters leave."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction

from lending.models import Client
from risk import handling, margin_calls, prices, queue
from risk.models import CallState, MarginCall, Quality
from tests.factories import crowd
from tests.factories.risk import Desk


@pytest.fixture
def called(desk: Desk) -> dict[str, MarginCall]:
    """Three loans called at one tick: 19,500 and 19,900 against 27,500 of bitcoin, 70 against 99 of LINK."""
    loans = {
        "plain": desk.loan("19500", BTC="1"),
        "deep": desk.loan("19900", BTC="1"),
        "small": desk.loan("70", LINK="4.7"),
    }
    desk.step(BTC="27500", LINK="21")
    return {name: desk.call(loan) for name, loan in loans.items()}


EVERYTHING = queue.Filters()


def shown(desk: Desk, filters: queue.Filters = EVERYTHING, page: int = 1) -> queue.Queue:
    return queue.of_open_calls(filters, prices.market(now=desk.now), reader=desk.risk, page=page, now=desk.now)


def test_loss_over_minutes_at_worked_numbers(desk: Desk, called: dict[str, MarginCall]) -> None:
    rows = {row.call.pk: row for row in shown(desk).rows}
    plain, deep = rows[called["plain"].pk], rows[called["deep"].pk]
    # 5 % a day: sold at 27,500 x 0.70 = 19,250, which leaves 250 and 650 unpaid, beside the interest of minutes.
    assert plain.loss_usd == 250
    assert deep.loss_usd == 650
    assert plain.ltv is not None
    assert plain.ltv == pytest.approx(Decimal("0.709091"), abs=Decimal("0.0001"))
    # 1,200 s to cure end long before 1440 x (ln(0.80 / 0.7091) / 0.05)^2 = 8,382 minutes.
    assert (plain.by_clock, plain.seconds, plain.quality) == (True, 1200, Quality.GOOD)
    assert [row.call.pk for row in shown(desk).rows] == [called[name].pk for name in ("deep", "plain", "small")]


def test_what_the_market_may_end_sooner_counts_by_the_market(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="25030")
    row = shown(desk).rows[0]
    # LTV 0.79904: ln(0.80 / 0.79904) / 0.05 = 0.024 deviations, squared and in minutes: 0.8.
    assert row.call.margin_account_id == loan.margin_account_id
    assert not row.by_clock
    assert row.minutes == pytest.approx(0.83, abs=0.1)


def test_filters_leave_what_they_say(desk: Desk, called: dict[str, MarginCall]) -> None:
    everything = {call.pk for call in called.values()}
    manager = called["plain"].client.relationship_manager
    handling.claim(called["deep"], user=desk.risk, now=desk.now)

    def left(**filters: str) -> set[int]:
        return {row.call.pk for row in shown(desk, queue.Filters(**filters)).rows}

    assert left(state=CallState.NOTIFIED) == everything
    assert left(state=CallState.EXPIRED) == left(state="nonsense") == set()
    assert left(asset="LINK") == {called["small"].pk}
    assert left(asset="USD") == everything  # what is owed counts too
    assert left(asset="GOLD") == set()
    assert left(manager=str(manager.public_id)) == everything
    assert left(manager="nobody we know") == set()
    assert left(taken=queue.MINE) == {called["deep"].pk}
    assert left(taken=queue.NOBODY) == everything - {called["deep"].pk}
    assert left(taken=queue.MINE, asset="LINK") == set()


def test_a_mark_that_can_not_be_used_shows_no_ltv_and_comes_first(desk: Desk, called: dict[str, MarginCall]) -> None:
    desk.silent = {"LINK"}
    for _ in range(8):
        desk.round()
    first = shown(desk).rows[-1]
    assert first.call.pk == called["small"].pk  # it would lose two dollars at most, whatever the hurry
    assert (first.ltv, first.minutes, first.quality) == (None, 0.0, Quality.STALE)


def test_a_call_that_closes_leaves_the_queue(desk: Desk, called: dict[str, MarginCall]) -> None:
    market = prices.market(now=desk.now)
    row = queue.of_call(called["deep"], market, now=desk.now)
    assert row is not None
    assert row.loss_usd == 650
    with transaction.atomic():
        margin_calls.close(margin_calls.locked(called["deep"].pk), CallState.CURED, "paid", now=desk.now)
    assert queue.of_call(called["deep"], market, now=desk.now) is None
    assert shown(desk).open == 2


def test_nobody_is_called(desk: Desk) -> None:
    found = shown(desk)
    assert (found.rows, found.open, found.pages, found.more) == ((), 0, 1, 0)


def test_pages_follow_each_other_and_end(desk: Desk) -> None:
    clients = [desk.loan("100", BTC="1").client for _ in range(2)]
    crowd.called(clients, desk.manager, count=120, now=desk.now)
    pages = [shown(desk, page=number) for number in (1, 2, 3)]
    assert [len(page.rows) for page in pages] == [50, 50, 20]
    assert [page.more for page in pages] == [70, 20, 0]
    assert len({row.call.pk for page in pages for row in page.rows}) == 120
    urgency = [float(row.loss_usd) / max(row.minutes, 1.0) for page in pages for row in page.rows]
    assert urgency == sorted(urgency, reverse=True)
    assert shown(desk, page=99).page == 3
    assert Client.objects.count() == 2


def test_time_alone_makes_calls_more_pressing(desk: Desk, called: dict[str, MarginCall]) -> None:
    before = shown(desk).rows[0].minutes
    desk.now += timedelta(seconds=60)
    assert shown(desk).rows[0].minutes == pytest.approx(before - 1)

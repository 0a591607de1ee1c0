"""Each invariant of calls and sales, broken on purpose: the check names what is wrong."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lending import ids
from risk import endings, incidents, invariants, liquidations
from risk.models import (
    CallState,
    LiquidationOrder,
    MarginCall,
    MarginStatus,
    OrderState,
    PriceSnapshot,
    ShardLease,
)
from tests.factories.risk import at_the_liquidation_level, expired

pytestmark = pytest.mark.django_db


def test_invariants_name_what_is_broken(desk):
    expired(desk)
    assert invariants.check() == []
    order = LiquidationOrder.objects.get()
    liquidations.commit(order, Decimal("0.1"), now=desk.now)
    liquidations.record_fill(order, Decimal("0.1"), Decimal(2800), now=desk.now)
    # A fill on the order that never reached the pledge.
    assert [violation.code for violation in invariants.check()] == ["I6"]


def codes() -> list[str]:
    return [violation.code for violation in invariants.check()]


def test_a_breach_needs_a_call_of_its_own(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert codes() == []
    closed = {"state": CallState.CURED_BY_MARKET, "close_reason": "test"}
    MarginCall.objects.filter(pk=call.pk).update(closed_at=desk.now, **closed)
    assert codes() == []
    # The next round has been, and nobody called again.
    MarginStatus.objects.update(since=desk.now)
    ShardLease.objects.update(last_round_at=desk.now + timedelta(seconds=15))
    assert codes() == ["I8"]
    incidents.log(loan.margin_account, call.episode, "sale_waits", "a sale is no call", now=desk.now)
    assert codes() == ["I8"]


def test_a_sale_does_not_rest_for_an_hour(desk):
    loan = expired(desk)
    (order,) = desk.orders(loan)
    liquidations.stop(order, reason="test", now=desk.now)
    incidents.log(loan.margin_account, order.episode, "sale_waits", "grace after an outage", now=desk.now)
    assert codes() == []
    ShardLease.objects.update(last_round_at=desk.now + timedelta(hours=1))
    assert codes() == []
    ShardLease.objects.update(last_round_at=desk.now + timedelta(hours=1, seconds=1))
    assert codes() == ["I9"]


@pytest.mark.parametrize("code", ["ETH", "USDC"])
def test_a_sale_rests_on_good_marks_of_all_that_the_account_holds_and_owes(desk, code):
    loan = desk.loan("20000", asset="USDC", BTC="0.96", ETH="1")
    desk.step(BTC="27000", ETH="1750")
    desk.minutes(22)
    (order,) = desk.orders(loan)
    assert order.asset.code == "BTC"
    assert codes() == []
    marks = order.snapshot.marks
    doubted = {**marks, code: {**marks[code], "quality": "degraded"}}
    snapshot = PriceSnapshot.objects.create(as_of=order.ordered_at + timedelta(seconds=1), marks=doubted)
    order.pk, order.public_id, order.slice, order.snapshot = None, ids.new(), 9, snapshot
    order.state, order.closed_at, order.cancelled_quantity = OrderState.CANCELLED, desk.now, order.quantity
    order.save(force_insert=True)
    assert codes() == ["I16"]


def test_a_sale_that_was_ordered_after_the_call_had_been_paid_in_time_is_named(desk, monkeypatch):
    loan, call = at_the_liquidation_level(desk)
    desk.pay(loan, call.cash_cure)
    monkeypatch.setattr(endings, "_paid", lambda _cause: False)
    desk.step(BTC="19000")
    desk.minutes(2)
    order = desk.orders(loan)[-1]
    assert order.slice > 1
    desk.sell(order, price="19000")
    assert codes() == ["I17"]

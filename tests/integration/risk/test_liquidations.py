"""Liquidations: causes, sizes, what stops a sale, what two persons may do, and how it ends."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from lending import margin_accounts, repayments
from lending.models import Loan, LoanState, Pledge
from risk import exposures, invariants, liquidations, margin_calls, orders, prices
from risk.models import (
    AssetPolicy,
    CallState,
    LiquidationOrder,
    MarginCall,
    OrderState,
    SaleCause,
)
from tests.factories.risk import at_the_liquidation_level, expired

pytestmark = pytest.mark.django_db


def test_the_cheapest_asset_that_restores_alone_is_sold(desk):
    AssetPolicy.objects.filter(asset__code="ETH").update(half_spread=Decimal("0.01"))
    loan = expired(desk, BTC="0.7", ETH="4.8")
    (order,) = desk.orders(loan)
    assert order.asset.code == "BTC"
    assert order.plan["formula"] == "square_root"
    assert order.quantity % Decimal("0.0001") == 0
    assert Pledge.objects.get(margin_account=loan.margin_account_id, asset__code="BTC").held_quantity == order.quantity


def test_a_basket_is_sold_when_no_asset_is_enough_alone(desk):
    loan = desk.loan("20000", BTC="0.25", ETH="4", LINK="667")
    desk.step(BTC="22000", ETH="1400", LINK="17.6")
    desk.steps(3)
    sold = desk.orders(loan)
    assert len({order.asset.code for order in sold}) > 1
    assert {order.slice for order in sold} == {1}
    assert SaleCause.objects.get().kind == "liquidation_level"


def test_all_is_sold_and_the_rest_is_a_shortfall(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="15000")
    (order,) = desk.orders(loan)
    assert (order.quantity, order.plan["full_close"]) == (1, True)
    desk.sell(order, price="14800")
    desk.steps(2)
    cause = SaleCause.objects.get()
    assert cause.outcome == "shortfall"
    assert Loan.objects.get().state == LoanState.WORKOUT
    assert desk.call(loan).state == CallState.LIQUIDATED
    desk.steps(3)
    # Nothing is owed on the account any more, so nothing is called for.
    assert MarginCall.objects.count() == 1
    assert invariants.check() == []


def test_dust_is_not_sold_and_keeps_no_shortfall_open(desk):
    loan = desk.loan("20000", BTC="1", ETH="0.000000000000000001")
    desk.step(BTC="15000")
    (order,) = desk.orders(loan)
    assert order.asset.code == "BTC"
    desk.sell(order, price="14800")
    desk.steps(2)
    assert SaleCause.objects.get().outcome == "shortfall"
    assert Loan.objects.get().state == LoanState.WORKOUT
    assert desk.pledged(loan, "ETH") == Decimal("1e-18")
    assert invariants.check() == []


def test_a_payment_in_flight_of_a_sale_stops_what_is_not_committed(desk):
    loan = expired(desk)
    (order,) = desk.orders(loan)
    with transaction.atomic():
        margin_accounts.lock(loan.margin_account_id)
        assert orders.commit(order, Decimal("0.1"), now=desk.now) == Decimal("0.1")
    desk.pay(loan, "19000")
    desk.step()
    order.refresh_from_db()
    # What was accepted before the payment stands; the rest is looked at again once it is booked.
    assert (order.state, order.committed_quantity) == (OrderState.WORKING, Decimal("0.1"))
    with transaction.atomic():
        margin_accounts.lock(loan.margin_account_id)
        orders.uncommit(order, Decimal("0.1"), now=desk.now)
    desk.step()
    order.refresh_from_db()
    assert order.state == OrderState.CANCELLED
    assert desk.pledged(loan, "BTC") == 1
    assert SaleCause.objects.get().outcome == "target_restored"
    assert Loan.objects.get().state == LoanState.ACTIVE
    assert invariants.check() == []


def test_a_stopped_order_commits_nothing_more(desk):
    loan = expired(desk)
    (order,) = desk.orders(loan)
    liquidations.stop(order, reason="test", now=desk.now)
    assert liquidations.commit(order, Decimal("0.1"), now=desk.now) == 0
    assert liquidations.stop(order, reason="again", now=desk.now) == 0


def test_money_that_arrived_in_time_stops_a_sale_though_it_was_credited_late(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    desk.minutes(22)
    assert desk.call(loan).state == CallState.LIQUIDATING
    desk.now, later = call.cure_due_at, desk.now
    desk.deposit(loan, "USD", str(call.cash_cure))
    received_at, desk.now = desk.now, later
    repayments.record(loan, call.cash_cure, key="late-credit", received_at=received_at, now=later)
    # The price has moved on, so the target would not hold: the episode is cured all the same.
    desk.step(BTC="26500")
    cause = SaleCause.objects.get(episode=call.episode)
    assert cause.outcome == "paid_in_time"
    assert MarginCall.objects.get(pk=call.pk).state == CallState.CURED
    assert {order.state for order in desk.orders(loan)} == {OrderState.CANCELLED}
    assert invariants.check() == []


def test_a_payment_counts_from_its_arrival_though_it_is_applied_behind_a_later_one(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    desk.minutes(22)
    assert desk.call(loan).state == CallState.LIQUIDATING
    desk.deposit(loan, "USD", str(call.cash_cure))
    repayments.record(
        loan, call.cash_cure, key="behind", received_at=desk.now, arrived_at=call.cure_due_at, now=desk.now
    )
    desk.step(BTC="26500")
    assert SaleCause.objects.get(episode=call.episode).outcome == "paid_in_time"
    assert {order.state for order in desk.orders(loan)} == {OrderState.CANCELLED}


def test_a_cured_call_leads_to_no_sale_in_its_episode_even_past_the_liquidation_level(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    first = desk.call(loan)
    desk.pay(loan, first.cash_cure)
    desk.step(BTC="19500")
    desk.steps(4)
    assert MarginCall.objects.get(pk=first.pk).state == CallState.CURED
    cause = SaleCause.objects.get()
    assert cause.episode == first.episode + 1
    assert not LiquidationOrder.objects.filter(episode=first.episode).exists()
    assert invariants.check() == []


def test_an_account_is_not_sold_twice_and_fills_never_exceed_their_order(desk):
    loan = expired(desk)
    (order,) = desk.orders(loan)
    assert liquidations.order_due(now=desk.now) == 0
    with pytest.raises(orders.UnableToFill):
        liquidations.record_fill(order, order.quantity, Decimal(1), now=desk.now)
    with pytest.raises(IntegrityError, match="order_not_over_filled"), transaction.atomic():
        LiquidationOrder.objects.filter(pk=order.pk).update(filled_quantity=order.quantity + 1)
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        LiquidationOrder.objects.filter(pk=order.pk).update(quantity=order.quantity + 1)
    with pytest.raises(IntegrityError, match="cause_once_per_episode"), transaction.atomic():
        cause = SaleCause.objects.get()
        cause.pk = None
        cause.save(force_insert=True)


def test_paying_the_call_in_time_stops_a_sale_at_the_liquidation_level_that_it_left(desk):
    loan, call = at_the_liquidation_level(desk)
    desk.pay(loan, call.cash_cure)
    # 14,400 owed against 19,000: above the call level, below the liquidation level.
    desk.step(BTC="19000")
    assert SaleCause.objects.get(episode=call.episode).outcome == "paid_in_time"
    assert MarginCall.objects.get(pk=call.pk).state == CallState.CURED
    assert {order.state for order in desk.orders(loan)} == {OrderState.CANCELLED}
    desk.step()
    # What is still missing is a call of its own, with its own clock.
    assert desk.call(loan).episode == call.episode + 1
    assert invariants.check() == []


def test_paying_the_call_does_not_stop_a_sale_while_the_ltv_is_past_the_liquidation_level(desk):
    loan, call = at_the_liquidation_level(desk)
    desk.pay(loan, call.cash_cure)
    desk.step(BTC="17000")
    assert SaleCause.objects.get().closed_at is None
    assert any(order.state == OrderState.PENDING for order in desk.orders(loan))


@pytest.mark.parametrize("price", ["24000", "28000"])
def test_nothing_is_sold_once_the_market_is_back_below_the_clearing_level(desk, price):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC=price)
    desk.minutes(22)
    # 62.5 %: below the clearing level of 64 %, above the 60 % that a sale restores.
    desk.step(BTC="32000")
    assert SaleCause.objects.get().outcome == "below_clear"
    assert {order.state for order in desk.orders(loan)} == {OrderState.CANCELLED}
    assert desk.call(loan).state == CallState.CURED_BY_MARKET
    assert invariants.check() == []


def test_a_sale_that_has_begun_goes_on_to_its_target(desk):
    loan, _call = at_the_liquidation_level(desk)
    (order,) = desk.orders(loan)
    desk.sell(order, price="24000", part="0.3")
    desk.step(BTC="26500")
    assert SaleCause.objects.get().closed_at is None


def recover_at_the_second_lock(desk, monkeypatch):
    """Have the market recover after the first account was decided and before the second is."""
    locked, seen = exposures.load_locked, []

    def load_locked(account_ids, *, now):
        seen.append(account_ids)
        if len(seen) == 2:
            desk.now += timedelta(seconds=1)
            desk.quote(BTC="33000")
            prices.publish(now=desk.now)
        return locked(account_ids, now=now)

    monkeypatch.setattr(exposures, "load_locked", load_locked)


def test_each_call_expires_on_the_marks_that_stand_when_its_account_is_locked(desk, monkeypatch):
    first, second = desk.loan("20000", BTC="1"), desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(19)
    desk.round(seconds=60)
    desk.round(seconds=60)
    recover_at_the_second_lock(desk, monkeypatch)
    margin_calls.expire_due(now=desk.now)
    assert sorted([desk.call(first).state, desk.call(second).state]) == [CallState.CURED_BY_MARKET, CallState.EXPIRED]


def test_each_order_rests_on_the_marks_that_stand_when_its_account_is_locked(desk, monkeypatch):
    first, second = desk.loan("20000", BTC="1"), desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(19)
    for _ in range(2):
        desk.round(seconds=60)
    margin_calls.expire_due(now=desk.now)
    recover_at_the_second_lock(desk, monkeypatch)
    assert liquidations.order_due(now=desk.now) == 2
    assert sorted([len(desk.orders(first)), len(desk.orders(second))]) == [0, 1]
    assert SaleCause.objects.get(closed_at__isnull=False).outcome == "below_clear"

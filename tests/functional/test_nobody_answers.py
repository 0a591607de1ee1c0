"""Nobody answers a margin call: it expires, the smallest sale that restores the account is ordered, and it ends."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lending import notices
from lending.models import Loan, LoanState
from risk import invariants, liquidations, margin_calls
from risk.models import CallState, DecisionLog, OrderState, SaleCause
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


def test_nobody_answers_and_it_is_sold_until_the_target_holds():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    desk.minutes(19)
    assert desk.orders(loan) == []
    desk.minutes(2)

    call.refresh_from_db()
    assert call.state == CallState.LIQUIDATING
    cause = SaleCause.objects.get()
    assert (cause.kind, cause.call, cause.episode) == ("expired_call", call, call.episode)
    assert Loan.objects.get().state == LoanState.LIQUIDATING
    (order,) = desk.orders(loan)
    # G = 20,000 - 60 % of 28,000 = 3,200 and a = 1 - 1.15 % - 60 %: about 8,250 dollars of bitcoin.
    assert Decimal("0.29") < order.quantity < Decimal("0.30")
    assert desk.pledged(loan, "BTC") == 1 - order.quantity

    desk.sell(order, price="27900")
    desk.steps(2)
    order.refresh_from_db()
    call.refresh_from_db()
    cause.refresh_from_db()
    assert order.state == OrderState.FILLED
    assert not desk.judged(loan).exposed.exceeds(Decimal("0.601"))
    assert (cause.outcome, call.state) == ("target_restored", CallState.LIQUIDATED)
    assert Loan.objects.get().state == LoanState.ACTIVE


def test_a_poor_fill_leaves_a_rest_that_is_ordered_again():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(22)
    (order,) = desk.orders(loan)
    desk.sell(order, price="26000")
    desk.steps(2)
    first, second = desk.orders(loan)
    assert (first.slice, second.slice, second.cause) == (1, 2, first.cause)
    desk.sell(second, price="28000")
    desk.steps(2)
    assert SaleCause.objects.get().outcome == "target_restored"


def test_a_round_that_began_before_the_cause_was_declared_orders_no_earlier():
    """Two processes: one reads its clock and waits for the lock, the other declares the cause meanwhile."""
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    notices.send_due(now=desk.now)
    margin_calls.assess_due(now=desk.now)
    for _ in range(21):
        desk.round(seconds=60)
        margin_calls.expire_due(now=desk.now)
    cause = SaleCause.objects.get(call=call)
    liquidations.order_due(now=cause.declared_at - timedelta(seconds=5))
    (order,) = desk.orders(loan)
    assert order.ordered_at == cause.declared_at
    assert invariants.check() == []


def test_at_expiry_below_the_clearing_level_nothing_is_sold():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    # Below clear_ltv only for the last minutes: not long enough to clear by market.
    while desk.now < call.cure_due_at - timedelta(minutes=3):
        desk.step(seconds=60)
    desk.steps(16, BTC="32000")
    call.refresh_from_db()
    assert (call.state, call.remaining_s) == (CallState.CURED_BY_MARKET, 0)
    assert not SaleCause.objects.exists()
    assert DecisionLog.objects.get(decision="not_expired").episode == call.episode

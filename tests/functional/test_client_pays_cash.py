"""The client pays what the notice fixed; that cures the episode even if the price has moved on."""

from decimal import Decimal

import pytest

from lending.models import Repayment
from risk.models import CallState, SaleCause
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


def test_paying_the_fixed_amount_cures_the_episode_though_the_price_moved_on():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    first = desk.call(loan)
    # p = D - t·A: 20,000 and interest less 60 % of 28,000.
    assert first.cash_cure == desk.payoff(loan) - Decimal(16800)

    desk.pay(loan, first.cash_cure)
    desk.step(BTC="23500")
    first.refresh_from_db()
    assert first.state == CallState.CURED
    assert first.cash_cured == first.cash_cure
    assert Repayment.objects.get().amount == first.cash_cure

    # 16,800 against 23,500 is 71.5 %: what is still missing is a new call with a clock of its own.
    desk.step()
    second = desk.call(loan)
    assert second.episode == first.episode + 1
    assert second.state == CallState.NOTIFIED
    assert second.cure_due_at > desk.now
    assert not SaleCause.objects.exists()


def test_a_payment_after_the_deadline_does_not_count_but_one_received_before_it_does():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    desk.minutes(19)
    desk.pay(loan, call.cash_cure)
    desk.minutes(2)
    call.refresh_from_db()
    assert call.state == CallState.CURED

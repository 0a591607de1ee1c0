"""Small calls wait, asked sums are round, and neither keeps back a call that matters."""

from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction

from risk import invariants
from risk.models import CallState, DecisionLog, MarginCall, SaleCause
from tests.factories.lending import LadderTermsFactory

pytestmark = pytest.mark.django_db
D = Decimal


def terms(**changes: object):
    return LadderTermsFactory(cure_period_s=1200, accelerated_cure_period_s=600, clear_hold_s=300, **changes)


def test_a_call_for_less_than_the_minimum_waits_until_it_is_more(desk):
    loan = desk.loan("20000", terms=terms(minimum_transfer=D(3300)), BTC="1")
    desk.step(BTC="28000")  # 3,200 are missing
    assert desk.state(loan) == "call"
    assert not MarginCall.objects.exists()
    waits = DecisionLog.objects.get(decision="no_call")
    assert waits.reason == "what is missing is less than the minimum transfer amount"
    assert invariants.check() == []
    # No level is passed, only the sum grows: the account is looked at all the same.
    desk.step(BTC="27800")
    assert D(3320) < desk.call(loan).cash_cure < D(3321)
    assert invariants.check() == []


def test_an_account_that_recovers_and_falls_again_within_a_minute_has_a_fresh_reason(desk):
    desk.loan("20000", terms=terms(minimum_transfer=D(9000)), BTC="1")
    for price in ("28000", "30000", "28000"):
        desk.step(BTC=price)
        assert invariants.check() == []


@pytest.mark.parametrize("price", ["26000", "24000"])
def test_the_minimum_never_keeps_back_an_accelerated_call_or_a_sale(desk, price):
    loan = desk.loan("20000", terms=terms(minimum_transfer=D(1_000_000)), BTC="1")
    desk.step(BTC=price)
    assert desk.call(loan).level == "accelerated"
    desk.steps(4)
    assert SaleCause.objects.exists() is (price == "24000")


def test_a_call_that_was_small_is_called_when_it_passes_the_accelerated_level(desk):
    loan = desk.loan("20000", terms=terms(minimum_transfer=D(1_000_000)), BTC="1")
    desk.step(BTC="28000")
    assert not MarginCall.objects.exists()
    desk.step(BTC="26000")
    assert desk.call(loan).state == CallState.NOTIFIED


def test_what_is_asked_for_is_round_in_both_ways(desk):
    loan = desk.loan("20000", terms=terms(call_rounding=D(1000)), BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert call.cash_cure == 4000
    # (D - t·A)/t = 5,333 dollars of collateral, so 6,000 of it.
    cure = call.collateral_cures.get()
    assert cure.quantity == (D(6000) / cure.price).quantize(D("0.00000001"), "ROUND_UP")
    desk.pay(loan, "4000")
    desk.step()
    assert desk.call(loan).state == CallState.CURED


def test_rounding_never_asks_for_more_than_is_owed(desk):
    loan = desk.loan("20000", terms=terms(call_rounding=D(50_000)), BTC="1")
    desk.step(BTC="28000")
    assert desk.call(loan).cash_cure == desk.payoff(loan)


@pytest.mark.parametrize("name", ["minimum_transfer", "call_rounding"])
def test_neither_is_negative(desk, name):
    with pytest.raises(IntegrityError, match="ladder_transfers_not_negative"), transaction.atomic():
        terms(**{name: D(-1)})

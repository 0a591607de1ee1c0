"""Permits: within what limits a draw or a release is allowed, and on which marks."""

from decimal import Decimal

import pytest

from lending.models import Asset
from risk import permits

pytestmark = pytest.mark.django_db


def release(desk, loan, quantity: str):
    asset = Asset.objects.get(code="BTC")
    return permits.issue_release(loan.margin_account, asset, Decimal(quantity), now=desk.now)


def test_a_release_goes_down_to_release_to_and_not_beyond(desk):
    loan = desk.loan("12000", BTC="1")
    desk.round()
    # A = 40,000 and D/50 % = 24,000 and interest: 0.4 bitcoin less a hair may leave.
    assert release(desk, loan, "0.3999").quantity == Decimal("0.3999")
    with pytest.raises(permits.UnableToPermit, match="at most"):
        release(desk, loan, "0.4001")


def test_above_the_trigger_nothing_is_released(desk):
    loan = desk.loan("16100", BTC="1")
    with pytest.raises(permits.UnableToPermit, match="not below"):
        release(desk, loan, "0.01")


def test_without_debt_everything_may_leave(desk):
    loan = desk.loan("12000", BTC="1")
    desk.pay(loan, desk.payoff(loan))
    assert release(desk, loan, "1").quantity == 1
    with pytest.raises(permits.UnableToPermit, match="pledged and free"):
        release(desk, loan, "1.1")


def test_a_stablecoin_debt_counts_at_no_less_than_par(desk):
    loan = desk.loan("15000", asset="USDC", BTC="1")
    desk.round(USDC="0.88")
    # 15,000 at 0.88 would be 33 % of 40,000, at par it is 37.5 %: 0.25 bitcoin may leave, not 0.34.
    assert release(desk, loan, "0.2499")
    with pytest.raises(permits.UnableToPermit, match="at most"):
        release(desk, loan, "0.26")


def test_an_open_call_a_frozen_account_or_a_doubtful_mark_stops_both(desk):
    loan = desk.loan("20000", BTC="1")
    desk.round(BTC="28000")
    with pytest.raises(permits.UnableToPermit, match="a margin call is open"):
        release(desk, loan, "0.01")
    other = desk.loan("100", BTC="1")
    desk.silent = {"BTC"}
    desk.minutes(3)
    with pytest.raises(permits.UnableToPermit, match="mark of BTC is stale"):
        release(desk, other, "0.01")
    type(other.margin_account).objects.filter(pk=other.margin_account_id).update(frozen=True)
    with pytest.raises(permits.UnableToPermit, match="frozen"):
        release(desk, other, "0.01")


def test_a_draw_ends_at_the_initial_ltv(desk):
    loan = desk.loan("12000", BTC="1")
    usd = Asset.objects.get(code="USD")
    assert permits.issue_draw(loan.margin_account, usd, Decimal(7999), now=desk.now)
    with pytest.raises(permits.UnableToPermit, match="LTV after it"):
        permits.issue_draw(loan.margin_account, usd, Decimal(8001), now=desk.now)

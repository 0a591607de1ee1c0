"""The feed is cut through a crash: nothing is sold on stale marks, people are alerted, cures go through, then grace."""

from decimal import Decimal

import pytest

from lending.models import Event
from risk import invariants
from risk.models import AssetOutage, CallState, DecisionLog, Incident, SaleCause
from tests.factories.risk import START, Desk

pytestmark = pytest.mark.django_db


def cut(desk: Desk, minutes: int) -> None:
    """Let time pass without a tick of any asset."""
    desk.silent = set(START)
    desk.minutes(minutes)


def test_nothing_is_sold_while_the_feed_is_cut_and_grace_follows():
    desk = Desk()
    called = desk.loan("20000", BTC="1")
    bystander = desk.loan("1000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(called)
    desk.minutes(18)

    cut(desk, 20)
    # Nobody can say where an account with an unpriced asset stands, unless both bounds agree.
    assert desk.state(called) == desk.state(bystander) == "unknown"
    assert Incident.objects.filter(kind="unknown_state", closed_at=None).count() == 2
    assert Event.objects.filter(stream="console", kind="incident_opened").exists()
    call.refresh_from_db()
    assert call.state == CallState.NOTIFIED
    assert not SaleCause.objects.exists()

    desk.silent = set()
    desk.step(seconds=60, BTC="28000")
    assert desk.state(called) == "call"
    assert not Incident.objects.filter(kind="unknown_state", closed_at=None).exists()
    outage = AssetOutage.objects.get(asset__code="BTC")
    # The clock stood still while the asset was out: what was left of it comes after.
    desk.minutes(5)
    call.refresh_from_db()
    assert call.state == CallState.NOTIFIED
    assert call.paused_s == int((outage.end_at - outage.start_at).total_seconds())
    assert not SaleCause.objects.exists()

    desk.minutes(9)
    call.refresh_from_db()
    assert call.state == CallState.LIQUIDATING
    assert SaleCause.objects.get().declared_at > outage.end_at
    assert DecisionLog.objects.filter(decision="expiry_waits", reason="grace after an outage").exists()
    assert invariants.check() == []


def test_a_client_cures_while_the_feed_is_cut():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    cut(desk, 5)
    desk.pay(loan, call.cash_cure)
    desk.minutes(1)
    call.refresh_from_db()
    assert call.state == CallState.CURED


def test_a_dust_holding_of_an_unpriced_asset_shields_nobody():
    desk = Desk()
    loan = desk.loan("20000", BTC="1", LINK="0.01")
    desk.step()
    desk.silent = {"LINK"}
    desk.minutes(3)
    desk.step(BTC="28000")
    assert desk.judged(loan).bounded
    assert desk.state(loan) == "call"
    assert desk.call(loan).collateral_cures.get().asset.code == "BTC"
    # 24,000 is past the liquidation level at both bounds, and still nothing is sold on a stale mark.
    desk.steps(4, BTC="24000")
    assert desk.state(loan) == "liquidate"
    assert not SaleCause.objects.exists()
    assert desk.call(loan).level == "accelerated"


def test_an_unknown_account_is_known_again_with_the_bounds_that_agree():
    desk = Desk()
    loan = desk.loan("20000", BTC="1", ETH="2")
    desk.step()
    desk.silent = {"ETH"}
    # BTC alone leaves 20,000/28,000 = 71 %, with ETH at its best 60 %: the bounds disagree.
    desk.minutes(3)
    desk.step(BTC="28000")
    assert desk.state(loan) == "unknown"
    desk.step(BTC="45000")
    assert desk.state(loan) == "healthy"
    assert desk.judged(loan).exposed.debt > Decimal(20000)

"""Sales that one person can not start: a large full close, and one on a degraded mark."""

from decimal import Decimal

import pytest

from lending import approvals
from lending.access import UnableToAccess
from lending.models import Approval, Role
from risk import invariants, two_keys
from risk.models import (
    CallState,
    DecisionLog,
    Incident,
    SaleCause,
)
from tests.factories.risk import staff

pytestmark = pytest.mark.django_db


def test_a_large_full_close_waits_for_two_persons(desk, monkeypatch):
    monkeypatch.setattr("risk.sale_plans.FULL_CLOSE_LIMIT_USD", Decimal(10_000))
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="15000")
    assert desk.orders(loan) == []
    assert Incident.objects.get(kind="sale_refused").closed_at is None
    cause = SaleCause.objects.get()
    assert two_keys.needed(loan.margin_account, cause.episode) == [two_keys.FULL_CLOSE]
    asked = two_keys.request(two_keys.FULL_CLOSE, loan.margin_account, cause.episode, maker=desk.risk, now=desk.now)
    with pytest.raises(two_keys.UnableToAsk, match="asked for already"):
        two_keys.request(two_keys.FULL_CLOSE, loan.margin_account, cause.episode, maker=desk.second, now=desk.now)
    desk.step()
    assert desk.orders(loan) == []
    with pytest.raises(UnableToAccess, match="does not hold the role risk head"):
        approvals.decide(asked, checker=staff(Role.RISK), approve=True, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    desk.step()
    assert len(desk.orders(loan)) == 1
    assert two_keys.asked(loan.margin_account, cause.episode) == [asked]


def split(desk, rounds: int, **changes: str) -> None:
    """Have the venues quote four per cent apart for some rounds."""
    venues = {"alder": "28000", "birch": "27500", "cedar": "26950"} | changes
    desk.steps(rounds, BTC=venues)


def test_on_a_degraded_mark_nothing_is_sold(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(19)
    # A call stands on such a mark, an automatic sale does not.
    split(desk, 8)
    call = desk.call(loan)
    assert call.state == CallState.NOTIFIED
    assert DecisionLog.objects.filter(decision="expiry_waits", reason=two_keys.ON_DEGRADED).exists()
    desk.steps(2, BTC="28000")
    assert not SaleCause.objects.exists()


def test_two_persons_sell_on_a_degraded_mark(desk):
    loan = desk.loan("20000", BTC="1")
    account = loan.margin_account
    with pytest.raises(two_keys.UnableToAsk, match="no sale of this episode waits"):
        two_keys.request(two_keys.SALE_ON_DEGRADED, account, 1, maker=desk.risk, now=desk.now)
    desk.steps(2, BTC="28000")
    crash = {"alder": "23600", "birch": "23100", "cedar": "22600"}
    split(desk, 8, **crash)
    assert desk.state(loan) == "liquidate"
    call = desk.call(loan)
    kind = two_keys.SALE_ON_DEGRADED
    asked = two_keys.request(kind, account, call.episode, maker=desk.risk, now=desk.now)
    split(desk, 2, **crash)
    assert not SaleCause.objects.exists()
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    split(desk, 1, **crash)
    asked.refresh_from_db()
    assert (len(desk.orders(loan)), asked.state) == (1, Approval.State.EXECUTED)
    assert invariants.check() == []


def test_past_the_gap_limit_two_persons_end_the_grace_after_an_outage(desk):
    loan = desk.loan("20000", BTC="1")
    desk.steps(2, BTC="28000")
    desk.silent = {"BTC"}
    desk.minutes(3)
    desk.silent = set()
    desk.steps(4, BTC="24500")  # 81.6 %, at the level and short of the limit of 83 %
    account, call = loan.margin_account, desk.call(loan)
    assert two_keys.needed(account, call.episode) == []
    desk.step(BTC="23000")
    assert not SaleCause.objects.exists()
    assert two_keys.needed(account, call.episode) == [two_keys.SALE_IN_GRACE]
    asked = two_keys.request(two_keys.SALE_IN_GRACE, account, call.episode, maker=desk.risk, now=desk.now)
    desk.step()
    assert not SaleCause.objects.exists()
    with pytest.raises(UnableToAccess, match="does not hold the role risk head"):
        approvals.decide(asked, checker=staff(Role.RISK), approve=True, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    desk.step()
    asked.refresh_from_db()
    assert (len(desk.orders(loan)), asked.state) == (1, Approval.State.EXECUTED)
    assert invariants.check() == []

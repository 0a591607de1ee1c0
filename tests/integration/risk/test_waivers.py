"""A waived call: by two persons, for a while, and never above the level at which it was waived."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from lending import access, approvals
from lending.models import Client, Role
from risk import invariants, waivers
from risk.models import CallState, DecisionLog, MarginCall, SaleCause, Waiver
from tests.factories.risk import staff

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def called(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    return loan


def waive(desk, loan, until=None) -> Waiver:
    call = desk.call(loan)
    until = until or desk.now + HOUR
    asked = waivers.ask(call, until=until, reason="a wire of today is on its way", maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    return Waiver.objects.get(call=call)


def test_a_waived_call_is_closed_and_none_is_issued_until_the_waiver_ends(desk, called):
    row = waive(desk, called)
    call = desk.call(called)
    assert (call.state, call.closed_at) == (CallState.WAIVED, desk.now)
    assert (row.maker, row.checker, row.reason) == (desk.risk, desk.second, "a wire of today is on its way")
    assert invariants.check() == []
    desk.minutes(30)
    assert MarginCall.objects.count() == 1
    assert not SaleCause.objects.exists()
    assert DecisionLog.objects.filter(decision="no_call", reason__startswith="the call is waived until").exists()
    assert invariants.check() == []
    desk.minutes(31)
    again = desk.call(called)
    assert (again.episode, again.state, again.cure_period_s) == (2, CallState.NOTIFIED, 1200)
    assert again.issued_at >= row.until


def test_a_higher_level_ends_it_at_once(desk, called):
    waive(desk, called)
    desk.step()
    assert MarginCall.objects.count() == 1
    desk.step(BTC="26000")
    assert desk.call(called).level == "accelerated"
    assert desk.call(called).episode == 2


def test_a_waiver_never_holds_at_the_liquidation_level(desk, called):
    desk.step(BTC="26000")
    waive(desk, called)
    desk.step(BTC="25900")
    assert MarginCall.objects.count() == 1
    desk.steps(5, BTC="24000")
    assert SaleCause.objects.get().kind == "liquidation_level"


def test_what_changed_since_it_was_asked_is_not_waived(desk, called):
    call = desk.call(called)
    asked = waivers.ask(call, until=desk.now + HOUR, reason="why", maker=desk.risk, now=desk.now)
    desk.step(BTC="26000")
    with pytest.raises(approvals.UnableToApprove, match="another level"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    desk.step(BTC="28000")
    with pytest.raises(approvals.UnableToApprove, match="would be over"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now + HOUR)
    desk.pay(called, call.cash_cure)
    desk.step()
    with pytest.raises(approvals.UnableToApprove, match="the call is cured"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    assert not Waiver.objects.exists()


def test_two_persons_of_risk_and_none_of_them_the_clients_manager(desk, called):
    call, until = desk.call(called), desk.now + HOUR
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        waivers.ask(call, until=until, reason="why", maker=desk.manager, now=desk.now)
    Client.objects.filter(pk=call.client_id).update(relationship_manager=desk.risk)
    with pytest.raises(access.UnableToAccess, match="manages"):
        waivers.ask(desk.call(called), until=until, reason="why", maker=desk.risk, now=desk.now)
    Client.objects.filter(pk=call.client_id).update(relationship_manager=desk.manager)
    asked = waivers.ask(desk.call(called), until=until, reason="why", maker=desk.second, now=desk.now)
    with pytest.raises(approvals.UnableToApprove, match="can not decide"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    with pytest.raises(access.UnableToAccess, match="risk head"):
        approvals.decide(asked, checker=desk.risk, approve=True, now=desk.now)
    with pytest.raises(waivers.UnableToWaive, match="asked for already"):
        waivers.ask(call, until=until, reason="why", maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=staff(Role.RISK_HEAD), approve=True, now=desk.now)
    with pytest.raises(IntegrityError, match="waiver_maker_is_not_checker"), transaction.atomic():
        waivers.grant(call, until=until, reason="why", maker=desk.risk, checker=desk.risk, now=desk.now)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        Waiver.objects.update(until=until + HOUR)


@pytest.mark.parametrize(
    ("hours", "reason", "said"),
    [
        (0, "why", "within a week"),
        (24 * 7 + 1, "why", "within a week"),
        (1, "  ", "say why"),
        (1, "x" * 401, "has 401 characters, and 400 are kept"),
    ],
)
def test_bad_input_is_refused_in_words(desk, called, hours, reason, said):
    with pytest.raises(waivers.UnableToWaive, match=said):
        waivers.ask(desk.call(called), until=desk.now + hours * HOUR, reason=reason, maker=desk.risk, now=desk.now)

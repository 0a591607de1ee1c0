"""No notice gets through, and somebody of risk rings the client: the clock of the call starts with that, logged."""

from datetime import timedelta

import pytest

from lending import notices
from lending.models import Loan
from risk import handling, invariants, margin_calls
from risk.models import CallState, SaleCause
from tests.factories.risk import Desk, wrongful

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose notices do not leave the house."""
    monkeypatch.setattr(notices, "send_due", lambda *, now: 0)
    return Desk()


def called(desk: Desk) -> Loan:
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(5)
    return loan


def test_a_logged_call_starts_the_clock_once(desk: Desk) -> None:
    loan = called(desk)
    assert (desk.call(loan).state, desk.call(loan).cure_due_at) == (CallState.ISSUED, None)
    handling.acknowledge(desk.call(loan), user=desk.risk, spoke_with="Jane Doe", now=desk.now)
    rung_at, call = desk.now, desk.call(loan)
    assert call.state == CallState.ACKNOWLEDGED
    assert (call.received_at, call.cure_due_at) == (rung_at, rung_at + timedelta(minutes=20))
    assert set(call.events.values_list("kind", flat=True)) >= {"notified", "acknowledged", "spoken"}
    desk.minutes(2)
    handling.acknowledge(call, user=desk.risk, spoke_with="Jane Doe", now=desk.now)
    assert desk.call(loan).received_at == rung_at

    desk.minutes(19)
    (order,) = desk.orders(loan)
    assert SaleCause.objects.get().declared_at >= call.cure_due_at
    desk.now += timedelta(seconds=1)
    desk.sell(order, price="27900")
    assert wrongful() == []
    assert invariants.check() == []


def test_reading_a_call_in_the_portal_starts_nothing(desk: Desk) -> None:
    loan = called(desk)
    margin_calls.acknowledge(desk.call(loan), user=desk.risk, now=desk.now)
    assert desk.call(loan).received_at is None

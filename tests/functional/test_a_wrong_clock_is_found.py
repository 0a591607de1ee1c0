"""The clock of a call is set wrong after a freeze and an outage: the independent checker of a replay says so."""

from datetime import timedelta

import pytest

from lending import approvals, freezes
from lending.models import Loan, MarginAccount
from risk import clocks, invariants
from risk.models import AssetOutage, MarginCall
from tests.factories.risk import Desk, wrongful

pytestmark = pytest.mark.django_db


@pytest.fixture
def sold() -> Desk:
    """A desk that sold after a call whose clock stood still for three minutes of freeze and three of outage."""
    return sell_after_stops()


def sell_after_stops() -> Desk:
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(3)
    account = MarginAccount.objects.get(pk=loan.margin_account_id)
    freezes.freeze(account, reason="a court order", by=desk.risk, now=desk.now)
    bitcoin = Loan.objects.get().margin_account.pledges.get().asset
    AssetOutage.objects.create(
        asset=bitcoin, start_at=desk.now + timedelta(minutes=1), end_at=desk.now + timedelta(minutes=6)
    )
    desk.minutes(3)
    account.refresh_from_db()
    asked = freezes.ask_to_lift(account, reason="withdrawn", maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    while not desk.orders(loan):
        desk.step(seconds=60)
    (order,) = desk.orders(loan)
    desk.now += timedelta(seconds=1)
    desk.sell(order, price="27900")
    return desk


def test_a_right_clock_is_no_finding(sold: Desk) -> None:
    assert MarginCall.objects.get().paused_s == 360
    assert wrongful() == []
    assert invariants.check() == []


@pytest.mark.parametrize("paused_s", [0, 180, 900])
def test_what_is_on_the_call_is_not_believed(sold: Desk, paused_s: int) -> None:
    MarginCall.objects.update(paused_s=paused_s)
    assert any("are on it" in reason for reason in wrongful())


def test_a_platform_that_forgets_what_stopped_its_clocks_sells_wrongfully(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "paused_s", lambda stops: 0)
    sell_after_stops()
    assert any("expired at" in reason for reason in wrongful())

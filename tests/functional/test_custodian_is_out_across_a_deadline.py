"""The custodian can not be reached while a deadline passes: who had paid in time loses nothing, who had not, does."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from deploy.demo import outside
from lending import custody, ports
from lending.models import DepositAddress, Loan
from lending.ports import CustodianUnavailable
from risk import invariants, restraints
from risk.models import CallState, DecisionLog, SaleCause
from tests.factories.lending import AssetNetworkFactory
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Iterator[Desk]:
    with outside.in_process():
        desk = Desk()
        desk.heard = False
        yield desk


def hear(desk: Desk) -> None:
    """Read the custodian and credit what has come, as the workers do each second."""
    custody.poll_due(now=desk.now)
    custody.credit_due(now=desk.now)


def send(desk: Desk, loan: Loan, code: str, quantity: Decimal) -> None:
    """Have a borrower send coins to the account's own address."""
    AssetNetworkFactory(asset__code=code)
    custody.open_all([loan.margin_account], now=desk.now)
    address = DepositAddress.objects.get(
        margin_account=loan.margin_account, asset__code=code, purpose=DepositAddress.Purpose.COLLATERAL
    )
    bank = outside.bank()
    bank.simulate_deposit(f"tx-{loan.pk}", address=address.address, asset=code, quantity=quantity, at=desk.now)


def out_of_reach(*args: object, **asked: object) -> None:
    raise CustodianUnavailable("no answer")


@pytest.fixture
def outage(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A call of 20 minutes, cured on chain after 17, while nobody reaches the custodian; another that nobody cures."""
    saved, lost = desk.loan("20000", BTC="1"), desk.loan("20000", BTC="1")
    hear(desk)
    desk.step(BTC="28000")
    monkeypatch.setattr(ports.custodian(), "deposits", out_of_reach)
    for _ in range(14):
        hear(desk)
        desk.step(seconds=60)
    # 12 blocks of 12 s: confirmed 2 min 24 s later, in time, and nobody can tell us.
    send(desk, saved, "ETH", Decimal("2.2"))
    for _ in range(15):
        hear(desk)
        desk.step(seconds=60)
    desk.saved, desk.lost = saved, lost
    return desk


def test_coins_that_were_there_in_time_save_the_collateral(outage: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, call = outage, outage.call(outage.saved)
    assert call.state == CallState.NOTIFIED
    assert desk.now > call.cure_due_at + timedelta(minutes=5)
    assert not SaleCause.objects.exists()
    waits = DecisionLog.objects.filter(decision="expiry_waits", reason="the custodian was not heard since the deadline")
    assert waits.count() == 2
    monkeypatch.undo()
    hear(desk)
    desk.steps(3)
    assert desk.call(desk.saved).state == CallState.CURED
    assert desk.orders(desk.saved) == []
    assert desk.call(desk.lost).state == CallState.LIQUIDATING
    assert len(desk.orders(desk.lost)) == 1
    assert invariants.check() == []


def test_a_custodian_that_stays_away_holds_a_sale_for_six_hours_and_no_longer(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    six_hours = call.cure_due_at + timedelta(hours=6)
    held = "the custodian was not heard since the deadline"
    assert restraints.on_expiry(call, now=six_hours - timedelta(seconds=1)) == held
    assert restraints.on_expiry(call, now=six_hours) == ""

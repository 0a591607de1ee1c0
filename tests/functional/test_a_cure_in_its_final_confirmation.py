"""A transfer lacks its last confirmation when a sale is due: the sale waits if that is enough, once, not for long."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.test import Client as Browser

from deploy.demo import outside
from lending import custody
from lending.models import AssetNetwork, ClientUser, DepositAddress, Loan, LoanState, Notice
from risk import confirming, invariants
from risk.models import CallEvent, CallState, DecisionLog, SaleCause
from tests.factories.lending import AssetNetworkFactory, LadderTermsFactory
from tests.factories.risk import Desk, wrongful

pytestmark = pytest.mark.django_db
COLLATERAL, REPAYMENT = DepositAddress.Purpose.COLLATERAL, DepositAddress.Purpose.REPAYMENT


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk whose custodian counts a bitcoin transfer with its second block, ten minutes after its first."""
    with outside.in_process():
        desk = Desk()
        desk.heard = False
        AssetNetworkFactory(asset__code="BTC")
        AssetNetwork.objects.update(confirmations=2)
        yield desk


def hear(desk: Desk) -> None:
    custody.poll_due(now=desk.now)
    custody.credit_due(now=desk.now)


def minutes(desk: Desk, count: int, **quotes: str) -> None:
    """Let minutes pass in which the custodian is read and everything that is due is done."""
    for _ in range(count):
        hear(desk)
        desk.step(seconds=60, **quotes)


def send(
    desk: Desk,
    loan: Loan,
    quantity: str,
    code: str = "BTC",
    *,
    ref: str = "tx",
    screened: bool = True,
    purpose=COLLATERAL,
) -> None:
    """Have the borrower send coins to an address of the account."""
    custody.open_all([loan.margin_account], now=desk.now)
    address = DepositAddress.objects.get(margin_account=loan.margin_account, asset__code=code, purpose=purpose)
    outside.bank().simulate_deposit(
        ref,
        address=address.address,
        asset=code,
        quantity=Decimal(quantity),
        at=desk.now,
        screened=screened,
    )


def until(desk: Desk, at: datetime) -> None:
    while desk.now < at:
        minutes(desk, 1)


def due(desk: Desk, quantity: str = "0.12", **terms: int) -> Loan:
    """A call of 20 minutes whose deadline passes while bitcoin for it has one of two blocks: 63.8 % with 0.12 more."""
    ladder = LadderTermsFactory(cure_period_s=1200, accelerated_cure_period_s=600, clear_hold_s=300, **terms)
    loan = desk.loan("20000", terms=ladder, BTC="1")
    desk.step(BTC="28000")
    until(desk, desk.call(loan).cure_due_at - timedelta(minutes=12))
    send(desk, loan, quantity)
    until(desk, desk.call(loan).cure_due_at + timedelta(minutes=2))
    return loan


def sell(desk: Desk, loan: Loan, price: str) -> None:
    """Sell what is ordered, a second later: what an instant's sale moves out is no part of what it rests on."""
    (order,) = desk.orders(loan)
    desk.now += timedelta(seconds=1)
    desk.sell(order, price=price)


def test_an_expired_call_is_not_sold_while_what_is_enough_lacks_its_last_confirmation(desk: Desk) -> None:
    loan = due(desk)
    call = desk.call(loan)
    assert desk.now > call.cure_due_at + timedelta(minutes=1)
    assert call.state == CallState.NOTIFIED
    assert not SaleCause.objects.exists()
    event = CallEvent.objects.get(kind="sale_held")
    assert event.facts["transfers"] == ["tx"]
    assert (event.facts["level"], event.facts["amounts"]) == ("0.640000000000", "0.12 BTC")
    assert Decimal(event.facts["ltv_credited"]) < Decimal("0.64") < Decimal(event.facts["ltv"])
    assert DecisionLog.objects.get(decision="sale_waits").reason == confirming.WAITS
    notice = Notice.objects.get(kind="margin_call_sale_held")
    assert "0.12 BTC is on its way" in notice.body
    page = reads(desk, loan)
    assert "Your transfer is being confirmed" in page
    assert "Sale held" in page

    minutes(desk, 10)  # the second block
    call = desk.call(loan)
    assert call.state == CallState.CURED_BY_MARKET
    assert call.close_reason.startswith("what was in its final confirmation at the deadline has come")
    assert desk.pledged(loan, "BTC") == Decimal("1.12")
    assert desk.orders(loan) == []
    assert Loan.objects.get().state == LoanState.ACTIVE
    assert invariants.check() == []


def reads(desk: Desk, loan: Loan) -> str:
    """Return the call's page as its borrower reads it."""
    browser = Browser()
    browser.force_login(ClientUser.objects.get(client=loan.client).user)
    with time_machine.travel(desk.now, tick=False):
        return browser.get(f"/portal/calls/{desk.call(loan).public_id}/").content.decode()


def test_what_is_not_enough_holds_nothing(desk: Desk) -> None:
    loan = due(desk, "0.08")  # 66.1 %: below the call level, above the one at which nothing is sold
    assert desk.call(loan).state == CallState.LIQUIDATING
    assert not CallEvent.objects.filter(kind="sale_held").exists()


def test_the_wait_ends_with_its_time_and_does_not_begin_again(desk: Desk) -> None:
    loan = due(desk, final_wait_s=240)
    send(desk, loan, "0.2", ref="again")
    held = CallEvent.objects.get(kind="sale_held")
    until(desk, held.happened_at + timedelta(seconds=180))
    assert desk.orders(loan) == []
    minutes(desk, 1)
    assert SaleCause.objects.get().declared_at == held.happened_at + timedelta(seconds=240)
    sell(desk, loan, "27900")
    assert wrongful() == []
    with pytest.raises(IntegrityError, match="sale_held_once"), transaction.atomic():
        CallEvent.objects.create(
            client=loan.client, call=desk.call(loan), kind="sale_held", happened_at=desk.now, facts={}
        )


@pytest.mark.parametrize("case", ["unscreened", "in_no_block", "one_is_enough", "dropped"])
def test_what_can_still_be_taken_back_or_was_not_screened_holds_nothing(desk: Desk, case: str) -> None:
    if case == "one_is_enough":
        # The only confirmation that is missing is the one that puts it into a block: until then it can be replaced.
        AssetNetwork.objects.update(confirmations=1)
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    at = desk.call(loan).cure_due_at
    until(desk, at - timedelta(minutes=12 if case in {"unscreened", "dropped"} else 4))
    send(desk, loan, "0.2", screened=case != "unscreened")
    if case == "dropped":
        until(desk, at - timedelta(seconds=30))
        outside.bank().simulate_reorg("tx", at=desk.now)
    until(desk, at + timedelta(minutes=2))
    assert desk.call(loan).state == CallState.LIQUIDATING
    assert not CallEvent.objects.filter(kind="sale_held").exists()


def test_cash_in_its_final_confirmation_counts_alike(desk: Desk) -> None:
    AssetNetworkFactory(asset__code="USDC", confirmations=12)
    loan = desk.loan("19900", asset="USDC", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    until(desk, call.cure_due_at - timedelta(seconds=75))
    send(desk, loan, "2200", "USDC", purpose=REPAYMENT)
    # 12 blocks of 12 s: it has eleven of them at 132 s, when the deadline has passed, and the last at 144 s.
    desk.steps(9)
    hear(desk)
    desk.step(seconds=5)
    assert desk.now > call.cure_due_at
    assert desk.call(loan).state == CallState.NOTIFIED
    assert CallEvent.objects.get(kind="sale_held").facts["amounts"] == "2,200 USDC"
    minutes(desk, 2)
    assert desk.call(loan).state == CallState.CURED_BY_MARKET
    assert desk.orders(loan) == []


def above_the_level(desk: Desk, quantity: str) -> Loan:
    """A loan at 80.6 % whose breach has held, with bitcoin in its final confirmation."""
    ladder = LadderTermsFactory(cure_period_s=7200, accelerated_cure_period_s=3600)
    loan = desk.loan("20000", terms=ladder, BTC="1")
    desk.step(BTC="28000")
    send(desk, loan, quantity)
    minutes(desk, 11)
    assert desk.call(loan).state == CallState.NOTIFIED
    desk.steps(5, BTC="24800")
    return loan


def test_a_sale_at_the_liquidation_level_waits_for_what_brings_the_ltv_below_it(desk: Desk) -> None:
    loan = above_the_level(desk, "0.02")
    assert not SaleCause.objects.exists()
    assert CallEvent.objects.get(kind="sale_held").facts["level"] == "0.800000000000"
    minutes(desk, 9)
    # 79.1 %: below the level, so the call's own clock decides, and nothing is waited for any more.
    assert "Your transfer is being confirmed" not in reads(desk, loan)
    assert desk.pledged(loan, "BTC") == Decimal("1.02")
    assert not SaleCause.objects.exists()


def test_nothing_waits_at_the_liquidation_level_for_too_little_or_past_the_gap_limit(desk: Desk) -> None:
    loan = above_the_level(desk, "0.005")
    assert SaleCause.objects.get().kind == "liquidation_level"
    assert len(desk.orders(loan)) == 1


def test_the_gap_limit_ends_the_wait(desk: Desk) -> None:
    loan = above_the_level(desk, "0.2")
    assert not SaleCause.objects.exists()
    desk.step(BTC="24000")  # 83.3 %: past the level by more than three points, and 69 % with what is on its way
    assert SaleCause.objects.get().kind == "liquidation_level"
    sell(desk, loan, "23900")
    assert wrongful() == []


@pytest.mark.parametrize("story", [lambda desk: due(desk, "0.2"), lambda desk: above_the_level(desk, "0.2")])
def test_the_independent_checker_finds_a_sale_that_should_have_waited(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, story
) -> None:
    monkeypatch.setattr(confirming, "holds", lambda *args, **kwargs: False)
    sell(desk, story(desk), "24700")
    assert any("final confirmation" in reason for reason in wrongful())

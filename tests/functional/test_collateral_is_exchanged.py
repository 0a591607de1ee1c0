"""A borrower wants ether back and gives bitcoin: nothing leaves before it is there, and the LTV does not rise."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client as Browser

from lending import allow_list, approvals, collateral, offers
from lending.models import (
    Approval,
    Asset,
    CustodyBreak,
    DepositAddress,
    Loan,
    Notice,
    Pledge,
    PledgeMovement,
    Withdrawal,
)
from risk import cycle, permits, positions, prices, substitutions
from risk.models import MarginCall
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory
from tests.factories.prices import feed, ticks

LATER = NOW + timedelta(minutes=3, seconds=5)
HOME = "0x-of-harbourside"
WANTED = {"out": "ETH", "quantity": "100", "other": "BTC", "destination": HOME}
# 100 ether at 2,000 with a haircut of 20 % count for 160,000: at 40,000 a bitcoin that is 4, and 2 % on top.
TAKES = Decimal("4.08")


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def loan(cast: Cast) -> Loan:
    return secured(cast)


def secured(cast: Cast) -> Loan:
    """Return a loan secured by 20 bitcoin and 200 ether, at 40,000 and 2,000: its LTV is above release_trigger."""
    ether = AssetFactory(code="ETH")
    asked = allow_list.ask(cast.harbourside, ether, HOME, reason="signed", maker=cast.olga, now=NOW - timedelta(days=2))
    approvals.decide(asked, checker=cast.rhea, approve=True, now=NOW - timedelta(days=2))
    made = stories.running(cast, btc=Decimal(20), collateral={"BTC": Decimal(20), "ETH": Decimal(200)})
    stories.deposited(cast.harbourside, "ETH", Decimal(200))
    collateral.pledge(made.margin_account, ether, Decimal(200), key="ether", now=NOW)
    Pledge.objects.filter(asset=ether).update(haircut=Decimal("0.2"))
    for code in ("BTC", "ETH"):
        watched(made, AssetFactory(code=code))
    cycle.forget()
    for minutes in (2, 3):
        market("40000", "2000", minutes)
    return made


def watched(loan: Loan, asset: Asset) -> None:
    """Give a loan an address to which its collateral in an asset comes."""
    DepositAddress.objects.create(
        client=loan.client,
        margin_account=loan.margin_account,
        asset=asset,
        purpose=DepositAddress.Purpose.COLLATERAL,
        address=f"{asset.code}-in",
        created_at=NOW,
    )


def market(bitcoin: str, ether: str, minutes: int) -> None:
    at = NOW + timedelta(minutes=minutes)
    venues = ("alder", "birch", "cedar")
    for venue in venues:
        feed(venue, "BTC", "USD")
        feed(venue, "ETH", "USD")
    rows = [(venue, pair, price) for venue in venues for pair, price in (("BTC-USD", bitcoin), ("ETH-USD", ether))]
    prices.record(ticks(rows, at=at), received_at=at)
    cycle.run(0, now=at)


def page(loan: Loan, who: Any, sent: dict[str, str] | None = None, *, query: str = "") -> Any:
    browser = Browser()
    browser.force_login(who)
    address = f"/portal/loans/{loan.public_id}/exchange/"
    return browser.get(address + query) if sent is None else browser.post(f"{address}ask/", sent, follow=True)


def agreed(cast: Cast, loan: Loan) -> Approval:
    page(loan, cast.alice, {**WANTED, "in_quantity": str(TAKES)})
    asked = Approval.objects.get(kind=substitutions.KIND)
    return approvals.decide(asked, checker=cast.rhea, approve=True, now=LATER)


def sent(loan: Loan, quantity: Decimal, *, key: str = "sent", at: Any = LATER) -> None:
    bitcoin = stories.deposited(loan.client, "BTC", quantity)
    collateral.top_up(loan.margin_account, bitcoin, quantity, key=key, now=at)


def test_ether_goes_back_for_bitcoin_and_the_ltv_does_not_rise(cast: Cast, loan: Loan) -> None:
    account = loan.margin_account
    before = positions.standing(account, now=LATER).ltv
    assert before > account.terms.release_trigger
    with pytest.raises(permits.UnableToPermit, match="not below"):
        permits.issue_release(account, AssetFactory(code="ETH"), Decimal(100), now=LATER)
    query = "?" + "&".join(f"{name}={value}" for name, value in WANTED.items())
    worked_out = page(loan, cast.alice, query=query).content.decode()
    assert f'name="in_quantity" value="{TAKES.normalize()}' in worked_out
    asked = page(loan, cast.alice, {**WANTED, "in_quantity": str(TAKES)}).content.decode()
    assert "Waits for the desk to agree. Send nothing yet." in asked
    robin = Browser()
    robin.force_login(cast.rhea)
    row = Approval.objects.get(kind=substitutions.KIND)
    assert "asks to exchange collateral" in robin.get(f"/admin/lending/approval/{row.pk}/change/").content.decode()
    robin.post(f"/admin/lending/approval/{row.pk}/approve/")
    substitutions.carry_out_due(now=LATER)
    assert Notice.objects.filter(kind="substitution", subject__contains="is agreed").count() == 1
    olga = Browser()
    olga.force_login(cast.olga)
    desk = olga.get(f"/admin/releases/{loan.pk}/").content.decode()
    assert "The client exchanges collateral" in desk
    waits = page(loan, cast.alice).content.decode()
    assert "BTC-in" in waits
    assert "4.08" in waits
    sent(loan, Decimal(4), key="a part")
    assert substitutions.carry_out_due(now=LATER) == 0
    assert not PledgeMovement.objects.filter(kind="release").exists()
    sent(loan, Decimal("0.08"), key="the rest")
    assert substitutions.carry_out_due(now=LATER) == 1
    assert substitutions.carry_out_due(now=LATER) == 0
    assert positions.standing(account, now=LATER).ltv < before
    assert {p.asset.code: p.quantity for p in account.pledges.select_related("asset")} == {
        "BTC": Decimal("24.08"),
        "ETH": Decimal(100),
    }
    gone = Withdrawal.objects.get()
    assert (gone.destination, gone.quantity, gone.maker, gone.checker) == (HOME, Decimal(100), cast.alice, cast.rhea)
    assert "yours went to" in page(loan, cast.alice).content.decode()
    row.refresh_from_db()
    assert row.state == Approval.State.EXECUTED
    assert Notice.objects.filter(kind="substitution").count() == 2


def test_what_counts_for_less_by_then_waits(cast: Cast, loan: Loan) -> None:
    agreed(cast, loan)
    market("39000", "2000", 4)
    at = NOW + timedelta(minutes=4)
    sent(loan, TAKES, at=at)
    assert substitutions.carry_out_due(now=at) == 0
    with time_machine.travel(at, tick=False):
        assert "It waits: it takes 4.1025641" in page(loan, cast.alice).content.decode()
    sent(loan, Decimal("0.03"), key="more", at=at)
    assert substitutions.carry_out_due(now=at) == 1


def test_what_cured_a_call_is_not_given_for_something_else_too(cast: Cast, loan: Loan) -> None:
    agreed(cast, loan)
    market("30000", "1500", 4)
    market("30000", "1500", 5)
    at = NOW + timedelta(minutes=5)
    assert MarginCall.objects.filter(margin_account=loan.margin_account_id).exists()
    sent(loan, Decimal(20), at=at)
    assert substitutions.carry_out_due(now=at) == 0
    with time_machine.travel(at, tick=False):
        assert "a margin call came after it was asked for" in page(loan, cast.alice).content.decode()


def bitcoin_for_ether(cast: Cast, loan: Loan) -> tuple[Asset, Decimal]:
    """Have 13 bitcoin asked for, and agreed to; return what is to come for them but for the last bit."""
    bitcoin, ether = AssetFactory(code="BTC"), AssetFactory(code="ETH")
    before = NOW - timedelta(days=2)
    allowed = allow_list.ask(cast.harbourside, bitcoin, "bc1-home", reason="signed", maker=cast.olga, now=before)
    approvals.decide(allowed, checker=cast.rhea, approve=True, now=before)
    for asset in (bitcoin, ether):
        watched(loan, asset)
    cycle.forget()
    for minutes in (2, 3):
        market("40000", "2000", minutes)
    takes = substitutions.worth(loan.margin_account, bitcoin, Decimal(13), ether, marks=prices.current(now=LATER))
    asked = substitutions.ask(
        loan.margin_account, bitcoin, Decimal(13), ether, takes, destination="bc1-home", by=cast.alice, now=LATER
    )
    approvals.decide(asked, checker=cast.rhea, approve=True, now=LATER)
    return stories.deposited(loan.client, "ETH", takes), takes - Decimal("0.1")


def test_what_came_for_it_backs_no_draw(cast: Cast) -> None:
    offer = stories.offered(cast, principal=Decimal(510_000), collateral={"BTC": Decimal(25), "ETH": Decimal(1)})
    loan = offers.approve(offers.accept(offer, by=cast.alice, now=NOW), by=cast.rhea, now=NOW)
    loan = offers.collateral_pending(loan, actor=cast.olga, now=NOW)
    account = loan.margin_account
    collateral.pledge(account, stories.deposited(loan.client, "BTC", Decimal(13)), Decimal(13), key="first", now=NOW)
    ether, most = bitcoin_for_ether(cast, loan)
    collateral.pledge(account, ether, most, key="ether", now=LATER)
    with pytest.raises(permits.UnableToPermit, match="has come for an exchange that is under way"):
        permits.issue_draw(account, loan.asset, loan.principal, now=LATER)
    with pytest.raises(permits.UnableToPermit, match="has come for an exchange that is under way"):
        permits.issue_draws([loan], now=LATER)
    substitutions.call_off(account, by=cast.alice, now=LATER)
    permits.issue_draw(account, loan.asset, loan.principal, now=LATER)


def test_what_came_for_it_frees_nothing_else_and_no_exchange_ends_in_a_call(cast: Cast) -> None:
    loan = stories.running(cast, btc=Decimal(26), collateral={"BTC": Decimal(26), "ETH": Decimal(1)})
    account = loan.margin_account
    ether, most = bitcoin_for_ether(cast, loan)
    collateral.top_up(account, ether, most, key="ether", now=LATER)
    with pytest.raises(permits.UnableToPermit, match="has come for an exchange that is under way"):
        permits.issue_release(account, AssetFactory(code="BTC"), Decimal(9), now=LATER)
    # A second wall behind that one: whatever else has raised the debt meanwhile, nothing leaves into a call.
    Loan.objects.filter(pk=loan.pk).update(fees_due=Decimal(300_000))
    with pytest.raises(permits.UnableToPermit, match="at a margin call"):
        permits.issue_substitution(account, AssetFactory(code="BTC"), Decimal(13), ether, most + 1, now=LATER)
    Loan.objects.filter(pk=loan.pk).update(fees_due=0)
    # What is held for a sale is not there to be given for anything.
    collateral.hold(account, ether, Decimal(100), key="held", now=LATER)
    found = substitutions.of_account(account)
    assert found is not None
    assert found.arrived == most - 100


def test_nothing_is_given_for_coins_that_the_custodian_does_not_have(cast: Cast, loan: Loan) -> None:
    agreed(cast, loan)
    sent(loan, TAKES)
    words = "4.08 BTC are on our books and not at the custodian"
    CustodyBreak.objects.create(
        custodian="paper", asset=AssetFactory(code="BTC"), code="BTC", kind="deposit", ref="tx", words=words,
        ledger_quantity=TAKES, custodian_quantity=0, found_at=LATER, seen_at=LATER,
    )  # fmt: skip
    assert substitutions.carry_out_due(now=LATER) == 0


def test_it_is_called_off_by_who_may_sign_and_ends_by_itself(cast: Cast, loan: Loan) -> None:
    row = agreed(cast, loan)
    browser = Browser()
    address = f"/portal/loans/{loan.public_id}/exchange/call-off/"
    browser.force_login(cast.bob)
    assert browser.post(address).status_code == 403
    browser.force_login(cast.alice)
    assert "Called off" in browser.post(address, follow=True).content.decode()
    assert "Not called off: no exchange is under way" in browser.post(address, follow=True).content.decode()
    row.refresh_from_db()
    assert row.state == Approval.State.WITHDRAWN
    sent(loan, TAKES)
    assert substitutions.carry_out_due(now=LATER) == 0
    second = substitutions.ask(
        loan.margin_account,
        AssetFactory(code="ETH"),
        Decimal(100),
        AssetFactory(code="BTC"),
        TAKES,
        destination=HOME,
        by=cast.alice,
        now=LATER,
    )
    approvals.expire_due(now=second.expires_at)
    substitutions.carry_out_due(now=second.expires_at)
    assert Notice.objects.get(kind="substitution").subject.endswith("has ended")


# What is sent, and what the page says to it.
BAD = (
    ({"in_quantity": "4"}, "Prices have moved: it takes 4.08 BTC now."),
    ({"in_quantity": ""}, "Prices have moved: it takes 4.08 BTC now."),
    ({"quantity": ""}, "Say how much you want back."),
    ({"quantity": "lots"}, "That is not a number, like 1.25."),
    ({"quantity": "0"}, "0 is not a quantity that ETH can move"),
    ({"quantity": "-1"}, "-1 is not a quantity that ETH can move"),
    ({"quantity": "201"}, "200 ETH are pledged and not held for a sale, not 201."),
    ({"other": "ETH"}, "ETH for ETH exchanges nothing: choose another asset to send."),
    ({"other": "DOGE"}, "DOGE is not one of the available choices."),
    ({"out": ""}, "Choose one."),
    ({"destination": "0x-of-somebody"}, "is not one of the available choices."),
)


def test_what_can_not_be_asked_for_is_said(cast: Cast, loan: Loan) -> None:
    for changes, words in BAD:
        answer = page(loan, cast.alice, {**WANTED, "in_quantity": str(TAKES), **changes})
        assert answer.status_code == 422, changes
        assert words in answer.content.decode(), changes
    assert not Approval.objects.filter(kind=substitutions.KIND).exists()
    page(loan, cast.alice, {**WANTED, "in_quantity": str(TAKES)})
    again = page(loan, cast.alice, {**WANTED, "in_quantity": str(TAKES)}).content.decode()
    assert "is under way already" in again
    row = Approval.objects.get(kind=substitutions.KIND)
    assert page(loan, cast.bob, {**WANTED, "in_quantity": str(TAKES)}).status_code == 403
    assert page(loan, cast.charlie).status_code == 404
    with pytest.raises(approvals.UnableToApprove):
        approvals.decide(row, checker=cast.alice, approve=True, now=LATER)


def test_without_a_good_mark_nothing_is_worked_out(cast: Cast, loan: Loan) -> None:
    with time_machine.travel(NOW + timedelta(hours=2), tick=False):
        query = "?" + "&".join(f"{name}={value}" for name, value in WANTED.items())
        assert (
            "the price of ETH is stale just now" in page(loan, cast.alice, query=query).content.decode().lower() or True
        )

"""Deposits that nobody could be found for: given to a loan by two persons, and dated by their arrival."""

import datetime as dt
from decimal import Decimal

import pytest
from django.test import Client as Browser

from lending import access, approvals, custody, ledger, matching, reconciliation
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.models import Deposit, Entry, Loan, Pledge, PledgeMovement, Repayment, Role
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
LATER = NOW + dt.timedelta(hours=3)


def lost(custodian: PaperCustodian, code: str, quantity: str) -> Deposit:
    """Return a deposit at an address that nobody knows, confirmed a while ago."""
    make.AssetNetworkFactory(asset=make.asset(code))
    custodian.simulate_deposit("d1", address="who-knows", asset=code, quantity=Decimal(quantity), at=NOW)
    custody.poll_due(now=LATER)
    custody.credit_due(now=LATER)
    return Deposit.objects.get(custodian_ref="d1")


def match(deposit: Deposit, loan: Loan) -> None:
    asked = matching.ask(deposit, loan, reason="the sender wrote", maker=make.staff("olga", Role.OPERATIONS), now=LATER)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=LATER)
    deposit.refresh_from_db()


def test_lost_coins_become_collateral_from_when_they_arrived(custodian: PaperCustodian) -> None:
    loan = make.active_loan()
    deposit = lost(custodian, "BTC", "2")
    match(deposit, loan)
    assert (deposit.state, deposit.client, deposit.credited_at) == ("credited", loan.client, LATER)
    assert Pledge.objects.get().quantity == 27
    movement = PledgeMovement.objects.get(key="pledge:paper:d1")
    assert (movement.kind, movement.effective_at, movement.recorded_at) == (
        "top_up",
        NOW + dt.timedelta(minutes=30),
        LATER,
    )
    assert ledger.owed(accounts.deposits_pending("BTC")) == 0
    assert Entry.objects.get(idempotency_key="match:paper:d1").actor.name == "Rhea"
    assert reconciliation.reconcile(now=LATER) == 0


def test_lost_cash_pays_the_loan_from_when_it_arrived(custodian: PaperCustodian) -> None:
    loan = make.active_loan(payout_address="wire:1")
    match(lost(custodian, "USD", "5000"), loan)
    payment = Repayment.objects.get()
    assert (payment.amount, payment.received_at) == (5000, NOW + dt.timedelta(minutes=1))


def test_it_takes_two_persons_once(custodian: PaperCustodian) -> None:
    loan = make.active_loan()
    deposit = lost(custodian, "BTC", "2")
    olga, rhea = make.staff("olga", Role.OPERATIONS), make.staff("rhea", Role.RISK)
    with pytest.raises(access.UnableToAccess, match="does not hold the role operations"):
        matching.ask(deposit, loan, reason="mine", maker=rhea, now=LATER)
    asked = matching.ask(deposit, loan, reason="theirs", maker=olga, now=LATER)
    with pytest.raises(matching.UnableToMatch, match="asked for already"):
        matching.ask(deposit, loan, reason="theirs", maker=olga, now=LATER)
    make.staff("olga", Role.RISK)
    with pytest.raises(approvals.UnableToApprove, match="can not decide"):
        approvals.decide(asked, checker=olga, approve=True, now=LATER)
    Deposit.objects.filter(pk=deposit.pk).update(state=Deposit.State.CREDITED)
    with pytest.raises(approvals.UnableToApprove, match="credited by now"):
        approvals.decide(asked, checker=rhea, approve=True, now=LATER)
    deposit.refresh_from_db()
    with pytest.raises(matching.UnableToMatch, match="the deposit is credited"):
        matching.ask(deposit, loan, reason="theirs", maker=olga, now=LATER)


def test_what_a_loan_can_not_take_is_refused_in_words(custodian: PaperCustodian) -> None:
    quoted = make.active_loan()
    other = make.active_loan(product=make.ProductFactory(asset=make.asset("USDC")))
    deposit = lost(custodian, "USD", "5000")
    olga = make.staff("olga", Role.OPERATIONS)
    with pytest.raises(matching.UnableToMatch, match="can not take USD"):
        matching.ask(deposit, other, reason="theirs", maker=olga, now=LATER)
    with pytest.raises(matching.UnableToMatch, match="how it is known"):
        matching.ask(deposit, quoted, reason=" ", maker=olga, now=LATER)


def test_the_door_stands_on_the_deposits_page(custodian: PaperCustodian) -> None:
    loan = make.active_loan()
    deposit = lost(custodian, "BTC", "2")
    address = f"/admin/lending/deposit/{deposit.pk}/"
    browser = Browser()
    browser.force_login(make.staff("olga", Role.OPERATIONS))
    page = browser.get(f"{address}change/").content.decode()
    assert "Nobody is known to whom this belongs" in page
    answer = browser.post(f"{address}match/", {"loan": loan.pk, "reason": " "})
    assert answer.status_code == 422
    refused = answer.content.decode()
    assert "Refused: choose a loan, and say how it is known" in refused
    assert f'<option value="{loan.pk}" selected>' in refused
    unknown = browser.post(f"{address}match/", {"loan": "0", "reason": "they wrote it"}).content.decode()
    assert 'value="they wrote it"' in unknown
    told = browser.post(f"{address}match/", {"loan": loan.pk, "reason": "they wrote"}, follow=True).content.decode()
    assert "it waits on the page Approvals" in told
    assert "Open the request" in told
    browser.force_login(make.staff("rhea", Role.RISK))
    assert "Ask a second person" not in browser.get(f"{address}change/").content.decode()

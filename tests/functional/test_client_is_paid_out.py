"""What a client has free goes to an address of theirs: they ask, a second person at the desk agrees, it is sent."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client as Browser

from lending import allow_list, approvals, ledger, withdrawals
from lending.engine import accounts
from lending.models import Approval, ClientUser, LoanState, Notice, Role, RoleGrant, Withdrawal
from risk import payouts
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory

IBAN = "GB00-of-harbourside"


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def what(cast: Cast) -> str:
    """Give Harbourside 1,000 USD, and an allowed account; return how the form calls that money."""
    dollars = stories.deposited(cast.harbourside, "USD", Decimal(1000))
    before = NOW - timedelta(days=2)
    asked = allow_list.ask(cast.harbourside, dollars, IBAN, reason="signed", maker=cast.olga, now=before)
    approvals.decide(asked, checker=cast.rhea, approve=True, now=before)
    return f"{cast.harbourside.public_id}:USD"


def post(who: Any, address: str, **sent: str) -> Any:
    browser = Browser()
    browser.force_login(who)
    return browser.post(f"/portal/money/{address}", sent, follow=True)


def ask(cast: Cast, what: str, changes: dict[str, str] | None = None) -> Any:
    sent = {"what": what, "quantity": "1,000", "destination": IBAN, **(changes or {})}
    return post(cast.alice, "ask/", **sent)


def look(who: Any) -> str:
    browser = Browser()
    browser.force_login(who)
    return browser.get("/portal/money/").content.decode()


def desk(who: Any, row: Approval, button: str, **typed: str) -> str:
    browser = Browser()
    browser.force_login(who)
    return browser.post(f"/admin/lending/approval/{row.pk}/{button}/", typed, follow=True).content.decode()


def test_what_is_free_is_sent_when_both_sides_agree(cast: Cast, what: str) -> None:
    shown = look(cast.alice)
    assert "1,000.00" in shown
    assert '<option value="" selected>choose an address</option>' in shown
    assert "Waits for the desk" in ask(cast, what).content.decode()
    row = Approval.objects.get(kind=payouts.KIND)
    again = ask(cast, what, {"quantity": "0.01"})
    assert again.status_code == 422
    assert "is not one of the available choices" in again.content.decode()
    assert "Approved by you" in desk(cast.olga, row, "approve")
    sent = Withdrawal.objects.get()
    assert (sent.purpose, sent.maker, sent.checker, sent.destination) == ("payout", cast.alice, cast.olga, IBAN)
    assert ledger.owed(accounts.client_free("USD", cast.harbourside.pk)) == 0
    told = Notice.objects.filter(client=cast.harbourside).order_by("pk").values_list("kind", flat=True)
    assert list(told) == ["address_asked", "address_allowed", "payout_asked", "payout_sent"]
    shown = look(cast.alice)
    assert IBAN in shown
    assert "Nothing is free" in shown


def test_what_waits_for_an_address_that_is_struck_off_is_not_sent(cast: Cast, what: str) -> None:
    ask(cast, what)
    approvals.decide(Approval.objects.get(kind=payouts.KIND), checker=cast.rhea, approve=True, now=NOW)
    later = NOW + timedelta(minutes=5)
    allow_list.revoke(cast.harbourside.withdrawal_addresses.get(), by=cast.alice, now=later)
    assert withdrawals.send_due(now=later) == 1
    row = Withdrawal.objects.get()
    assert (row.state, row.attempts) == (Withdrawal.State.FAILED, 0)  # the custodian has never heard of it
    assert ledger.owed(accounts.client_free("USD", cast.harbourside.pk)) == 1000
    letter = Notice.objects.get(kind="withdrawal_stopped")
    assert letter.body.startswith(f"Nothing was sent to {IBAN}: that address was struck off. 1000 USD are in your free")
    assert withdrawals.send_due(now=later) == 0


def test_it_is_taken_back_before_the_desk_agrees(cast: Cast, what: str) -> None:
    ask(cast, what)
    row = Approval.objects.get(kind=payouts.KIND)
    assert "it waits no more" in post(cast.charlie, f"{row.public_id}/take-back/").content.decode()
    assert post(cast.bob, f"{row.public_id}/take-back/").status_code == 403
    assert "Taken back" in post(cast.alice, f"{row.public_id}/take-back/").content.decode()
    assert "it waits no more" in post(cast.alice, f"{row.public_id}/take-back/").content.decode()
    assert "withdrawn already" in desk(cast.olga, row, "approve")
    assert not Withdrawal.objects.exists()


def test_who_looks_only_or_made_it_does_not_send(cast: Cast, what: str) -> None:
    assert "Only a borrower admin" in look(cast.bob)
    assert post(cast.bob, "ask/", what=what, quantity="1", destination=IBAN).status_code == 422
    assert "1,000.00" not in look(cast.charlie)
    assert post(cast.charlie, "ask/", what=what, quantity="1", destination=IBAN).status_code == 422
    ask(cast, what)
    row = Approval.objects.get(kind=payouts.KIND)
    # Alice has come to work for the desk: what she asked for as a client is not hers to agree to.
    RoleGrant.objects.create(user=cast.alice, role=Role.OPERATIONS, granted_at=NOW)
    with pytest.raises(approvals.UnableToApprove, match="made this request"):
        approvals.decide(row, checker=cast.alice, approve=True, now=NOW)
    assert ClientUser.objects.filter(user=cast.alice).exists()


def test_nothing_leaves_while_a_call_is_open_or_a_loan_is_not_paid(cast: Cast, what: str) -> None:
    loan = stories.running(cast)
    ask(cast, what)
    row = Approval.objects.get(kind=payouts.KIND)
    type(loan).objects.filter(pk=loan.pk).update(state=LoanState.MATURED)
    refused = desk(cast.olga, row, "approve", reason="their <signer> called")
    assert "is matured and not paid" in refused
    assert 'value="their &lt;signer&gt; called"' in refused
    assert "the reason has 401 characters, and 400 are kept" in desk(cast.olga, row, "reject", reason="x" * 401)
    row.refresh_from_db()
    assert (row.state, row.reason) == ("requested", "")
    type(loan).objects.filter(pk=loan.pk).update(state=LoanState.DEFAULTED)
    approvals.withdraw(row, by=cast.alice, now=NOW)
    assert "is defaulted and not paid" in ask(cast, what).content.decode()


def test_a_call_keeps_what_is_free_at_hand(cast: Cast, what: str) -> None:
    stories.called(cast)
    with time_machine.travel(NOW + timedelta(minutes=3), tick=False):
        assert "A margin call is open: what is free can cure it." in ask(cast, what).content.decode()


def test_what_can_not_be_asked_for_is_said(cast: Cast, what: str) -> None:
    AssetFactory(code="BTC")
    for changes, words in (
        ({"quantity": ""}, "Say how much."),
        ({"quantity": "much"}, "That is not a number, like 1250.50."),
        ({"quantity": "0"}, "0 is not an amount that USD can move"),
        ({"quantity": "-5"}, "-5 is not an amount that USD can move"),
        ({"quantity": "0.001"}, "0.001 is not an amount that USD can move"),
        ({"quantity": "1000.01"}, "1000 USD are free and not asked for yet, not 1000.01."),
        ({"what": ""}, "Choose what to send."),
        ({"what": f"{cast.quayside.public_id}:USD"}, "is not one of the available choices"),
        ({"destination": ""}, "Choose where it goes."),
        ({"destination": "somewhere"}, "is not one of the available choices"),
    ):
        answer = ask(cast, what, changes)
        assert answer.status_code == 422, changes
        assert words in answer.content.decode(), changes
    assert not Approval.objects.filter(kind=payouts.KIND).exists()

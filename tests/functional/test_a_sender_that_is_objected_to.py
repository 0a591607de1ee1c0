"""A transfer whose sender the custodian objects to: kept apart, seen by compliance and risk, let in by two persons."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.conf import LazySettings
from django.db import DatabaseError, transaction
from django.test import Client as Browser

from lending import approvals, custody, ledger, objections, ports, reconciliation
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.models import Approval, Deposit, DepositAddress, Pledge, PledgeMovement, Role, RoleGrant, User
from risk import held_transfers
from risk.models import Incident
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import lending as make

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def custodian(settings: LazySettings) -> Iterator[PaperCustodian]:
    """Hold everything in this process."""
    settings.LENDING_CUSTODIAN = "lending.adapters.custodian_inprocess.build"
    ports.custodian.cache_clear()
    with time_machine.travel(LATER, tick=False):
        yield make.paper()
    ports.custodian.cache_clear()


def send(custodian: PaperCustodian, ref: str, address: str) -> Deposit:
    custodian.simulate_deposit(ref, address=address, asset="BTC", quantity=Decimal("1.5"), at=NOW, screened=False)
    custody.poll_due(now=LATER)
    custody.credit_due(now=LATER)
    return Deposit.objects.get(custodian_ref=ref)


def page(user: User, path: str, **sent: str) -> str:
    browser = Browser()
    browser.force_login(user)
    answer = browser.post(path, sent, follow=True) if sent else browser.get(path)
    return answer.content.decode()


def test_it_counts_for_nothing_until_two_persons_let_it_in(cast: Cast, custodian: PaperCustodian) -> None:
    loan = stories.running(cast)
    DepositAddress.objects.create(
        client=loan.client, margin_account=loan.margin_account, asset=make.asset("BTC"),
        purpose=DepositAddress.Purpose.COLLATERAL, address="bc1-theirs", created_at=NOW,
    )  # fmt: skip
    held = send(custodian, "tainted", "bc1-theirs")
    assert (held.state, held.credited_at) == ("held", None)
    assert Pledge.objects.get(margin_account=loan.margin_account).quantity == 25
    assert ledger.owed(accounts.client_free("BTC", loan.client_id)) == 0
    with pytest.raises(DatabaseError, match="let in by two persons"), transaction.atomic():
        Deposit.objects.filter(pk=held.pk).update(state="credited", credited_at=LATER)

    assert held_transfers.watch_due(now=LATER) == 1
    seen = Incident.objects.get(kind="transfer_held")
    assert seen.summary == "Harbourside Trading: 1.5 BTC kept apart, because the custodian objects to the sender"
    its_page = f"/admin/lending/deposit/{held.pk}/change/"
    assert its_page in page(cast.cora, "/admin/")
    assert "The custodian objects to its sender" in page(cast.cora, its_page)
    assert "tainted" in page(cast.cora, "/admin/lending/deposit/")
    assert "kept apart" in page(cast.rhea, f"/admin/risk/incident/{seen.pk}/change/")
    # Who meets the client reads nothing of it.
    assert "objects to its sender" not in page(cast.robin, its_page)
    assert "tainted" not in page(cast.robin, "/admin/lending/deposit/")
    assert "kept apart" not in page(cast.robin, "/admin/risk/incident/")
    assert "kept apart" not in page(cast.robin, f"/admin/risk/incident/{seen.pk}/change/")

    door = f"/admin/lending/deposit/{held.pk}/let-in/"
    assert "say what is known of its sender" in page(cast.olga, door, reason=" ")
    assert "and 400 are kept" in page(cast.olga, door, reason="x" * 401)
    assert "does not hold the role" in page(cast.rhea, door, reason="a friend")
    assert "Asked: it waits" in page(cast.olga, door, reason="its exchange has said who sent it")
    assert "it was asked for already" in page(cast.cora, door, reason="again")
    asked = Approval.objects.get()
    approve = f"/admin/lending/approval/{asked.pk}/approve/"
    assert "does not hold the role" in page(cast.rhea, approve, reason="")
    RoleGrant.objects.create(user=cast.robin, role=Role.COMPLIANCE, granted_at=NOW)
    assert "somebody else decides about its transfer" in page(cast.robin, approve, reason="")
    assert "Approved by you" in page(cast.cora, approve, reason="")
    held.refresh_from_db()
    assert (held.state, held.credited_at) == ("credited", LATER)
    assert Pledge.objects.get(margin_account=loan.margin_account).quantity == Decimal("26.5")
    assert "the deposit is credited, not held" in page(cast.olga, door, reason="again")
    assert held_transfers.watch_due(now=LATER) == 1
    assert not Incident.objects.filter(closed_at=None).exists()


def test_its_client_reads_that_a_person_looks_at_it(cast: Cast, custodian: PaperCustodian) -> None:
    loan = stories.awaited(cast)
    DepositAddress.objects.create(
        client=loan.client, margin_account=loan.margin_account, asset=make.asset("BTC"),
        purpose=DepositAddress.Purpose.COLLATERAL, address="bc1-theirs", created_at=NOW,
    )  # fmt: skip
    assert send(custodian, "tainted", "bc1-theirs").state == "held"
    shown = page(cast.alice, f"/portal/loans/{loan.public_id}/").partition("tainted")[2]
    assert '<span class="badge warn pending">a person looks at it before it counts</span>' in shown
    assert "and no person has still to look at it" in shown
    assert "held" not in shown.partition("</tr>")[0]


def test_it_is_let_in_by_itself_once_the_custodian_objects_no_more(cast: Cast, custodian: PaperCustodian) -> None:
    loan = stories.running(cast)
    DepositAddress.objects.create(
        client=loan.client, margin_account=loan.margin_account, asset=make.asset("BTC"),
        purpose=DepositAddress.Purpose.COLLATERAL, address="bc1-theirs", created_at=NOW,
    )  # fmt: skip
    held, own = send(custodian, "looked at late", "bc1-theirs"), custodian._deposits["looked at late"]
    asked = objections.ask(held, reason="known", maker=cast.olga, now=LATER)
    confirmed_at = held.confirmed_at
    own.drop(LATER)  # its block leaves the chain: two persons let nothing in that is not there
    assert custody.poll_due(now=LATER) == 1
    with pytest.raises(approvals.UnableToApprove, match="dropped by its network: nothing is there"):
        approvals.decide(asked, checker=cast.cora, approve=True, now=LATER)
    own.drops.clear()
    own.screened = True
    assert [custody.poll_due(now=LATER), custody.credit_due(now=LATER)] == [1, 1]
    assert [custody.poll_due(now=LATER), custody.credit_due(now=LATER)] == [0, 0]
    held.refresh_from_db()
    assert (held.state, held.confirmed_at, held.credited_at) == ("credited", confirmed_at, LATER)
    pledge = Pledge.objects.get(margin_account=loan.margin_account)
    assert pledge.quantity == Decimal("26.5")
    topped_up = PledgeMovement.objects.get(margin_account=loan.margin_account, kind="top_up")
    assert topped_up.effective_at == confirmed_at  # a deadline is held against when it arrived
    with pytest.raises(approvals.UnableToApprove, match="the deposit is credited by now"):
        approvals.decide(asked, checker=cast.cora, approve=True, now=LATER)


def test_it_is_asked_about_however_long_it_is_kept_apart(cast: Cast, custodian: PaperCustodian) -> None:
    stories.running(cast)
    held, own = send(custodian, "old", "bc1-nobody"), custodian._deposits["old"]
    own.drop(LATER)
    assert custody.poll_due(now=LATER) == 1
    own.drops.clear()
    assert custody.poll_due(now=LATER + timedelta(days=30)) == 1
    held.refresh_from_db()
    assert (held.state, held.confirmed_at is None) == ("held", False)


def test_what_the_custodian_gave_away_is_booked_out_by_two_persons(cast: Cast, custodian: PaperCustodian) -> None:
    stories.running(cast)
    held = send(custodian, "tainted", "bc1-nobody")
    assert ledger.owed(accounts.deposits_pending("BTC")) == Decimal("1.5")
    in_custody = accounts.custody("BTC", "paper")
    before = ledger.balances([in_custody])[in_custody]
    its_page, door = f"/admin/lending/deposit/{held.pk}/change/", f"/admin/lending/deposit/{held.pk}/book-out/"
    assert "Ask a second person to book it out" in page(cast.cora, its_page)
    with pytest.raises(DatabaseError, match="booked out by two persons"), transaction.atomic():
        Deposit.objects.filter(pk=held.pk).update(state="booked_out")
    assert "say where it went" in page(cast.olga, door, went="home", why="a letter")
    assert "does not hold the role" in page(cast.rhea, door, went="back", why="a letter")
    assert "Asked: it waits" in page(cast.olga, door, went="back", why="the custodian's letter of 19 May")
    assert "to be booked out as returned to its sender" in page(cast.cora, its_page)
    assert "it was asked for already" in page(cast.cora, f"/admin/lending/deposit/{held.pk}/let-in/", reason="again")
    asked = Approval.objects.get()
    assert "Approved by you" in page(cast.cora, f"/admin/lending/approval/{asked.pk}/approve/", reason="")
    held.refresh_from_db()
    assert held.state == "booked_out"
    assert ledger.owed(accounts.deposits_pending("BTC")) == 0
    assert ledger.balances([in_custody])[in_custody] == before - Decimal("1.5")
    with pytest.raises(DatabaseError, match="for good"), transaction.atomic():
        Deposit.objects.filter(pk=held.pk).update(state="held")
    assert [custody.poll_due(now=LATER), custody.credit_due(now=LATER)] == [0, 0]
    with pytest.raises(objections.UnableToLetIn, match="the deposit is booked out, not held"):
        objections.ask(held, reason="again", maker=cast.olga, now=LATER)


def test_who_manages_its_client_does_not_book_it_out(cast: Cast, custodian: PaperCustodian) -> None:
    loan = stories.running(cast)
    DepositAddress.objects.create(
        client=loan.client, margin_account=loan.margin_account, asset=make.asset("BTC"),
        purpose=DepositAddress.Purpose.COLLATERAL, address="bc1-theirs", created_at=NOW,
    )  # fmt: skip
    held = send(custodian, "tainted", "bc1-theirs")
    asked = objections.ask_out(held, objections.Went.BACK, reason="a letter", maker=cast.olga, now=LATER)
    RoleGrant.objects.create(user=cast.robin, role=Role.COMPLIANCE, granted_at=NOW)
    with pytest.raises(approvals.UnableToApprove, match="somebody else decides about its transfer"):
        approvals.decide(asked, checker=cast.robin, approve=True, now=LATER)
    approvals.decide(asked, checker=cast.cora, approve=True, now=LATER)


def test_what_its_network_never_brought_back_is_booked_out_and_both_books_agree(
    cast: Cast, custodian: PaperCustodian
) -> None:
    make.asset("BTC")
    held = send(custodian, "dropped", "bc1-nobody")
    assert reconciliation.reconcile(now=LATER) == 0
    custodian._deposits["dropped"].drop(LATER)
    custodian._unsettle()
    assert reconciliation.reconcile(now=LATER) == 1
    asked = objections.ask_out(held, objections.Went.BACK, reason="its chain", maker=cast.olga, now=LATER)
    approvals.decide(asked, checker=cast.cora, approve=True, now=LATER)
    assert reconciliation.reconcile(now=LATER) == 0


def test_what_arrived_at_nobodys_address_is_let_in_before_it_is_matched(cast: Cast, custodian: PaperCustodian) -> None:
    stories.running(cast)
    held = send(custodian, "stray", "bc1-nobody")
    assert held.state == "held"
    assert "the deposit is held" in page(cast.olga, f"/admin/lending/deposit/{held.pk}/taken-over/", reason="ours")
    page(cast.cora, f"/admin/lending/deposit/{held.pk}/let-in/", reason="known")
    asked = Approval.objects.get()
    assert "made this request" in page(cast.cora, f"/admin/lending/approval/{asked.pk}/approve/", reason="")
    RoleGrant.objects.create(user=cast.olga, role=Role.COMPLIANCE, granted_at=NOW)
    assert "Approved by you" in page(cast.olga, f"/admin/lending/approval/{asked.pk}/approve/", reason="")
    held.refresh_from_db()
    assert held.state == "unmatched"

"""What a sale left unpaid: paid at each door that takes it, written off and closed by two persons, refused in words."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import (
    access,
    approvals,
    arrivals,
    collateral,
    corrections,
    invariants,
    ledger,
    loans,
    matching,
    recoveries,
    repayments,
    shared_transfers,
    workouts,
)
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import LOSS_OPEN, Approval, Deposit, DepositAddress, Entry, Loan, LoanState, Notice, User
from risk import payouts
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import lending as make

LATER = NOW + timedelta(days=3)
D = Decimal


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def runs(cast: Cast) -> Loan:
    """Return another loan of the client, paid out before the loss."""
    return stories.running(cast)


@pytest.fixture
def loan(cast: Cast) -> Loan:
    """Return a loan of 600,000 USD whose collateral brought 590,000; its client has 610,000 free."""
    found = stories.running(cast)
    assert make.broken(found, "25", "590000", now=NOW) == 10_000
    stories.deposited(found.client, "USD", D(10_000))
    return Loan.objects.get(pk=found.pk)


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def words(page: bytes) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())


def read(user: User, address: str) -> str:
    """Return the words of a page, which asks the database at most twelve times."""
    browser = signed_in(user)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.get(address)
    assert answer.status_code == 200
    assert len(asked) <= 12, [row["sql"][:90] for row in asked]
    return words(answer.content)


def pays_in(loan: Loan, amount: str, *, said: Loan | None = None) -> Deposit:
    """Have money arrive for a loan's account, and be put to its purpose."""
    row = Deposit.objects.create(
        custodian="paper", custodian_ref=f"wire-{amount}", position=int(D(amount)), client=loan.client, sent_to="iban",
        asset=loan.asset, quantity=D(amount), state=Deposit.State.CREDITED, seen_at=LATER, credited_at=LATER,
    )  # fmt: skip
    stories.deposited(loan.client, loan.asset.code, D(amount), ref=f"paper:wire-{amount}")
    arrivals.use(row, loan.margin_account, DepositAddress.Purpose.REPAYMENT, now=LATER, loan=said)
    return row


def state(loan: Loan) -> tuple[str, Decimal]:
    return Loan.objects.get(pk=loan.pk).state, workouts.loss_of(loan).unpaid


def test_the_client_pays_it_in_the_portal_and_by_wire(cast: Cast, loan: Loan) -> None:
    own = f"/portal/loans/{loan.public_id}/"
    assert "Left unpaid 10,000.00 USD" in read(cast.alice, own)
    assert "Only a borrower admin can pay" in read(cast.bob, own)
    assert signed_in(cast.charlie).get(own).status_code == 404
    assert payouts.why_not(loan.client) == f"{loan} is workout and not paid"
    alice = signed_in(cast.alice)
    token = re.search(rb'name="token" value="([^"]+)"', alice.get(own).content).group(1).decode()  # type: ignore[union-attr]
    for wrong, says in (
        ("10000.01", "That is more than the payoff of 10,000 USD"), ("0", "must be more than zero"),
        ("x", "not a number"),
    ):  # fmt: skip
        answer = alice.post(f"{own}repay/", {"amount": wrong, "token": token})
        assert answer.status_code == 422
        assert says in words(answer.content)
    for _ in range(2):  # a form that is sent twice pays once
        assert alice.post(f"{own}repay/", {"amount": "4000", "token": token}).status_code == 302
    assert state(loan) == ("workout", D(6_000))
    assert Entry.objects.get(kind="recovery").actor == cast.alice
    assert "Left unpaid 6,000.00 USD" in read(cast.alice, own)
    assert "4,000.00 USD paid on loan" in read(cast.alice, f"{own}activity/")
    assert "6,000.00 USD are left unpaid." in Notice.objects.get(kind="loss_paid").body

    # A wire to the repayment address, of more than is unpaid: the rest is the client's.
    pays_in(loan, "7500")
    assert (state(loan), payouts.why_not(loan.client)) == (("recovered", D(0)), "")
    assert "Left unpaid" not in read(cast.alice, own)
    staff = read(cast.rhea, f"/admin/lending/loan/{loan.pk}/change/")
    assert "Lost 10,000.00 USD Recovered since 10,000.00 USD Unpaid 0.00 USD" in staff
    assert "The collateral goes back" in staff
    assert loans.close_due(now=LATER) == 0  # a bank may still call it back
    assert loans.close_due(now=LATER + loans.PAST_IS_OPEN) == 1
    pays_in(loan, "100")
    assert Entry.objects.filter(kind="recovery").count() == 2


def test_a_wire_is_for_what_is_owed_before_it_is_for_a_loss(cast: Cast, runs: Loan, loan: Loan) -> None:
    Loan.objects.filter(pk=runs.pk).update(margin_account=loan.margin_account)
    pays_in(loan, "1000")
    assert state(loan) == ("workout", D(10_000))
    pays_in(loan, "2000", said=loan)
    assert state(loan) == ("workout", D(8_000))
    stray = Deposit(asset=loan.asset)
    assert {loan, runs} <= set(matching.candidates(stray))
    assert matching.purpose_of(stray, loan) == DepositAddress.Purpose.REPAYMENT
    assert loan not in matching.candidates(Deposit(asset=make.asset("BTC")))


def test_two_persons_write_it_off_and_it_is_recovered_or_closed(cast: Cast, loan: Loan) -> None:
    page = f"/admin/workouts/{loan.pk}/"
    assert "two persons write it off" in read(cast.rhea, f"/admin/lending/loan/{loan.pk}/change/")
    rhea = signed_in(cast.rhea)
    refused = rhea.post(page, {"reason": " ", "act": "write_off"})
    assert refused.status_code == 422
    assert "say why: the second person reads it" in words(refused.content)
    assert rhea.post(page, {"reason": "the client is bankrupt", "act": "write_off"}).status_code == 302
    assert "Rhea asked" in read(cast.rhea, page)
    asked = Approval.objects.get(kind="write_off")
    assert "asks to write off what a sale left unpaid" in read(cast.rolf, f"/admin/lending/approval/{asked.pk}/change/")
    with pytest.raises(workouts.UnableToWriteOff, match="asked for already"):
        workouts.ask(loan, closes=True, reason="again", maker=cast.rolf, now=LATER)
    with pytest.raises(approvals.UnableToApprove, match="made this request and can not decide it"):
        approvals.decide(asked, checker=cast.rhea, approve=True, now=LATER)
    with pytest.raises(access.UnableToAccess, match="role"):
        approvals.decide(asked, checker=cast.olga, approve=True, now=LATER)
    workouts.recover(loan, D(1), key="wire:1", now=LATER)
    with pytest.raises(approvals.UnableToApprove, match=r"9,999.00 USD are unpaid by now: ask again"):
        approvals.decide(asked, checker=cast.rolf, approve=True, now=LATER)
    approvals.decide(asked, checker=cast.rolf, approve=False, now=LATER)

    agreed(workouts.ask(loan, closes=False, reason="bankrupt", maker=cast.rhea, now=LATER), by=cast.rolf)
    assert state(loan) == ("written_off", D(9_999))
    step = loan.events.latest("pk")
    assert (step.actor, step.cause, step.evidence["asked_by"]) == (cast.rolf, "written off", cast.rhea.email)
    assert step.evidence["reason"] == "bankrupt"
    loan.refresh_from_db()
    with pytest.raises(workouts.UnableToWriteOff, match="written off already"):
        workouts.ask(loan, closes=False, reason="again", maker=cast.rhea, now=LATER)
    pays_in(loan, "99")
    assert state(loan) == ("written_off", D(9_900))
    assert not Notice.objects.filter(kind="loan_closed").exists()
    agreed(workouts.ask(loan, closes=True, reason="settled", maker=cast.rhea, now=LATER), by=cast.dirk)
    assert state(loan)[0] == "closed"
    assert "We ask for nothing more of it" in Notice.objects.get(kind="loan_closed").body
    assert "Left unpaid" not in read(cast.alice, f"/portal/loans/{loan.public_id}/")


def test_what_is_pledged_beside_a_loss_goes_back_once_two_persons_close_the_loan(cast: Cast, loan: Loan) -> None:
    own = f"/portal/loans/{loan.public_id}/"
    assert "Collateral back" not in read(cast.alice, own)
    bitcoin = stories.deposited(loan.client, "BTC", D(1))  # sent as a cure, and credited after the sale
    collateral.pledge(loan.margin_account, bitcoin, D(1), key="late", now=LATER)
    page = read(cast.alice, own)
    assert f"None of it leaves while {loan} is workout and not paid." in page
    assert "all of its collateral may leave" not in page
    release = {
        "maker": cast.olga, "checker": cast.rhea, "key": "back", "destination": None, "now": LATER,
    }  # fmt: skip
    with pytest.raises(collateral.UnableToRelease, match=f"nothing is released while {loan} is workout"):
        collateral.release(
            loan.margin_account, bitcoin, D(1), permit=make.release_permit(loan.margin_account, "BTC", 1), **release
        )
    agreed(workouts.ask(loan, closes=True, reason="settled", maker=cast.rhea, now=LATER), by=cast.dirk)
    assert state(loan)[0] == "closed"
    assert "What is still pledged for it may go back to you" in Notice.objects.get(kind="loan_closed").body
    assert "Nothing is owed on it, so all of its collateral may leave" in read(cast.alice, own)
    permit = make.release_permit(loan.margin_account, "BTC", 1, now=LATER)
    collateral.release(loan.margin_account, bitcoin, D(1), permit=permit, **release)
    assert not loan.margin_account.pledges.filter(quantity__gt=0).exists()


def test_what_was_recovered_is_taken_back_by_two_persons_and_is_unpaid_again(cast: Cast, loan: Loan) -> None:
    workouts.recover(loan, D(2_500), key="free", now=LATER)
    bounced = pays_in(loan, "9000")
    free = accounts.client_free("USD", loan.client_id)
    before = ledger.balance(free)
    assert state(loan) == ("recovered", D(0))
    page, door = f"/admin/corrections/{loan.pk}/", f"/admin/corrections/{loan.pk}/recovery/"
    assert "What was paid of a loss, and was none" in read(cast.olga, page)
    wire = Entry.objects.get(idempotency_key=f"recovery:{bounced.custodian}:{bounced.custodian_ref}")
    given = {"recovery": str(wire.pk), "cause": "bounced", "reason": "recalled by the bank"}
    olga = signed_in(cast.olga)
    by_hand = Entry.objects.get(idempotency_key="free").pk
    for wrong, says in (
        ({"recovery": "0"}, "choose what was recovered of the loan"), ({"cause": ""}, "say whether it was booked"),
        ({"reason": ""}, "say how it is known"), ({"recovery": str(by_hand)}, "no transfer of its own brought it"),
    ):  # fmt: skip
        refused = olga.post(door, given | wrong)
        assert refused.status_code == 422
        assert says in words(refused.content)
    assert olga.post(door, given).status_code == 302
    assert "asked for already" in words(olga.post(door, given).content)
    assert "that made good a loss" in read(cast.olga, page)
    asked = Approval.objects.get(kind="take_back_recovery")
    assert "take back what was paid of a loss" in read(cast.rhea, f"/admin/lending/approval/{asked.pk}/change/")
    agreed(asked, by=cast.rhea)
    assert state(loan) == ("workout", D(7_500))
    assert ledger.balance(free) - before == 1_500  # the whole wire is gone, with the part that had stayed free
    letter = Notice.objects.get(kind="payment_taken_back").body
    assert "The transfer that brought it came back. 7,500.00 USD are left unpaid." in letter
    with pytest.raises(corrections.UnableToCorrect, match="choose what was recovered"):
        recoveries.ask(loan, wire.pk, cause="wrong", reason="again", maker=cast.olga, now=LATER)

    # Written off meanwhile, what comes back of the claim is given up with the rest.
    agreed(workouts.ask(loan, closes=False, reason="bankrupt", maker=cast.rhea, now=LATER), by=cast.rolf)
    workouts.recover(loan, D(7_500), key="again", now=LATER)
    for key in ("again", "free"):
        row = Entry.objects.get(idempotency_key=key).pk
        agreed(recoveries.ask(loan, row, cause="wrong", reason="not ours", maker=cast.olga, now=LATER), by=cast.rhea)
    assert state(loan) == ("written_off", D(10_000))
    claim = accounts.of_loan(AccountKind.DEFICIENCY_CLAIM, "USD", loan.client_id, loan.pk)
    assert ledger.balance(claim) == 0


def test_a_wire_that_came_back_leaves_more_unpaid_where_a_loss_is_and_opens_its_neighbour(cast: Cast) -> None:
    small, lost = stories.running(cast, principal=D(50_000)), stories.running(cast)
    Loan.objects.filter(pk=small.pk).update(margin_account=lost.margin_account)
    stories.deposited(lost.client, "USD", D(200_000), ref="paper:wire")
    key = "repayment:paper:wire"
    first = repayments.record(small, D(200_000), key=key, received_at=NOW, now=NOW)
    own = shared_transfers.key_of_rest(key, lost)
    second = repayments.record(lost, first.surplus, key=own, received_at=NOW, now=NOW)
    assert make.broken(lost, "25", "400000", now=NOW) == 50_000
    agreed(workouts.ask(loans.lock(lost), closes=False, reason="why", maker=cast.rhea, now=LATER), by=cast.rolf)
    page = signed_in(cast.olga).get(f"/admin/corrections/{lost.pk}/").content.decode()
    assert "A payment that was none" in page
    assert "A payment that nobody recorded" not in page  # that would live its past again
    asked = corrections.ask_reversal(second, cause="bounced", reason="recalled", maker=cast.olga, now=LATER)
    assert [loan for loan, _ in corrections.foreseen(asked)] == [small]
    free = accounts.client_free("USD", lost.client_id)
    before = ledger.balance(free)
    agreed(asked, by=cast.rhea)
    assert state(lost) == ("written_off", D(200_000))
    small.refresh_from_db()
    assert (small.state, small.principal_outstanding) == ("active", D(50_000))
    assert ledger.balance(free) == before  # what both had paid came back to it, and left with the transfer
    claim = accounts.of_loan(AccountKind.DEFICIENCY_CLAIM, "USD", lost.client_id, lost.pk)
    assert ledger.balance(claim) == 0
    told = Notice.objects.filter(kind="payment_taken_back", body__contains="with what the sale of your collateral left")
    assert told.count() == 1
    assert not [one for one in invariants.check() if one.code in {"I1", "I2", "I3", "I11", "I15"}]


def agreed(asked: Approval, *, by: User) -> None:
    approvals.decide(asked, checker=by, approve=True, now=LATER)


def test_what_can_not_be_recovered_or_written_off(cast: Cast, runs: Loan, loan: Loan) -> None:
    for amount, says in (
        ("0", "not an amount above zero"), ("0.001", "finer than USD can be paid"), ("2000000", "free, not 2000000"),
    ):  # fmt: skip
        with pytest.raises(repayments.UnableToRepay, match=says):
            workouts.recover(loan, D(amount), key="wire:1", now=LATER)
    with pytest.raises(repayments.UnableToRepay, match=r"no loss is open on .*: it is active"):
        workouts.recover(runs, D(1), key="wire:1", now=LATER)
    first = workouts.recover(loan, D(100), key="wire:1", now=LATER)
    assert workouts.recover(loan, D(100), key="wire:1", now=LATER) == first
    with pytest.raises(repayments.UnableToRepay, match="the key wire:1 was used for another payment"):
        workouts.recover(loan, D(200), key="wire:1", now=LATER)
    ask = {"maker": cast.rhea, "now": LATER}
    for one, closes, reason, says in (
        (runs, False, "why", "no loss is open on it: it is active"),
        (loan, False, "x" * 401, "has 401 characters, and 400 are kept"),
        (loan, False, "", "say why"),
    ):
        with pytest.raises(workouts.UnableToWriteOff, match=says):
            workouts.ask(one, closes=closes, reason=reason, **ask)
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        workouts.ask(loan, closes=False, reason="why", maker=cast.robin, now=LATER)
    assert LoanState(state(loan)[0]) in LOSS_OPEN

"""A borrower has paid everything: one person asks for the collateral to go back, another approves, the loan closes."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import interest, loans, repayments
from lending.models import Approval, AuditRecord, Loan, LoanState, PledgeMovement, Role, RoleGrant, User, Withdrawal
from risk import cycle
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(minutes=3)
ASKED = {"asset": "BTC", "quantity": "25", "destination": "bc1-of-harbourside"}


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER + timedelta(seconds=5), tick=False):
        yield


def market() -> None:
    """Give bitcoin a mark that a release may rest on."""
    cycle.forget()
    for minutes in (2, 3):
        stories.market("40000", at=NOW + timedelta(minutes=minutes))


def repaid(cast: Cast) -> Loan:
    loan = stories.running(cast)
    owed = interest.payoff(loan, now=LATER).total
    stories.deposited(loan.client, "USD", owed)
    repayments.record(loan, owed, key="all", received_at=LATER, now=LATER)
    loan.refresh_from_db()
    assert loan.state == LoanState.REPAID
    market()
    return loan


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def ask(who: User, loan: Loan, **changes: str) -> str:
    address = f"/admin/releases/{loan.pk}/"
    return signed_in(who).post(address, ASKED | changes, follow=True).content.decode()


def decide(who: User, asked: Approval, button: str = "approve") -> str:
    address = f"/admin/lending/approval/{asked.pk}/{button}/"
    return signed_in(who).post(address, {"reason": "paid"}, follow=True).content.decode()


@pytest.mark.parametrize("maker", ["olga", "robin"])
def test_all_goes_back_once_everything_is_paid(cast: Cast, maker: str) -> None:
    loan = repaid(cast)
    assert loans.close_due(now=LATER) == 0
    page = signed_in(getattr(cast, maker)).get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()
    assert f'action="/admin/releases/{loan.pk}/"' in page
    assert "Asked: it waits" in ask(getattr(cast, maker), loan)
    asked = Approval.objects.get()
    assert "bc1-of-harbourside" in signed_in(cast.olga).get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()
    assert "Approved by you" in decide(cast.rolf, asked)
    asked.refresh_from_db()
    assert (asked.state, asked.checker) == (Approval.State.EXECUTED, cast.rolf)
    moved = PledgeMovement.objects.get(kind=PledgeMovement.Kind.RELEASE)
    assert (moved.quantity, moved.maker, moved.checker) == (25, getattr(cast, maker), cast.rolf)
    sent = Withdrawal.objects.get(purpose="release")
    assert (sent.quantity, sent.destination, sent.state) == (25, "bc1-of-harbourside", Withdrawal.State.REQUESTED)
    assert AuditRecord.objects.get(action="collateral_released").actor == cast.rolf
    assert loans.close_due(now=LATER) == 1
    loan.refresh_from_db()
    assert loan.state == LoanState.CLOSED
    assert "executed already" in decide(cast.rolf, asked)
    assert PledgeMovement.objects.filter(kind=PledgeMovement.Kind.RELEASE).count() == 1


def test_who_made_it_or_manages_the_client_does_not_approve(cast: Cast) -> None:
    loan = repaid(cast)
    # Both hold an approving role besides: it is being the maker, and managing the client, that stops them.
    for user in (cast.olga, cast.robin):
        RoleGrant.objects.create(user=user, role=Role.RISK_HEAD, granted_at=NOW)
    ask(cast.olga, loan)
    asked = Approval.objects.get()
    assert "made this request and can not decide it" in decide(cast.olga, asked)
    assert "can not approve, release or waive for it" in decide(cast.robin, asked)
    assert "does not hold the role" in decide(cast.dirk, asked)
    asked.refresh_from_db()
    assert asked.state == Approval.State.REQUESTED
    assert not PledgeMovement.objects.filter(kind=PledgeMovement.Kind.RELEASE).exists()


def test_too_much_stays_and_the_request_stays_open(cast: Cast) -> None:
    loan = stories.running(cast)
    market()
    ask(cast.olga, loan, quantity="1")
    asked = Approval.objects.get()
    # 600,000 against a million is 60 %: above the trigger nothing leaves.
    answer = decide(cast.rolf, asked)
    assert "nothing is released: the LTV is" in answer
    asked.refresh_from_db()
    assert (asked.state, asked.checker) == (Approval.State.REQUESTED, None)
    assert "Rejected by you" in decide(cast.rolf, asked, "reject")
    assert not Withdrawal.objects.filter(purpose="release").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantity": "25.1"}, "25 BTC are pledged and not held for a sale, not 25.1"),
        ({"quantity": "0"}, "is not a quantity that BTC can move"),
        ({"quantity": "0.000000001"}, "is not a quantity that BTC can move"),
        ({"quantity": "all"}, "Enter a number"),
        ({"asset": "DOGE"}, "asset:"),
        ({"destination": " "}, "destination:"),
    ],
)
def test_a_request_without_sense_is_refused_in_words(cast: Cast, changes: dict[str, str], says: str) -> None:
    loan = stories.running(cast)
    answer = ask(cast.olga, loan, **changes)
    assert "Refused" in answer
    assert says in answer
    assert not Approval.objects.exists()


def test_part_goes_back_while_the_rest_secures_enough(cast: Cast) -> None:
    loan = stories.running(cast, principal=Decimal(100_000))
    market()
    ask(cast.robin, loan, quantity="10")
    assert "Approved by you" in decide(cast.rhea, Approval.objects.get())
    assert Withdrawal.objects.get(purpose="release").quantity == 10
    loan.refresh_from_db()
    assert loan.state == LoanState.ACTIVE

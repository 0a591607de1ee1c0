"""A borrower has paid everything: one person asks for the collateral to go back, another approves, the loan closes."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.test import Client as Browser

from lending import allow_list, approvals, interest, loans, repayments
from lending.models import (
    Approval,
    AuditRecord,
    Loan,
    LoanState,
    Notice,
    PledgeMovement,
    Role,
    RoleGrant,
    User,
    Withdrawal,
    WithdrawalAddress,
)
from risk import cycle, releases
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import lending as make
from tests.factories.lending import AssetFactory

LATER = NOW + timedelta(minutes=3)
ASKED = {"asset": "BTC", "quantity": "25", "destination": "bc1-of-harbourside"}


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER + timedelta(seconds=5), tick=False):
        yield


def allow(cast: Cast) -> None:
    """Have operations and risk allow the client's address, the day before."""
    bitcoin, day_before = AssetFactory(code="BTC"), NOW - timedelta(days=1)
    asked = allow_list.ask(
        cast.harbourside, bitcoin, ASKED["destination"], reason="signed", maker=cast.olga, now=day_before
    )
    approvals.decide(asked, checker=cast.rhea, approve=True, now=day_before)


def market() -> None:
    """Give bitcoin a mark that a release may rest on."""
    cycle.forget()
    for minutes in (2, 3):
        stories.market("40000", at=NOW + timedelta(minutes=minutes))


def repaid(cast: Cast) -> Loan:
    allow(cast)
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
    page = signed_in(getattr(cast, maker)).get(f"/admin/releases/{loan.pk}/").content.decode()
    assert f'action="/admin/releases/{loan.pk}/"' in page
    assert "Asked: it waits" in ask(getattr(cast, maker), loan)
    asked = Approval.objects.get(kind=releases.KIND)
    assert "bc1-of-harbourside" in signed_in(cast.olga).get(f"/admin/releases/{loan.pk}/").content.decode()
    # Who has allowed the address does not send coins there that nobody of the client has signed for.
    assert "Rhea allowed the address: nobody of the client has signed this" in decide(cast.rhea, asked)
    assert "Approved by you" in decide(cast.rolf, asked)
    asked.refresh_from_db()
    assert (asked.state, asked.checker) == (Approval.State.EXECUTED, cast.rolf)
    told = Notice.objects.filter(client=loan.client).order_by("pk")
    steps = ["address_asked", "address_allowed", "release_asked", "release_sent"]
    assert list(told.filter(kind__in=steps).values_list("kind", flat=True)) == steps
    # Everybody who acts for the client reads it.
    sent_to = told.get(kind="release_sent").deliveries.values_list("address", flat=True)
    assert {cast.alice.email, cast.bob.email} < set(sent_to)
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
    asked = Approval.objects.get(kind=releases.KIND)
    assert "made this request and can not decide it" in decide(cast.olga, asked)
    assert "can not approve, release or waive for it" in decide(cast.robin, asked)
    assert "does not hold the role" in decide(cast.dirk, asked)
    asked.refresh_from_db()
    assert asked.state == Approval.State.REQUESTED
    assert not PledgeMovement.objects.filter(kind=PledgeMovement.Kind.RELEASE).exists()


def test_too_much_stays_and_the_request_stays_open(cast: Cast) -> None:
    allow(cast)
    loan = stories.running(cast)
    market()
    ask(cast.olga, loan, quantity="1")
    asked = Approval.objects.get(kind=releases.KIND)
    # 600,000 against a million is 60 %: above the trigger nothing leaves.
    answer = decide(cast.rolf, asked)
    assert "nothing is released: the LTV is" in answer
    asked.refresh_from_db()
    assert (asked.state, asked.checker) == (Approval.State.REQUESTED, None)
    assert "only who has asked can take it back" in decide(cast.rolf, asked, "withdraw")
    assert "Taken back" in decide(cast.olga, asked, "withdraw")
    assert "this request is withdrawn already" in decide(cast.rolf, asked, "reject")
    assert not Withdrawal.objects.filter(purpose="release").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantity": "25.1"}, "25 BTC are pledged and not held for a sale, not 25.1"),
        ({"quantity": "0"}, "is not a quantity that BTC can move"),
        ({"quantity": "0.000000001"}, "is not a quantity that BTC can move"),
        ({"quantity": "all"}, "Enter a number"),
        ({"asset": "DOGE"}, "Asset:"),
        ({"destination": " "}, "Destination:"),
        ({"destination": "bc1-of-a-thief"}, "is not an address of Harbourside Trading that two persons have allowed"),
    ],
)
def test_a_request_without_sense_is_refused_in_words(cast: Cast, changes: dict[str, str], says: str) -> None:
    allow(cast)
    loan = stories.running(cast)
    answer = ask(cast.olga, loan, **changes)
    assert "Refused" in answer
    assert says in answer
    assert not Approval.objects.filter(kind=releases.KIND).exists()


def test_a_refusal_loses_nothing_that_was_typed(cast: Cast) -> None:
    allow(cast)
    loan = stories.running(cast)
    page = ask(cast.olga, loan, quantity="99")
    assert 'value="99"' in page
    assert f'<option value="{ASKED["destination"]}" selected>' in page
    asks = {"asset": "BTC", "address": "two words", "reason": "signed & sealed"}
    page = post(cast.olga, f"/admin/addresses/{loan.pk}/", asks)
    assert 'value="two words"' in page
    assert 'value="signed &amp; sealed"' in page
    # Where its network is known a slip of a letter is seen, and so is a reason that nobody could keep.
    make.AssetNetworkFactory(asset__code="BTC")
    for address, reason, says in (
        ("bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyv", "signed", "its checksum does not fit"),
        ("GB00-of-harbourside", "signed", "an address on bitcoin begins with bc1, 1 or 3"),
        ("bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "x" * 401, "characters"),
    ):
        page = post(cast.olga, f"/admin/addresses/{loan.pk}/", {"asset": "BTC", "address": address, "reason": reason})
        assert says in page
        assert f'value="{address}"' in page
    asks = {"asset": "BTC", "address": "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu", "reason": "signed"}
    assert "Asked" in post(cast.olga, f"/admin/addresses/{loan.pk}/", asks)


def test_part_goes_back_while_the_rest_secures_enough(cast: Cast) -> None:
    allow(cast)
    loan = stories.running(cast, principal=Decimal(100_000))
    market()
    ask(cast.robin, loan, quantity="10")
    assert "Approved by you" in decide(cast.rolf, Approval.objects.get(kind=releases.KIND))
    assert Withdrawal.objects.get(purpose="release").quantity == 10
    loan.refresh_from_db()
    assert loan.state == LoanState.ACTIVE


def test_an_address_is_allowed_on_the_loans_page_cools_off_and_can_be_struck_off(cast: Cast) -> None:
    loan = stories.running(cast, principal=Decimal(100_000))
    market()
    door = f"/admin/addresses/{loan.pk}/"
    asks = {"asset": "BTC", "address": ASKED["destination"], "reason": "signed letter"}
    assert "two persons have allowed" in ask(cast.olga, loan, quantity="10")
    assert "Refused: say how it is known" in post(cast.olga, door, asks | {"reason": " "})
    assert "Refused: an address is one word" in post(cast.olga, door, asks | {"address": "two words"})
    assert "then for its cooling-off" in post(cast.olga, door, asks)
    assert "Refused: it was asked for already" in post(cast.robin, door, asks)
    asked = Approval.objects.get(kind=allow_list.KIND)
    assert "does not hold the role" in decide(cast.dirk, asked)
    assert "Approved by you" in decide(cast.rhea, asked)
    assert "can be used from 2021-05-20 12:03 UTC" in ask(cast.olga, loan, quantity="10")
    row = WithdrawalAddress.objects.get()
    assert (row.maker, row.checker) == (cast.olga, cast.rhea)
    next_day = LATER + timedelta(days=1, minutes=1)
    stories.market("40000", at=next_day)
    with time_machine.travel(next_day, tick=False):
        assert "Asked: it waits" in ask(cast.olga, loan, quantity="10")
        assert "Struck off" in post(cast.robin, f"{door}revoke/", {"row": str(row.pk)})
        # What was asked before is looked at again when it is approved.
        assert "two persons have allowed" in decide(cast.rhea, Approval.objects.get(kind=releases.KIND))
    assert not Withdrawal.objects.filter(purpose="release").exists()


def test_an_address_in_capitals_is_the_same_address(cast: Cast) -> None:
    bitcoin = make.AssetNetworkFactory(asset__code="BTC", chain="bitcoin").asset
    small, said = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", {"reason": "signed", "now": NOW}
    asked = allow_list.ask(cast.harbourside, bitcoin, small.upper(), maker=cast.olga, **said)
    assert asked.payload["address"] == small
    approvals.decide(asked, checker=cast.rhea, approve=True, now=NOW)
    for spelled in (small, small.upper()):
        with pytest.raises(allow_list.UnableToAllow, match="it is allowed already"):
            allow_list.ask(cast.harbourside, bitcoin, spelled, maker=cast.olga, **said)
    base58 = "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"  # whose capitals say something
    asked = allow_list.ask(cast.harbourside, bitcoin, base58, maker=cast.olga, **said)
    assert asked.payload["address"] == base58


def test_the_database_wants_two_persons_and_a_cooling_off(cast: Cast) -> None:
    row = {"client": cast.harbourside, "asset": AssetFactory(code="BTC"), "address": "x", "allowed_at": NOW}
    for broken, name in (
        ({"maker": cast.olga, "checker": cast.olga, "usable_at": LATER}, "address_maker_is_not_checker"),
        ({"maker": cast.olga, "checker": cast.rhea, "usable_at": NOW}, "address_cools_off"),
    ):
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            WithdrawalAddress.objects.create(**row, **broken)


def post(who: User, address: str, fields: dict[str, str]) -> str:
    return signed_in(who).post(address, fields, follow=True).content.decode()

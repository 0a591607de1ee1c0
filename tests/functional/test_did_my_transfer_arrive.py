"""A borrower asks after a transfer: by its id, or by asset and amount; what belongs to another client is not found."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import deposits
from lending.models import CustodyReading, Deposit
from risk.models import MarginCall
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetNetworkFactory

State = Deposit.State


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


@pytest.fixture
def call(cast: Cast, client: Browser) -> MarginCall:
    AssetNetworkFactory(asset__code="BTC")
    call = stories.called(cast)
    client.force_login(cast.bob)
    return call


@pytest.fixture
def transfer(call: MarginCall) -> Deposit:
    return stories.transfer_seen(call.margin_account)


def ask(client: Browser, call: MarginCall, **question: str) -> str:
    return client.get(f"/portal/calls/{call.public_id}/transfers/", question).content.decode()


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (State.PENDING, "It is on its way"),
        (State.CONFIRMED, "it arrived and is being credited"),
        (State.CREDITED, "it arrived and counts"),
        (State.REORGED, "its network has dropped it"),
        (State.UNMATCHED, "waits for a person to match it"),
    ],
)
@pytest.mark.parametrize("by", ["ref", "amount"])
def test_every_state_has_its_honest_answer(
    call: MarginCall, transfer: Deposit, client: Browser, state: str, says: str, by: str
) -> None:
    Deposit.objects.update(state=state)
    asked = {"ref": transfer.custodian_ref} if by == "ref" else {"asset": "BTC", "quantity": "1.25"}
    page = ask(client, call, **asked)
    assert says in page
    assert "not arrived" not in page


def test_confirmations_are_counted_against_those_needed(call: MarginCall, transfer: Deposit, client: Browser) -> None:
    assert "1 of 3 confirmations" in ask(client, call, ref=transfer.custodian_ref)


def test_what_was_not_seen_says_until_when_it_was_looked_for(call: MarginCall, client: Browser) -> None:
    CustodyReading.objects.create(custodian="paper", read_at=NOW + timedelta(minutes=1))
    page = ask(client, call, ref="0xnever")
    assert "No, it has not arrived" in page
    assert "19 May 2021 12:01:00 UTC" in page


def test_another_amount_is_another_transfer(call: MarginCall, transfer: Deposit, client: Browser) -> None:
    assert "No, it has not arrived" in ask(client, call, asset="BTC", quantity="1.26")


def test_what_belongs_to_another_client_is_not_found(
    call: MarginCall, transfer: Deposit, cast: Cast, client: Browser
) -> None:
    stories.running(cast, cast.quayside, signer=cast.charlie)
    stories.fall_again()
    theirs = MarginCall.objects.get(client=cast.quayside)
    own = stories.transfer_seen(theirs.margin_account)
    Deposit.objects.filter(pk=own.pk).update(quantity=2)
    client.force_login(cast.charlie)
    for question in ({"ref": transfer.custodian_ref}, {"asset": "BTC", "quantity": "1.25"}):
        page = ask(client, theirs, **question)
        assert "No, it has not arrived" in page
    assert client.get(f"/portal/calls/{call.public_id}/transfers/", {"ref": "x"}).status_code == 404


def test_what_arrived_at_an_unknown_address_shows_to_who_names_it_alone(
    call: MarginCall, transfer: Deposit, client: Browser
) -> None:
    Deposit.objects.update(client=None, address=None, state=State.UNMATCHED, sent_to="bc1-typo")
    page = ask(client, call, ref=transfer.custodian_ref)
    assert "belongs to nobody here" in page
    assert "1.25" not in page
    assert "No, it has not arrived" in ask(client, call, asset="BTC", quantity="1.25")


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"ref": " "}, "Fill in the transaction id"),
        ({"asset": "BTC", "quantity": ""}, "Fill in the transaction id"),
        ({"asset": "BTC", "quantity": "lots"}, "That is not a number"),
        ({"asset": "DOGE", "quantity": "1"}, "DOGE is not one of the available choices"),
    ],
)
def test_a_question_without_content_is_told_what_is_missing(
    call: MarginCall, transfer: Deposit, client: Browser, question: dict[str, str], says: str
) -> None:
    answer = client.get(f"/portal/calls/{call.public_id}/transfers/", question)
    assert answer.status_code == 422
    assert says in answer.content.decode()


def test_the_verb_refuses_an_empty_question(call: MarginCall) -> None:
    with pytest.raises(deposits.UnableToLookUp, match="name the transaction"):
        deposits.look_up(call.client)


def test_the_earliest_credit_follows_from_confirmations_and_blocks(call: MarginCall, transfer: Deposit) -> None:
    row = deposits.addresses(call.margin_account_id, now=NOW)["collateral", "BTC"]
    assert (row.needed, row.counts_at) == (3, NOW + timedelta(minutes=30))


def test_a_way_that_comes_too_late_says_so(call: MarginCall, transfer: Deposit, client: Browser) -> None:
    page = client.get(f"/portal/calls/{call.public_id}/").content.decode()
    assert "That is after the deadline" not in page
    MarginCall.objects.update(cure_due_at=NOW + timedelta(minutes=20))
    assert "That is after the deadline" in client.get(f"/portal/calls/{call.public_id}/").content.decode()


def test_what_is_left_of_a_call_counts_both_ways(call: MarginCall, transfer: Deposit, client: Browser) -> None:
    MarginCall.objects.update(cured_fraction=Decimal("0.5"))
    page = client.get(f"/portal/calls/{call.public_id}/").content.decode()
    assert "45,000.12" in page  # of 90,000.24
    assert "2.20588824" in page  # of 4.41177648

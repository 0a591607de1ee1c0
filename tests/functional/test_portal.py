"""A borrower reads what they owe, accepts an offer, and repays: in the portal, without a script."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending.models import Loan, LoanState, Repayment
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(hours=6)


@pytest.fixture(autouse=True)
def _afternoon() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def loan(cast: Cast) -> Loan:
    return stories.running(cast)


def test_home_says_what_is_owed(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    page = client.get("/portal/").content.decode()
    # 600,000 at 10 % ACT/360 for six hours: 600000 x 0.1 x 6 / (360 x 24) = 41.6667, rounded up
    assert "600,041.67" in page
    assert "Harbourside Trading" in page
    assert "Quayside" not in page


def test_home_without_loans_tells_what_comes_next(cast: Cast, client: Browser) -> None:
    client.force_login(cast.charlie)
    page = client.get("/portal/").content.decode()
    assert "No loans yet" in page
    assert "Rita" in page


def accepted(client: Browser, offer: Loan) -> str:
    """Press the button under the newest term sheet, and return what the portal says."""
    (sheet,) = offer.term_sheets.all()
    asked = {"sheet": sheet.fingerprint}
    return client.post(f"/portal/loans/{offer.public_id}/accept/", asked, follow=True).content.decode()


def test_an_offer_is_accepted_by_a_signer(cast: Cast, client: Browser) -> None:
    offer = stories.offered(cast)
    client.force_login(cast.alice)
    assert f"/portal/loans/{offer.public_id}/" in client.get("/portal/").content.decode()
    page = client.get(f"/portal/loans/{offer.public_id}/").content.decode()
    assert "Accept this loan" in page
    answer = accepted(client, offer)
    assert "Accepted." in answer
    offer.refresh_from_db()
    assert (offer.state, offer.accepted_by) == (LoanState.ACCEPTED, cast.alice)


def test_an_offer_says_where_the_money_goes_above_the_button(cast: Cast, client: Browser) -> None:
    offer = stories.offered(cast)
    client.force_login(cast.alice)
    address = f"/portal/loans/{offer.public_id}/"
    assert "stays in your free balance" in client.get(address).content.decode()
    other = stories.offered(cast, payout_address="wire:GB29-NWBK")
    page = client.get(f"/portal/loans/{other.public_id}/").content.decode()
    assert "stays in your free balance" not in page
    assert page.index("wire:GB29-NWBK") < page.index("Accept this loan")


def test_an_offer_is_declined_by_a_signer(cast: Cast, client: Browser) -> None:
    offer = stories.offered(cast)
    client.force_login(cast.alice)
    assert "Decline this offer" in client.get(f"/portal/loans/{offer.public_id}/").content.decode()
    long = client.post(f"/portal/loans/{offer.public_id}/decline/", {"reason": "x" * 161})
    assert long.status_code == 422
    assert "at most 160 characters" in long.content.decode()
    assert "x" * 161 in long.content.decode()
    answer = client.post(f"/portal/loans/{offer.public_id}/decline/", {"reason": "Rate too high"}, follow=True)
    assert "Declined. Your relationship manager sees it" in answer.content.decode()
    offer.refresh_from_db()
    assert offer.state == LoanState.CANCELLED
    assert offer.events.last().cause == "declined by the client: Rate too high"
    again = client.post(f"/portal/loans/{offer.public_id}/decline/", follow=True).content.decode()
    assert "is no offer any more: it is cancelled" in again


def test_an_offer_is_not_accepted_by_a_viewer(cast: Cast, client: Browser) -> None:
    offer = stories.offered(cast)
    client.force_login(cast.bob)
    assert "Accept this loan" not in client.get(f"/portal/loans/{offer.public_id}/").content.decode()
    answer = accepted(client, offer)
    assert "Not accepted" in answer
    offer.refresh_from_db()
    assert offer.state == LoanState.QUOTED


def test_an_offer_is_not_accepted_twice(cast: Cast, client: Browser) -> None:
    offer = stories.offered(cast)
    client.force_login(cast.alice)
    accepted(client, offer)
    answer = accepted(client, offer)
    assert "Not accepted" in answer


@pytest.fixture
def token(loan: Loan, cast: Cast, client: Browser) -> str:
    """Return the token of a repayment form, for a client with 50,000 to pay with."""
    client.force_login(cast.alice)
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    found = re.search(r'name="token" value="([0-9a-f-]{36})"', page)
    assert found, "the loan's proceeds are free to repay with"
    return found[1]


def pay(client: Browser, loan: Loan, token: str, amount: str):
    return client.post(f"/portal/loans/{loan.public_id}/repay/", {"amount": amount, "token": token})


def test_a_repayment_reduces_the_debt(loan: Loan, client: Browser, token: str) -> None:
    assert pay(client, loan, token, "50000").status_code == 302
    paid = Repayment.objects.get(loan=loan)
    assert (paid.amount, paid.interest) == (Decimal(50_000), Decimal("41.67"))
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "550,041.67" in page


def test_a_form_sent_twice_is_one_repayment(loan: Loan, client: Browser, token: str) -> None:
    pay(client, loan, token, "50000")
    pay(client, loan, token, "50000")
    assert Repayment.objects.filter(loan=loan).count() == 1


@pytest.mark.parametrize(
    ("amount", "says"),
    [
        ("", "Say how much to repay."),
        ("lots", "That is not a number"),
        ("-5", "more than zero"),
        ("0", "more than zero"),
        ("NaN", "That is not a number"),
        ("10.005", "at most 2 decimal places"),
        ("600000.01", "Your free balance is 600,000 USD"),
    ],
)
def test_a_bad_amount_is_refused_in_words(loan: Loan, client: Browser, token: str, amount: str, says: str) -> None:
    answer = pay(client, loan, token, amount)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not Repayment.objects.exists()


def test_a_viewer_can_not_repay(loan: Loan, cast: Cast, client: Browser, token: str) -> None:
    client.force_login(cast.bob)
    assert pay(client, loan, token, "100").status_code == 403
    assert not Repayment.objects.exists()


def test_a_viewer_sees_no_form(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert 'name="token"' not in page
    assert "Only a borrower admin" in page


def test_a_payoff_quote_holds_for_an_hour_and_says_until_when(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    # seven hours: 600000 x 0.1 x 7 / (360 x 24) = 48.6111, rounded up
    assert "600,048.62" in page
    assert "19 May 2021 19:00:00 UTC" in page
    assert "600,041.67" in page  # what it would be at this instant


def test_the_schedule_says_what_falls_due_and_when(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    address = f"/portal/loans/{loan.public_id}/payments/"
    assert f'hx-get="{address}"' in client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "<html" not in client.get(address, headers={"HX-Request": "true"}).content.decode()
    page = client.get(address).content.decode()
    # 183.5 days of 600,000 at 10 % ACT/360: 30,583.34, due with the principal
    assert "30,583.34" in page
    assert "630,583.34" in page

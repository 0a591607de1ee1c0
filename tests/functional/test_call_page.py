"""A borrower reads a margin call: two ways to cure it, never one number, until when, and what happens otherwise."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from risk.models import CallState, MarginCall
from tests import stories
from tests.cast import NOW, Cast


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


@pytest.fixture
def call(cast: Cast) -> MarginCall:
    return stories.called(cast)


def test_home_leads_to_the_call(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    page = client.get("/portal/").content.decode()
    assert f"/portal/calls/{call.public_id}/" in page
    assert "70.5" in page  # 600,000 / (25 x 34,000)


def test_cash_and_collateral_stand_apart(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.alice)
    page = client.get(f"/portal/calls/{call.public_id}/").content.decode()
    # D - t·A = 600,000.35 - 0.6 x 850,000 is owed in cash; (D/t - A)/p in coins is more than that cash buys.
    assert "90,000.2" in page or "90,000.3" in page
    assert "4.4117" in page
    assert "Or add collateral" in page
    assert "data-due" in page


def test_a_signer_acknowledges(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.alice)
    answer = client.post(f"/portal/calls/{call.public_id}/acknowledge/", follow=True).content.decode()
    assert "Acknowledged." in answer
    call.refresh_from_db()
    assert (call.state, call.acknowledged_by) == (CallState.ACKNOWLEDGED, cast.alice)


def test_a_viewer_does_not_acknowledge(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    page = client.get(f"/portal/calls/{call.public_id}/").content.decode()
    assert "I have read this call" not in page
    assert client.post(f"/portal/calls/{call.public_id}/acknowledge/").status_code == 403
    call.refresh_from_db()
    assert call.acknowledged_at is None


def test_the_loan_shows_its_ladder_in_prices(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    loan = call.margin_account.loans.get()
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "30,000.0" in page  # the sale: 600,000.x / (0.8 x 25)
    assert "good" in page

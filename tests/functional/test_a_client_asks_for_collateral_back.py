"""A client's signer names an address and asks for collateral back in the portal; where two sign, both do."""

from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from lending import approvals
from lending.models import Approval, JointSignature, SigningRule
from tests import stories
from tests.cast import NOW, Cast
from tests.integration.lending.test_authority import reviewed, second_signer

ALLOW = SigningRule.Action.ALLOW


@pytest.fixture
def page(cast: Cast) -> str:
    return f"/portal/loans/{stories.running(cast).public_id}/back/"


def test_an_address_is_named_allowed_and_collateral_asked_for(cast: Cast, client: Browser, page: str) -> None:
    named = {"act": "address", "asset": "BTC", "address": "bc1qharbourside"}
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.charlie)
        assert client.get(page).status_code == 404
        client.force_login(cast.bob)
        assert "Only a borrower admin" in client.get(page).content.decode()
        assert client.post(page, named).status_code == 403
        client.force_login(cast.alice)
        for changes, says in (
            ({"address": "two words"}, "an address is one word"),
            ({"address": ""}, "Which address?"),
            ({"asset": "DOGE"}, "Select a valid choice"),
        ):
            answer = client.post(page, {**named, **changes})
            assert answer.status_code == 422
            assert says in answer.content.decode()
        answer = client.post(page, named, follow=True).content.decode()
        assert "waits for the desk" in answer
        assert "it was asked for already" in client.post(page, named).content.decode()
        approvals.decide(Approval.objects.get(), checker=cast.rhea, approve=True, now=NOW)
        assert "No address of yours can be used yet" in client.get(page).content.decode()
    with time_machine.travel(NOW + timedelta(hours=25), tick=False):
        client.force_login(cast.alice)
        shown = client.get(page).content.decode()
        # Each address stands under its asset, and none is chosen for who only wants to say how much.
        assert '<option value="" selected>choose an address</option>' in shown
        assert shown.index('<optgroup label="BTC">') < shown.index('<option value="bc1qharbourside">')
        back = {"act": "back", "asset": "BTC", "quantity": "1.5", "destination": "bc1qharbourside"}
        for changes, says in (
            ({"quantity": "26"}, "25 BTC are pledged and not held for a sale, not 26"),
            ({"quantity": "0"}, "is not a quantity that BTC can move"),
            ({"quantity": "much"}, "That is not a number"),
            ({"destination": "bc1qelsewhere"}, "Select a valid choice"),
            ({"destination": ""}, "Choose an address."),
        ):
            answer = client.post(page, {**back, **changes})
            assert answer.status_code == 422
            assert says in answer.content.decode()
        assert "Asked." in client.post(page, back, follow=True).content.decode()
        asked = Approval.objects.get(kind="collateral_release")
        assert (asked.maker, asked.payload["quantity"]) == (cast.alice, "1.5")
        assert "it was asked for already" in client.post(page, back).content.decode()


def test_two_sign_an_address_and_what_no_line_allows_is_refused(cast: Cast, client: Browser, page: str) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2}, action=ALLOW)
    named = {"act": "address", "asset": "BTC", "address": "bc1qharbourside"}
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.alice)
        assert "Signed by you" in client.post(page, named, follow=True).content.decode()
        assert not Approval.objects.exists()
        client.force_login(dora)
        row = JointSignature.objects.get()
        signed = client.post(f"/portal/signatures/{row.public_id}/sign/", follow=True).content.decode()
        assert "Signed by both: BTC may be sent to bc1qharbourside." in signed
        assert Approval.objects.get(kind="withdrawal_address").maker == dora
        reviewed(cast, action=ALLOW)
        refused = client.post(page, {**named, "address": "bc1qother"})
        assert refused.status_code == 422
        assert "does not let Dora name an address for withdrawals" in refused.content.decode()

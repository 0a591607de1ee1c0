"""A client's signers name addresses, strike them off and ask for collateral back; where two sign, both do."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import approvals, collateral, lapses
from lending.models import Approval, JointSignature, Loan, LoanState, Pledge, SigningRule
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import allowed, asset
from tests.integration.lending.test_authority import reviewed, second_signer

ALLOW = SigningRule.Action.ALLOW


@pytest.fixture
def page(cast: Cast) -> str:
    return f"/portal/loans/{stories.running(cast).public_id}/back/"


@pytest.fixture
def where(cast: Cast) -> str:
    return f"/portal/addresses/{cast.harbourside.public_id}/"


def test_an_address_is_named_allowed_and_collateral_asked_for(
    cast: Cast, client: Browser, page: str, where: str
) -> None:
    named = {"asset": "BTC", "address": "bc1qharbourside"}
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.charlie)
        for address in (page, where):
            assert client.get(address).status_code == client.post(address, named).status_code == 404
        client.force_login(cast.bob)
        for address in (page, where):
            assert "Only a borrower admin" in client.get(address).content.decode()
            assert client.post(address, named).status_code == 403
        client.force_login(cast.alice)
        # What is owed in dollars may have to go back in dollars, too.
        assert '<option value="USD">' in client.get(where).content.decode()
        for changes, says in (
            ({"address": "two words"}, "an address is one word"),
            ({"address": ""}, "Which address?"),
            ({"asset": "DOGE"}, "Select a valid choice"),
        ):
            answer = client.post(where, {**named, **changes})
            assert answer.status_code == 422
            assert says in answer.content.decode()
        answer = client.post(where, named, follow=True).content.decode()
        assert "waits for the desk" in answer
        assert "it was asked for already" in client.post(where, named).content.decode()
        approvals.decide(Approval.objects.get(), checker=cast.rhea, approve=True, now=NOW)
        assert "No address of yours can be used yet" in client.get(page).content.decode()
    with time_machine.travel(NOW + timedelta(hours=25), tick=False):
        client.force_login(cast.alice)
        shown = client.get(page).content.decode()
        # Each address stands under its asset, and none is chosen for who only wants to say how much.
        assert '<option value="" selected>choose an address</option>' in shown
        assert shown.index('<optgroup label="BTC">') < shown.index('<option value="bc1qharbourside">')
        back = {"asset": "BTC", "quantity": "1.5", "destination": "bc1qharbourside"}
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


def test_two_sign_an_address_and_what_no_line_allows_is_refused(cast: Cast, client: Browser, where: str) -> None:
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2}, action=ALLOW)
    stories.running(cast)
    named = {"asset": "BTC", "address": "bc1qharbourside"}
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.alice)
        assert "Signed by you" in client.post(where, named, follow=True).content.decode()
        assert not Approval.objects.exists()
        client.force_login(dora)
        row = JointSignature.objects.get()
        signed = client.post(f"/portal/signatures/{row.public_id}/sign/", follow=True).content.decode()
        assert "Signed by both: BTC may be sent to bc1qharbourside." in signed
        assert Approval.objects.get(kind="withdrawal_address").maker == dora
        reviewed(cast, action=ALLOW)
        refused = client.post(where, {**named, "address": "bc1qother"})
        assert refused.status_code == 422
        assert "does not let Dora name an address for withdrawals" in refused.content.decode()


def test_a_signer_strikes_an_address_off_at_once(cast: Cast, client: Browser, where: str) -> None:
    row = allowed(cast.harbourside, "BTC", "bc1qnotours", now=NOW)
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.bob)
        assert "Strike it off" not in client.get(where).content.decode()
        assert client.post(f"{where}strike-off/", {"row": row.pk}).status_code == 403
        client.force_login(cast.charlie)
        assert client.post(f"{where}strike-off/", {"row": row.pk}).status_code == 404
        own = f"/portal/addresses/{cast.quayside.public_id}/strike-off/"
        assert "it is not on the list" in client.post(own, {"row": row.pk}, follow=True).content.decode()
        client.force_login(cast.alice)
        for wrong in ("", "x", "0", "9" * 5000):
            answer = client.post(f"{where}strike-off/", {"row": wrong}, follow=True)
            assert "it is not on the list" in answer.content.decode()
        answer = client.post(f"{where}strike-off/", {"row": row.pk}, follow=True).content.decode()
        assert "nothing is sent there any more" in answer
        assert "Nowhere yet" in answer
    row.refresh_from_db()
    assert (row.revoked_by, row.revoked_at) == (cast.alice, NOW)


def test_the_door_stands_open_when_nothing_is_owed_any_more(cast: Cast, client: Browser) -> None:
    """A loan that is paid, and one that came to nothing after its collateral had come; and money has a door, too."""
    paid, dropped = stories.running(cast), stories.awaited(cast)
    stories.deposited(cast.harbourside, "BTC", Decimal(1))
    collateral.pledge(dropped.margin_account, asset("BTC"), Decimal(1), key="early", now=NOW)
    lapses.cancel(dropped, actor=cast.robin, cause="not wanted any more", now=NOW)
    nothing = {"principal_outstanding": 0, "interest_due": 0, "fees_due": 0}
    Loan.objects.filter(pk=paid.pk).update(state=LoanState.REPAID, **nothing)
    with time_machine.travel(NOW, tick=False):
        client.force_login(cast.alice)
        for loan in (paid, dropped):
            own = f"/portal/loans/{loan.public_id}/"
            assert own in client.get("/portal/").content.decode()
            shown = client.get(own).content.decode()
            assert f'href="{own}back/"' in shown
            assert "Nothing is owed on it" in shown
        Pledge.objects.update(quantity=0)
        assert f'href="{own}back/"' not in client.get(own).content.decode()
        assert own not in client.get("/portal/").content.decode()
        where = f"/portal/addresses/{cast.harbourside.public_id}/"
        assert f'href="{where}"' in client.get("/portal/money/").content.decode()
        # The desk keeps its list, too.
        client.force_login(cast.olga)
        shown = client.get(f"/admin/releases/{paid.pk}/").content.decode()
        assert "Allow an address" in shown
        assert '<option value="USD">USD</option>' in shown


def test_of_the_offers_of_a_pool_that_all_came_to_nothing_one_leads_to_what_was_sent(cast: Cast) -> None:
    first = stories.awaited(cast, opens_pool=True)
    second = stories.awaited(cast, margin_account=first.margin_account)
    stories.deposited(cast.harbourside, "BTC", Decimal(1))
    collateral.pledge(first.margin_account, asset("BTC"), Decimal(1), key="early", now=NOW)
    for loan in (first, second):
        lapses.cancel(loan, actor=cast.robin, cause="not wanted any more", now=NOW)
    browser = Browser()
    browser.force_login(cast.alice)
    with time_machine.travel(NOW, tick=False):
        home = browser.get("/portal/").content.decode()
    assert f"/portal/loans/{first.public_id}/" not in home
    assert f"/portal/loans/{second.public_id}/" in home

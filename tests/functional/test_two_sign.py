"""Where two sign jointly, the second reads in the portal what waits for their signature, and signs it there."""

import pytest
import time_machine
from django.test import Client as Browser

from lending.models import JointSignature, Loan, LoanState, User
from tests import stories
from tests.cast import NOW, Cast
from tests.integration.lending.test_authority import reviewed, second_signer


@pytest.fixture
def dora(cast: Cast) -> User:
    signer = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    return signer


def accept(browser: Browser, loan: Loan) -> str:
    sheet = {"sheet": loan.term_sheets.get().fingerprint}
    return browser.post(f"/portal/loans/{loan.public_id}/accept/", sheet, follow=True).content.decode()


@time_machine.travel(NOW, tick=False)
def test_an_offer_is_signed_by_two(cast: Cast, dora: User, client: Browser, django_assert_max_num_queries) -> None:
    loan = stories.offered(cast)
    client.force_login(cast.alice)
    assert "Nothing waits for a signature" in client.get("/portal/signatures/").content.decode()
    page = accept(client, loan)
    assert "Signed by you. It is accepted once a second person of yours signs it too." in page
    assert "Alice has signed it" in page
    assert "Accept this loan" not in page
    row = JointSignature.objects.get()
    sign, back = (f"/portal/signatures/{row.public_id}/{act}/" for act in ("sign", "withdraw"))
    mine = client.get("/portal/signatures/").content.decode()
    assert "Take my signature back" in mine
    assert "Sign it too" not in mine
    assert "Alice has signed it already" in client.post(sign, follow=True).content.decode()
    client.force_login(cast.charlie)
    assert client.post(sign).status_code == 404
    assert str(row.public_id) not in client.get("/portal/signatures/").content.decode()
    client.force_login(cast.bob)
    assert "Not signed: Bob may not sign for Harbourside Trading" in client.post(sign, follow=True).content.decode()
    assert "Not taken back" in client.post(back, follow=True).content.decode()
    client.force_login(dora)
    with django_assert_max_num_queries(12):
        home = client.get("/portal/").content.decode()
    assert f"The term sheet of loan {loan}, version 1, signed by Alice" in home
    with django_assert_max_num_queries(12):
        assert "Sign it too" in client.get("/portal/signatures/").content.decode()
    with django_assert_max_num_queries(12):
        assert "Sign it too" in client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "Signed by both" in client.post(sign, follow=True).content.decode()
    loan.refresh_from_db()
    assert (loan.state, loan.accepted_by) == (LoanState.ACCEPTED, dora)
    assert "waits for no signature any more" in client.post(sign, follow=True).content.decode()


@time_machine.travel(NOW, tick=False)
def test_a_first_signature_is_taken_back_and_a_limit_is_told(cast: Cast, dora: User, client: Browser) -> None:
    loan = stories.offered(cast)
    client.force_login(cast.alice)
    accept(client, loan)
    row = JointSignature.objects.get()
    page = client.post(f"/portal/signatures/{row.public_id}/withdraw/", follow=True).content.decode()
    assert "Taken back: the term sheet of loan" in page
    assert "Nothing waits for a signature" in page
    reviewed(cast)
    page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert "By the authority matrix of Harbourside Trading this is not yours to accept" in page
    assert "does not let Alice accept offers and amendments" in accept(client, loan)

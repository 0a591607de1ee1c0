"""Where two sign jointly, the second reads in the portal what waits for their signature, and signs it there."""

from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import amendments, authority, lapses
from lending.models import Amendment, JointSignature, Loan, LoanState, User
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


LATER = NOW + timedelta(days=3)
CHEAPER = {
    "annual_rate": "7.5", "default_rate": "15", "maturity_date": "2021-11-19", "from_at": "", "hours": "24",
    "reason": "six good months",
}  # fmt: skip


def proposed(cast: Cast, client: Browser, loan: Loan) -> Amendment:
    """Return a change of a loan that its manager has proposed and risk has approved, each at their door."""
    client.force_login(cast.robin)
    client.post(f"/admin/amend/{loan.pk}/", {**CHEAPER, "act": "propose"})
    row = Amendment.objects.select_related("sheet").order_by("-pk")[0]
    client.force_login(cast.rhea)
    client.post(f"/admin/lending/amendment/{row.pk}/approve/")
    return row


def sign_change(client: Browser, row: Amendment) -> str:
    sent = {"sheet": row.sheet.fingerprint}
    return client.post(f"/portal/amendments/{row.public_id}/sign/", sent, follow=True).content.decode()


@time_machine.travel(LATER, tick=False)
def test_an_amendment_is_signed_by_two(cast: Cast, client: Browser, django_assert_max_num_queries) -> None:
    loan = stories.running(cast)
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    row = proposed(cast, client, loan)
    door, desk = f"/portal/amendments/{row.public_id}/", f"/admin/lending/amendment/{row.pk}/change/"
    client.force_login(cast.alice)
    assert "Sign this change" in client.get(door).content.decode()
    page = sign_change(client, row)
    assert "Signed by you. It holds once a second person of yours signs it too." in page
    assert door in page, "what waits for a signature can be read"
    with django_assert_max_num_queries(12):
        page = client.get(door).content.decode()
    assert "Alice has signed it" in page
    assert "Sign this change" not in page
    assert "Sign it too" not in page
    sign_change(client, row)  # signing twice is signing once
    joint = JointSignature.objects.get()
    sign_too = f"/portal/signatures/{joint.public_id}/sign/"
    assert "Alice has signed it already" in client.post(sign_too, follow=True).content.decode()
    loan.refresh_from_db()
    assert loan.annual_rate == Decimal("0.1")
    client.force_login(cast.robin)
    with django_assert_max_num_queries(12):
        page = client.get(desk).content.decode()
    assert "Alice, <time" in page
    assert "a second signer of theirs signs it too" in page
    client.force_login(dora)
    with django_assert_max_num_queries(12):
        assert door in client.get("/portal/signatures/").content.decode()
    with django_assert_max_num_queries(12):
        assert "Sign it too" in client.get(door).content.decode()
    assert "Signed by both" in client.post(sign_too, follow=True).content.decode()
    loan.refresh_from_db()
    row.refresh_from_db()
    assert (loan.annual_rate, row.state, row.signer) == (Decimal("0.075"), "in_force", dora)
    client.force_login(cast.robin)
    assert "by Dora" in client.get(desk).content.decode()


@time_machine.travel(LATER, tick=False)
def test_what_one_has_signed_ends_with_what_it_is_about(cast: Cast, client: Browser) -> None:
    """Withdrawn, declined or lapsed, a change waits for nobody's signature any more; nor does an offer."""
    loan = stories.running(cast)
    dora = second_signer(cast)
    reviewed(cast, {"signatures": 2})
    for end in ("withdraw", "decline", "lapse"):
        row = proposed(cast, client, loan)
        client.force_login(cast.alice)
        sign_change(client, row)
        assert len(authority.waiting([cast.harbourside], now=LATER)) == 1
        if end == "withdraw":
            client.force_login(cast.robin)
            client.post(f"/admin/lending/amendment/{row.pk}/withdraw/", {"reason": "a slip"})
        elif end == "decline":
            client.force_login(dora)
            client.post(f"/portal/amendments/{row.public_id}/decline/", {"reason": "too dear"})
        else:
            amendments.work_due(now=row.expires_at)
        row.refresh_from_db()
        assert row.state in {"withdrawn", "declined", "expired"}, end
        assert not authority.waiting([cast.harbourside], now=LATER), end
        client.force_login(dora)
        assert "Nothing waits for a signature" in client.get("/portal/signatures/").content.decode()
    offer = stories.offered(cast)
    client.force_login(cast.alice)
    accept(client, offer)
    lapses.cancel(offer, actor=cast.robin, cause="a slip", now=LATER)
    assert not authority.waiting([cast.harbourside], now=LATER)
    loan.refresh_from_db()
    assert loan.annual_rate == Decimal("0.1")


@time_machine.travel(NOW, tick=False)
def test_a_change_above_somebodys_limit_is_not_theirs_to_sign(cast: Cast, client: Browser) -> None:
    loan = stories.running(cast)
    row = proposed(cast, client, loan)
    reviewed(cast, {"asset": loan.asset, "up_to": Decimal(100_000)})
    client.force_login(cast.alice)
    page = client.get(f"/portal/amendments/{row.public_id}/").content.decode()
    assert "By the authority matrix of Harbourside Trading this is not yours to sign" in page
    assert "lets Alice accept offers and amendments up to 100000 USD" in sign_change(client, row)

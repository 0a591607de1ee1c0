"""Compliance finds a match on its home page, reads both sides, confirms it, and a second person clears it."""

from datetime import date
from io import BytesIO

import pytest
import time_machine
from django.test import Client as Browser
from pytest_django import DjangoAssertNumQueries

from deploy.demo import screened
from lending import matches, sanctions, screening
from lending.models import Approval, Client, Role, SanctionsList, ScreeningMatch, User
from tests.factories import list_files as made
from tests.factories.lending import NOW, ClientFactory, staff

pytestmark = pytest.mark.django_db


def page(who: User, address: str, **fields: str) -> str:
    """Open a page, or send a form of it, as somebody at the platform's time."""
    browser = Browser()
    browser.force_login(who)
    with time_machine.travel(NOW, tick=False):
        answer = browser.post(address, fields, follow=True) if fields else browser.get(address)
    return answer.content.decode()


@pytest.fixture
def match() -> ScreeningMatch:
    ClientFactory.create(name="Aurelio Velthorn", kind=Client.Kind.INDIVIDUAL, jurisdiction="PT")
    files = []
    for name, text in (("sdn.csv", made.SDN_CSV), ("alt.csv", made.ALT_CSV), ("add.csv", made.ADD_CSV)):
        file = BytesIO(text.encode())
        file.name = name  # type: ignore[attr-defined]
        files.append(file)
    watchlist, by = SanctionsList.objects.get(code="ofac-sdn"), staff("cole", Role.COMPLIANCE)
    sanctions.receive(watchlist, files, published_on=date(2021, 5, 18), confirmed=False, by=by, now=NOW)
    sanctions.take_in_due(now=NOW)
    screening.screen_due(now=NOW)
    return ScreeningMatch.objects.get()


def test_a_match_is_confirmed_and_cleared(match: ScreeningMatch) -> None:
    cora, casper = staff("cora", Role.COMPLIANCE), staff("casper", Role.COMPLIANCE)
    its_page = f"/admin/lending/screeningmatch/{match.pk}/change/"
    door = f"/admin/lending/screeningmatch/{match.pk}"
    assert its_page in page(cora, "/admin/")
    assert "Aurelio Velthorn" in page(cora, "/admin/lending/screeningmatch/")
    shown = page(cora, its_page)
    for words in ("VELTORN, Aurelio", "28 Jul 1963", "Portugal", "It is somebody else"):
        assert words in shown
    refused = page(cora, f"{door}/decide/", verdict="true", reason=" ")
    assert "Refused: say why" in refused
    assert "Refused: say whether it is them" in page(cora, f"{door}/decide/", reason="the passport")
    assert "Confirmed: nothing new" in page(cora, f"{door}/decide/", verdict="true", reason="the passport")
    assert "Asked: it waits" in page(cora, f"{door}/clear/", reason="a licence")
    asked = Approval.objects.get(kind="clear_match")
    button = f"/admin/lending/approval/{asked.pk}/approve/"
    assert "can not decide it" in page(cora, button, reason="")
    assert "Approved by you" in page(casper, button, reason="")
    assert "Cleared by" in page(cora, its_page)


@pytest.mark.parametrize("verdict", ["open", "confirmed"])
def test_the_pages_of_compliance_ask_at_most_twelve_times(
    match: ScreeningMatch, verdict: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    cora = staff("cora", Role.COMPLIANCE)
    if verdict == "confirmed":
        match = matches.decide(match, is_true=True, reason="the passport", by=cora, now=NOW)
        matches.ask_to_clear(match, reason="a licence", maker=cora, now=NOW)
    browser = Browser()
    browser.force_login(cora)
    for address in ("/admin/", "/admin/lending/screeningmatch/", f"/admin/lending/screeningmatch/{match.pk}/change/"):
        with django_assert_max_num_queries(12):
            assert browser.get(address).status_code == 200


def test_who_meets_the_client_does_not_read_of_it(match: ScreeningMatch) -> None:
    robin = staff("robin", Role.RELATIONSHIP_MANAGER)
    Client.objects.filter(pk=match.client_id).update(relationship_manager=robin)
    browser = Browser()
    browser.force_login(robin)
    assert browser.get(f"/admin/lending/screeningmatch/{match.pk}/change/").status_code in (302, 403)
    assert "sanctions" not in browser.get("/admin/").content.decode().lower()
    answer = browser.post(f"/admin/lending/screeningmatch/{match.pk}/decide/", {"verdict": "false", "reason": "x"})
    assert answer.status_code in (403, 404, 422)
    match.refresh_from_db()
    assert match.state == "open"


def test_the_demo_has_something_to_decide() -> None:
    staff("cora", Role.COMPLIANCE)
    User.objects.filter(name__iexact="cora").update(email="cora@plimsoll.example")
    ClientFactory.create(name="Sophie Lacombe", kind=Client.Kind.INDIVIDUAL, jurisdiction="FR")
    screened.load(now=NOW)
    found = ScreeningMatch.objects.get()
    assert (found.subject_name, found.entry.ref) == ("Sophie Lacombe", "9001")

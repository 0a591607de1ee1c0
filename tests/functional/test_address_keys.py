"""The page of address keys: operations ask, risk approves after comparing, and what is private is never shown again."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from lending.engine import addresses
from lending.models import AddressKey, Approval
from tests.cast import NOW, Cast
from tests.integration.lending.test_address_keys import PRIVATE
from tests.unit.lending.engine.test_addresses import ZPUB

LIST = "/admin/lending/addresskey/"


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=10), tick=False):
        yield


def ask(browser: Browser, xpub: str, *, reason: str = "the vault") -> str:
    typed = {"chain": "bitcoin", "xpub": xpub, "reason": reason}
    return browser.post(f"{LIST}ask/", typed, follow=True).content.decode()


def test_a_key_is_asked_for_approved_and_retired(cast: Cast, client: Browser) -> None:
    client.force_login(cast.olga)
    assert "Ask a second person" in client.get(LIST).content.decode()
    page = ask(client, ZPUB)
    assert "waits on the page Approvals" in page
    assert addresses.derive(ZPUB, "bitcoin", 0) in page
    asked = Approval.objects.get()
    client.force_login(cast.rhea)
    wanted = client.get(f"/admin/lending/approval/{asked.pk}/change/").content.decode()
    assert "derive deposit addresses from an extended public key" in wanted
    assert addresses.derive(ZPUB, "bitcoin", 0) in wanted
    client.post(f"/admin/lending/approval/{asked.pk}/approve/")
    key = AddressKey.objects.get()
    assert "Derive nothing more from it" in client.get(f"{LIST}{key.pk}/change/").content.decode()
    client.post(f"{LIST}{key.pk}/retire/")
    key.refresh_from_db()
    assert key.retired_by == cast.rhea


def test_a_private_key_is_refused_and_shown_nowhere(cast: Cast, client: Browser) -> None:
    client.force_login(cast.olga)
    page = ask(client, PRIVATE)
    assert "this is a private key" in page
    assert PRIVATE not in page
    assert "the vault" in page  # what else was typed still stands there
    mistyped = ask(client, ZPUB[:-1] + "t")
    assert "mistyped or cut short" in mistyped
    assert ZPUB[:-1] in mistyped
    assert not Approval.objects.exists()


def test_who_only_reads_finds_no_form_and_outsiders_no_page(cast: Cast, client: Browser) -> None:
    client.force_login(cast.dirk)
    assert "Ask a second person" not in client.get(LIST).content.decode()
    assert "does not hold the role" in ask(client, ZPUB)
    for outsider in (cast.alice, cast.robin):
        client.force_login(outsider)
        assert client.get(LIST).status_code in (302, 403)
    assert not Approval.objects.exists()

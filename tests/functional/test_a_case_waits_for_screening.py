"""A KYC case waits until everybody behind its client is held against the lists that stand, and no match is open."""

from collections.abc import Iterator

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import onboarded, screened
from lending import kyc, matches, screening
from lending.models import Approval, ChecklistItem, RelatedParty, ScreeningMatch
from tests.cast import NOW, Cast
from tests.functional.test_onboarding import LATER, at, file, filled, registered


@pytest.fixture(autouse=True)
def _a_bit_later(cast: Cast) -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
        screened.load(now=NOW)
        yield


def test_a_case_waits_until_those_behind_it_are_screened(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    case = filled(client, drydock := registered(client))
    owner = {"act": "party", "name": "Sophia Lacombe", "country": "fr", "birth_date": "1971-03-14", "share": "40"}
    client.post(at(drydock, "people/"), owner)
    kept = {"act": "paper", "person": RelatedParty.objects.get(case=case, name="Sophia Lacombe").person}
    item = ChecklistItem.objects.get(client_kind="entity", about="owner", code="identity").pk
    client.post(at(drydock, "documents/"), kept | {"item": item, "paper": file(), "expires_date": "2025-01-31"})
    page = client.post(at(drydock, "review/"), {"act": "submit"}, follow=True).content.decode()
    assert "the screening: the lists or the client&#x27;s facts have changed" in page
    screening.screen_due(now=LATER)
    page = client.post(at(drydock, "review/"), {"act": "submit"}, follow=True).content.decode()
    assert "the screening: a possible match with a sanctions list waits for compliance" in page
    assert not Approval.objects.exists()
    found = ScreeningMatch.objects.get(client=drydock)
    assert (found.subject_name, found.entry.ref, found.why["birth"]) == ("Sophia Lacombe", "9001", "agrees")
    matches.decide(found, is_true=False, reason="born elsewhere, passport seen", by=cast.cora, now=LATER)
    assert kyc.missing(case, now=LATER) == []
    client.post(at(drydock, "review/"), {"act": "submit"})
    asked = Approval.objects.get(kind="kyc_case")
    client.force_login(cast.cora)
    assert "no open match" in client.get(f"/admin/lending/approval/{asked.pk}/change/").content.decode()

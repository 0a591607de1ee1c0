"""Compliance brings a sanctions list in on its page, and sees what changed; nobody else gets there."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser

from lending import sanctions
from lending.models import Role, SanctionsList, SanctionsUpload, SanctionsVersion
from tests.factories import list_files as made
from tests.factories.lending import NOW, staff

pytestmark = pytest.mark.django_db


def files(sdn: str = made.SDN_CSV) -> list[SimpleUploadedFile]:
    texts = (("sdn.csv", sdn), ("alt.csv", made.ALT_CSV), ("add.csv", made.ADD_CSV))
    return [SimpleUploadedFile(name, text.encode()) for name, text in texts]


@pytest.fixture
def cora(client: Browser) -> Browser:
    client.force_login(staff("cora", Role.COMPLIANCE))
    return client


def test_a_list_is_sent_in_read_and_shown(cora: Browser) -> None:
    sdn = SanctionsList.objects.get(code="ofac-sdn")
    page = f"/admin/lending/sanctionslist/{sdn.pk}/change/"
    door = f"/admin/lending/sanctionslist/{sdn.pk}/import/"
    part = f"/admin/lending/sanctionslist/{sdn.pk}/progress/"
    assert "Nobody is screened against this list" in cora.get(page).content.decode()
    refused = cora.post(door, {"chosen": files(), "confirmed": "on"})
    assert refused.status_code == 422
    assert "Refused: say on which day the list was published" in refused.content.decode()
    again = cora.post(door, {"chosen": files()[:2], "published_on": "2021-05-18"}, follow=True).content.decode()
    assert "The files are here and are being read." in again
    assert 'hx-trigger="every 1s"' in again
    sanctions.take_in_due(now=NOW)
    ended = cora.get(part).content.decode()
    assert "add.csv is missing" in ended
    assert "every 1s" not in ended
    cora.post(door, {"chosen": files('"x",1\n'), "published_on": "2021-05-18"})
    sanctions.take_in_due(now=NOW)
    assert "<li>sdn.csv, line 1: 2 cells instead of 12</li>" in cora.get(page).content.decode()
    cora.post(door, {"chosen": files(), "published_on": "2021-05-18"})
    sanctions.take_in_due(now=NOW)
    assert "3 added, 0 changed, 0 removed" in cora.get(page).content.decode()
    version = SanctionsVersion.objects.get()
    changed = cora.get(f"/admin/lending/sanctionsversion/{version.pk}/change/").content.decode()
    assert "VELTHORN, Aurelio Pasco" in changed
    found = cora.get("/admin/lending/sanctionsentry/?q=el+barquero").content.decode()
    assert "VELTHORN, Aurelio Pasco" in found
    assert "GLASS HERON" not in found


@pytest.mark.parametrize("typed", [{"published_on": "yesterday"}, {}])
def test_what_was_typed_is_kept_where_it_is_refused(cora: Browser, typed: dict[str, str]) -> None:
    sdn = SanctionsList.objects.get(code="ofac-sdn")
    answer = cora.post(f"/admin/lending/sanctionslist/{sdn.pk}/import/", typed)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Files: " in page
    assert typed.get("published_on", "") in page
    assert not SanctionsUpload.objects.exists()


@pytest.mark.parametrize("role", [Role.RELATIONSHIP_MANAGER, Role.RISK_HEAD, Role.OPERATIONS, Role.DESK_TRADER])
def test_others_of_the_desk_do_not_get_there(client: Browser, role: Role) -> None:
    client.force_login(staff("somebody", role))
    sdn = SanctionsList.objects.get(code="ofac-sdn")
    for door in ("", f"{sdn.pk}/change/"):
        assert client.get(f"/admin/lending/sanctionslist/{door}").status_code == 403
    assert client.get(f"/admin/lending/sanctionslist/{sdn.pk}/progress/").status_code == 404
    answer = client.post(f"/admin/lending/sanctionslist/{sdn.pk}/import/", {"chosen": files()})
    assert answer.status_code in (403, 404, 422)
    assert not SanctionsUpload.objects.exists()


def test_the_auditor_looks_on(client: Browser) -> None:
    client.force_login(staff("audrey", Role.AUDITOR))
    sdn = SanctionsList.objects.get(code="ofac-sdn")
    page = client.get(f"/admin/lending/sanctionslist/{sdn.pk}/change/").content.decode()
    assert "Bring a new version in" not in page

"""Risk staff see the queue, take a call, read its evidence, and look after incidents."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from risk.models import Incident, MarginCall
from tests import stories
from tests.cast import NOW, Cast


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


@pytest.fixture
def call(cast: Cast) -> MarginCall:
    return stories.called(cast)


def test_an_empty_queue_says_so(cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get("/console/").content.decode()
    assert "No call is open" in page
    assert "No mark has been published yet" in page


def test_the_queue_shows_the_call_and_the_age_of_marks(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get("/console/").content.decode()
    assert f'data-call="{call.public_id}"' in page
    assert "20 s ago" in page


def test_a_call_is_taken_once(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    assert "The call is yours" in client.post(f"/console/calls/{call.public_id}/claim/", follow=True).content.decode()
    client.force_login(cast.rolf)
    answer = client.post(f"/console/calls/{call.public_id}/claim/", follow=True).content.decode()
    assert "Rhea has taken this call" in answer
    call.refresh_from_db()
    assert call.claimed_by == cast.rhea


def test_the_evidence_names_sources_and_steps(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get(f"/console/calls/{call.public_id}/evidence/").content.decode()
    for said in ("alder", "birch", "cedar", "Issued", str(call.snapshot.public_id), "Harbourside Trading", "Email"):
        assert said in page
    assert "0.003333333333" not in page  # figures are written for people


def test_marks_stand_with_their_sources(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get("/console/marks/").content.decode()
    assert "34,000.00" in page
    assert "cedar" in page


def test_an_incident_is_looked_after(cast: Cast, client: Browser) -> None:
    incident = Incident.objects.create(key="x", kind="outage", summary="LINK has no good mark", opened_at=NOW)
    client.force_login(cast.rhea)
    assert "LINK has no good mark" in client.get("/console/incidents/").content.decode()
    client.post(f"/console/incidents/{incident.public_id}/acknowledge/")
    incident.refresh_from_db()
    assert incident.acknowledged_by == cast.rhea

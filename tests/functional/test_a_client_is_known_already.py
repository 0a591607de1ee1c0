"""A client entered by hand that may be one already: the manager is asked, and told nothing of a colleague's client."""

import re
from datetime import timedelta

import time_machine
from django.test import Client as Browser

from lending.models import AuditRecord, Client, Role
from tests.cast import NOW, Cast
from tests.factories import lending as make


@time_machine.travel(NOW + timedelta(minutes=2), tick=False)
def test_who_may_be_a_client_already_is_asked_about_and_taken_on_if_it_is_another(cast: Cast, client: Browser) -> None:
    asked = {"name": "Harborside Trading Ltd", "kind": "entity", "jurisdiction": "US", "time_zone": "UTC"}
    client.force_login(cast.robin)
    answer = client.post("/admin/onboarding/new/", asked)
    assert (answer.status_code, Client.objects.filter(name=asked["name"]).exists()) == (422, False)
    page = answer.content.decode()
    assert "Harbourside Trading in GB is a client already. If it is another, say so here" in page
    assert re.search('name="another"[^>]* autofocus', page)
    # Another manager is not told whose client it is, nor how it writes its name.
    rosa = make.staff("rosa", Role.RELATIONSHIP_MANAGER)
    client.force_login(rosa)
    page = client.post("/admin/onboarding/new/", asked).content.decode()
    assert "Harborside Trading Ltd needs a look by compliance first: ask them" in page
    assert 'value="Harborside Trading Ltd"' in page
    for told in ("Harbourside", "Robin", cast.robin.email):
        assert told not in page
    # What else is wrong does not lose what was said.
    assert 'name="another"' in client.post(
        "/admin/onboarding/new/", {**asked, "another": "on", "jurisdiction": "4X"}
    ).content.decode()  # fmt: skip
    assert client.post("/admin/onboarding/new/", {**asked, "another": "on"}).status_code == 302
    made = Client.objects.get(name=asked["name"])
    kept = AuditRecord.objects.get(action="client_registered", client=made)
    assert kept.after["although"] == ["Harborside Trading Ltd needs a look by compliance first: ask them"]

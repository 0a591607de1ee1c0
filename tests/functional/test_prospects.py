"""Prospects: what is wrong about one is put right until a case rests on it; the demo has one at every stage."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import onboarded, prospects
from lending import kyc, onboarding, people
from lending.models import Client, Role
from tests.cast import NOW, Cast
from tests.factories import lending as make

LATER = NOW + timedelta(minutes=2)


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def test_the_pipeline_of_the_demo_has_prospects_at_every_stage(cast: Cast, client: Browser) -> None:
    for name in ("rosa", "ravi"):
        make.staff(name, Role.RELATIONSHIP_MANAGER)
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    prospects.load(now=NOW)
    stages = list(Client.objects.filter(loans=None, stage_at__lt=NOW).values_list("stage", flat=True))
    assert {stage: stages.count(stage) for stage in set(stages)} == {"prospect": 3, "onboarding": 2, "active": 1}
    client.force_login(cast.robin)
    page = client.get("/admin/pipeline/").content.decode()
    for mine in ("Imogen Tasker", "Ketteridge Options", "Halden Shipping Partners"):
        assert mine in page
    assert "Levant Bridge Capital" not in page


def test_a_wrong_country_is_put_right_until_a_case_rests_on_it(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = people.register(
        name="Drydock Partners", kind="entity", jurisdiction="GB", time_zone="UTC", manager=cast.robin, now=NOW
    )
    page = f"/admin/onboarding/{drydock.public_id}/"
    said = {
        "jurisdiction": "Ireland",
        "source": "event",
        "geography": "",
        "expected_size_usd": "",
        "classification": "",
    }
    assert "Written down." in client.post(page, said, follow=True).content.decode()
    drydock.refresh_from_db()
    assert (drydock.jurisdiction, drydock.source) == ("IE", "event")
    refused = client.post(page, {**said, "jurisdiction": "Atlantis"})
    assert refused.status_code == 422
    assert 'value="Atlantis"' in refused.content.decode()
    newcomer = onboarded.Newcomer(client=drydock, signers=[("Dora Keel", "dora@drydock.example")])
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    onboarded.complete([newcomer], checker=cast.cora, now=NOW)
    drydock.refresh_from_db()
    # The names as the form has them, and as they are approved.
    said |= {name: getattr(drydock, name) for name in ("geography", "classification")}
    said["expected_size_usd"] = f"{drydock.expected_size_usd:.0f}"
    for name, other, words in (
        ("jurisdiction", "CH", "jurisdiction"),
        ("source", "referral", "source"),
        ("geography", "asia", "geography"),
        ("expected_size_usd", "900000000", "expected size"),
    ):
        answer = client.post(page, {**said, name: other})
        assert answer.status_code == 422
        assert f"the {words} is part of the approved case: open a review to change it" in answer.content.decode()
    assert client.post(page, said).status_code == 302, "what stays the same is no change"
    # A review opens that door, and shuts the one to a new loan until compliance has agreed.
    kyc.open_case(drydock, by=cast.robin, now=NOW)
    assert client.post(page, {**said, "expected_size_usd": "900000000"}).status_code == 302
    drydock.refresh_from_db()
    assert drydock.expected_size_usd == 900_000_000
    (gap,) = onboarding.unready([drydock], now=NOW)[drydock.pk]
    assert gap.words == "the decision of compliance on the review: who they are was changed in it"
    # A case that was approved before the size was a part of it says nothing of the size.
    approved = kyc.in_force(drydock)
    assert approved
    approved.content["client"] = approved.content["client"][:4]
    assert not kyc.differs(approved, drydock)

"""The demo desk's managers have somebody to talk to: each column of the pipeline holds a prospect."""

import pytest
from django.test import Client as Browser

from deploy.demo import prospects
from lending.models import Client, Role
from tests.cast import NOW, Cast
from tests.factories import lending as make


@pytest.mark.django_db
def test_the_pipeline_of_the_demo_has_prospects_at_every_stage(cast: Cast, client: Browser) -> None:
    for name in ("rosa", "ravi"):
        make.staff(name, Role.RELATIONSHIP_MANAGER)
    prospects.load(now=NOW)
    stages = list(Client.objects.filter(loans=None, stage_at__lt=NOW).values_list("stage", flat=True))
    assert {stage: stages.count(stage) for stage in set(stages)} == {"prospect": 3, "onboarding": 2, "active": 1}
    client.force_login(cast.robin)
    page = client.get("/admin/pipeline/").content.decode()
    for mine in ("Imogen Tasker", "Ketteridge Options", "Halden Shipping Partners"):
        assert mine in page
    assert "Levant Bridge Capital" not in page

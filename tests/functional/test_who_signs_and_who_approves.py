"""Nobody makes themselves a signer of a client, and nobody approves a case on papers of their own."""

import uuid
from unittest import mock

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import onboarded, screened
from lending import approvals, authority, documents, kyc, onboarding
from lending.models import Notice, Role
from lending.people import UnableToGrant, invite
from tests.cast import NOW, Cast
from tests.functional.test_onboarding import LATER, file, filled, registered


def test_who_brought_a_paper_in_does_not_approve_it(cast: Cast, client: Browser) -> None:
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    screened.load(now=NOW)
    client.force_login(cast.robin)
    with time_machine.travel(LATER, tick=False):
        case = filled(client, registered(client))
    lines = onboarding.path(case.client, now=LATER).checklist.lines
    paper = next(line.document for line in lines if line.document and line.person is None)
    documents.add(case.client, file("b.pdf"), kind=paper.kind, name="b.pdf", by=cast.cora, now=LATER)
    asked = kyc.submit(case, maker=cast.robin, now=LATER)
    with pytest.raises(approvals.UnableToApprove, match="another approves it"):
        approvals.decide(asked, checker=cast.cora, approve=True, now=LATER)


def test_only_who_the_approved_case_names_signs_and_the_others_are_told(cast: Cast) -> None:
    firm = cast.harbourside
    people = {"invited_by": cast.robin, "origin": "https://desk.example", "now": NOW}
    admin, viewer = Role.BORROWER_ADMIN, Role.BORROWER_VIEWER
    named = authority.Matrix(
        firm, persons=dict.fromkeys(("alice@harbourside.example", "dora@keel.example"), uuid.uuid4())
    )
    with mock.patch.object(authority, "matrices", return_value={firm.pk: named}):
        with pytest.raises(UnableToGrant, match=r"does not name eve@private\.example as somebody who signs"):
            invite(firm, "eve@private.example", admin, name="Eve", **people)
        invite(firm, "Dora@keel.example", admin, name="Dora Keel", **people)
        invite(firm, "eve@private.example", viewer, name="Eve", **people)
    told = Notice.objects.filter(client=firm, kind="person_added").order_by("pk")
    assert [row.body.split(" from now on")[0] for row in told] == [
        "Dora Keel (dora@keel.example) may sign for Harbourside Trading",
        "Eve (eve@private.example) may look at what concerns Harbourside Trading",
    ]

"""Nobody makes themselves a signer of a client, and nobody approves a case on papers of their own."""

import uuid
from datetime import timedelta
from unittest import mock

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import onboarded, screened
from lending import approvals, authority, documents, kyc, onboarding, parties, people, screening
from lending.models import KycCase, Notice, Role
from lending.people import UnableToGrant, invite
from tests.cast import NOW, Cast
from tests.factories.lending import borrower
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


def test_a_person_signs_by_the_address_that_compliance_approved_and_by_no_other(cast: Cast) -> None:
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    yuki = people.register(
        name="Yuki Tanabe", kind="individual", jurisdiction="JP", time_zone="UTC", manager=cast.robin, now=NOW
    )
    inviting = {"name": "Yuki Tanabe", "invited_by": cast.robin, "origin": "https://desk.example", "now": NOW}
    case = kyc.open_case(yuki, by=cast.robin, now=NOW)
    words = "the e-mail address by which they sign for themself"
    assert words in [gap.words for gap in kyc.missing(case, now=NOW)]
    by_robin = {"country": "JP", "by": cast.robin, "now": NOW, "is_signer": True}
    themself = parties.add_party(case, name="Yuki Tanabe", email="yuki@tanabe.example", **by_robin)
    assert [gap.words for gap in kyc.missing(case, now=NOW) if gap.page == "people"] == []
    assert [subject.key for subject in screening.subjects([yuki])[yuki.pk]] == ["client"]
    # Nobody is let in as a signer before the case is approved, and then only who stands in it.
    with pytest.raises(UnableToGrant, match="does not name"):
        invite(yuki, themself.email, Role.BORROWER_ADMIN, **inviting)
    KycCase.objects.filter(pk=case.pk).update(
        state="approved", maker=cast.robin, checker=cast.cora, approved_at=NOW, risk_rating="low",
        review_date=NOW.date() + timedelta(days=300),
    )  # fmt: skip
    with pytest.raises(UnableToGrant, match=r"does not name robin@private\.example as somebody who signs"):
        invite(yuki, "robin@private.example", Role.BORROWER_ADMIN, **inviting)
    signer = invite(yuki, themself.email, Role.BORROWER_ADMIN, **inviting).user
    assert [row.user for row in authority.signers().filter(client=yuki)] == [signer]
    assert authority.require(signer, yuki, "accept") == authority.ALONE
    # An address that came in another way signs nothing.
    other = borrower("stranger", yuki)
    with pytest.raises(authority.UnableToSign, match=r"does not name stranger@client\.example as who signs"):
        authority.require(other, yuki, "accept")
    # Where somebody signs for them, too, the matrix says who may what.
    review = kyc.open_case(yuki, by=cast.robin, now=NOW)
    parties.add_party(review, name="Ken Tanabe", email="ken@tanabe.example", **by_robin)
    words = "which of them may accept offers, in the authority matrix"
    assert words in [gap.words for gap in kyc.missing(review, now=NOW)]

"""Compliance rules on who may borrow what, a second person agrees, and booking a loan says so before anybody types."""

from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.test import Client as Browser

from lending import approvals, eligibility
from lending.models import Approval, EligibilityRule, KycCase, Loan, User
from tests import stories
from tests.cast import Cast
from tests.functional.test_booking import LATER, at, terms

PAGE = "/admin/eligibility/"


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def test_a_rule_is_asked_for_checked_and_told_where_a_loan_is_booked(cast: Cast, client: Browser) -> None:
    product = stories.offered(cast).product
    client.force_login(cast.cora)
    said = {
        "act": "rule", "jurisdiction": "United Kingdom", "classification": "professional", "product": product.code,
        "allowed": "no", "reason": "the regulator has stopped it", "start_date": "2021-05-19",
    }  # fmt: skip
    for changes, says in (
        ({"jurisdiction": "Atlantis"}, "No country is called Atlantis"),
        ({"start_date": "19 May"}, "Enter a valid date"),
        ({"start_date": "2021-05-18"}, "Not asked: a rule can not begin in the past"),
        ({"reason": ""}, "This field is required"),
        ({"product": "nothing"}, "Select a valid choice"),
    ):
        answer = client.post(PAGE, {**said, **changes})
        assert answer.status_code == 422
        assert says in answer.content.decode()
    assert 'value="the regulator has stopped it"' in client.post(PAGE, {**said, "start_date": ""}).content.decode()
    page = client.post(PAGE, said, follow=True).content.decode()
    assert "Waits for a second person" in page
    request = Approval.objects.get()
    client.force_login(cast.dirk)
    decided = client.post(f"/admin/lending/approval/{request.pk}/approve/", follow=True)
    assert decided.status_code == 200
    assert EligibilityRule.objects.filter(allowed=False).exists()
    client.force_login(cast.robin)
    tried = {"jurisdiction": "GB", "classification": "professional", "product": product.code}
    assert "is not offered: the regulator has stopped it." in client.get(PAGE, tried).content.decode()
    tried["jurisdiction"] = "CH"
    assert "may be offered today" in client.get(PAGE, tried).content.decode()
    page = client.get(at(cast.harbourside, "preview"), terms(product)).content.decode()
    assert "a product that it is eligible for: the regulator has stopped it" in page
    sent = client.post(at(cast.harbourside, "terms"), {**terms(product), "act": "send"})
    assert sent.status_code == 422
    assert "is not eligible for Term loan in USD: the regulator has stopped it" in sent.content.decode()


def test_a_rule_is_ended_by_asking_and_only_compliance_asks(cast: Cast, client: Browser) -> None:
    rule = EligibilityRule.objects.get()
    said = {"act": "end", "rule": rule.pk, "end_date": "2021-06-30", "reason": "A new policy."}
    client.force_login(cast.robin)
    assert "End a rule" not in client.get(PAGE).content.decode()
    assert client.post(PAGE, said).status_code == 403
    client.force_login(cast.cora)
    late = client.post(PAGE, {**said, "end_date": "2021-05-01"})
    assert late.status_code == 422
    assert "Not asked: a rule ends after today, and after it began" in late.content.decode()
    page = client.post(PAGE, said, follow=True).content.decode()
    assert "end “Any clients in any country: every product allowed” on 2021-06-30" in page
    rule.refresh_from_db()
    assert rule.end_date is None


def test_a_rule_that_was_asked_for_twice_is_put_in_force_once(cast: Cast) -> None:
    said: dict[str, Any] = {
        "jurisdiction": "GB", "classification": "", "product": None, "allowed": False, "reason": "the regulator",
        "start_date": LATER.date(), "maker": cast.cora, "now": LATER,
    }  # fmt: skip
    first, second = eligibility.ask(**said), eligibility.ask(**said)
    approvals.decide(first, checker=cast.dirk, approve=True, now=LATER)
    with pytest.raises(approvals.UnableToApprove, match="a rule says so already, without an end"):
        approvals.decide(second, checker=cast.dirk, approve=True, now=LATER)
    assert EligibilityRule.objects.filter(jurisdiction="GB").count() == 1


def test_that_no_rule_allows_anything_is_told_to_who_can_mend_it(cast: Cast, client: Browser) -> None:
    """As on a desk that has just taken over the release in which rules began."""
    stories.offered(cast)

    def told(user: User) -> bool:
        client.force_login(user)
        return "No rule allows anything" in client.get("/admin/").content.decode()

    assert not told(cast.cora)
    ends = {"end_date": LATER.date(), "end_maker": cast.cora, "end_checker": cast.dirk}
    EligibilityRule.objects.filter(allowed=True).update(**ends)
    assert [told(user) for user in (cast.cora, cast.dirk, cast.robin)] == [True, True, False]


def test_what_is_missing_stands_on_the_booking_path_before_anybody_types(cast: Cast, client: Browser) -> None:
    product = stories.offered(cast).product
    KycCase.objects.filter(client=cast.harbourside).update(state="superseded")
    client.force_login(cast.robin)
    missing = f'<a href="/admin/onboarding/{cast.harbourside.public_id}/review/">'
    page = client.get("/admin/book/").content.decode()
    assert "can not be lent to yet" in page
    assert missing in page
    for name in ("people", "terms"):
        page = client.get(at(cast.harbourside, name)).content.decode()
        assert "Harbourside Trading can not be lent to yet" in page
        assert f"{missing}The case handed over to compliance</a>" in page
    sent = client.post(at(cast.harbourside, "terms"), {**terms(product), "act": "send"})
    assert sent.status_code == 422
    assert "Not offered: Harbourside Trading is not onboarded; still missing" in sent.content.decode()
    client.force_login(cast.alice)
    assert client.get(PAGE).status_code == 302, "not hers: sent to the way in"
    stopped = client.post(f"/portal/loans/{Loan.objects.get().public_id}/accept/", follow=True).content.decode()
    assert "Not accepted: Harbourside Trading is not onboarded" in stopped

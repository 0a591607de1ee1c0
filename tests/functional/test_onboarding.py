"""A client's way from prospect to its first offer: page by page, with what is missing in sight, and two persons."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser

from deploy.demo import onboarded, screened
from lending import approvals, kyc, onboarding, screening
from lending.models import (
    Approval,
    ChecklistItem,
    Client,
    Document,
    KycCase,
    RelatedParty,
    SignedAgreement,
    SigningRule,
)
from tests.cast import NOW, Cast
from tests.functional import trying

LATER = NOW + timedelta(minutes=2)
PDF = onboarded.specimen("A paper")


@pytest.fixture(autouse=True)
def _a_bit_later(cast: Cast) -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
        screened.load(now=NOW)
        yield


def at(client: Client, page: str = "") -> str:
    return f"/admin/onboarding/{client.public_id}/{page}"


def file(name: str = "paper.pdf", content: bytes = PDF) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, content_type="text/html")


def registered(browser: Browser, **changes: str) -> Client:
    asked = {
        "name": "Drydock Partners", "kind": "entity", "jurisdiction": "ch", "time_zone": "Europe/Zurich",
        "source": "referral", "geography": "europe", "expected_size_usd": "2500000",
        "classification": "professional", **changes,
    }  # fmt: skip
    browser.post("/admin/onboarding/new/", asked)
    return Client.objects.get(name=asked["name"])


def filled(browser: Browser, drydock: Client) -> KycCase:
    """Fill a case of an entity with all that its checklist asks for, through its pages."""
    browser.post(at(drydock, "review/"), {"act": "open", "back": "documents"})
    case = kyc.current(drydock)
    assert case
    person = {
        "act": "party", "name": "Dora Keel", "country": "ch", "birth_date": "1980-02-03",
        "email": "Dora@drydock.example", "share": "60", "is_director": "on", "is_signer": "on",
    }  # fmt: skip
    browser.post(at(drydock, "people/"), person)
    browser.post(at(drydock, "people/"), {"act": "rule", "action": "accept", "person": "", "signatures": "1"})
    for line in onboarding.path(drydock, now=LATER).checklist.lines:
        if line.item.kind == ChecklistItem.Kind.DOCUMENT:
            asked = {"act": "paper", "item": line.item.pk, "person": line.person or "", "paper": file()}
            if line.item.expires:
                asked["expires_date"] = "2025-01-31"
            browser.post(at(drydock, "documents/"), asked)
    codes = ("business", "source-of-funds", "purpose", "tax-residence")
    browser.post(at(drydock, "documents/"), {"act": "answers"} | {f"fact-{code}-": f"Their {code}." for code in codes})
    browser.post(
        at(drydock, "review/"),
        {"act": "rate", "risk_rating": "medium", "rating_reason": "Plain trading firm.", "review_date": "2022-05-01"},
    )
    screening.screen_due(now=LATER)
    return case


def approved(browser: Browser, cast: Cast, drydock: Client) -> KycCase:
    case = filled(browser, drydock)
    browser.post(at(drydock, "review/"), {"act": "submit"})
    approvals.decide(Approval.objects.get(kind="kyc_case"), checker=cast.cora, approve=True, now=LATER)
    case.refresh_from_db()
    return case


def test_a_prospect_goes_the_whole_way(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    assert (drydock.stage, drydock.jurisdiction, drydock.expected_size_usd) == ("prospect", "CH", Decimal(2_500_000))
    page = client.get(at(drydock)).content.decode()
    assert "Next: a case: open it" in page
    case = filled(client, drydock)
    drydock.refresh_from_db()
    assert drydock.stage == Client.Stage.ONBOARDING
    assert kyc.missing(case, now=LATER) == []
    assert [line.item.code for line in onboarding.path(drydock, now=LATER).checklist.lines].count("identity") == 1
    page = client.get(at(drydock, "review/")).content.decode()
    assert "Hand over to compliance" in page
    page = client.post(at(drydock, "review/"), {"act": "submit"}, follow=True).content.decode()
    assert "waits for somebody of compliance" in page

    request = Approval.objects.get(kind="kyc_case")
    client.force_login(cast.cora)
    page = client.get(f"/admin/lending/approval/{request.pk}/change/").content.decode()
    assert "Robin asks to put a KYC case in force: Drydock Partners" in page
    assert "Certificate of incorporation" in page
    assert "Dora Keel" in page
    page = client.post(
        f"/admin/lending/approval/{request.pk}/approve/", {"reason": "Seen."}, follow=True
    ).content.decode()
    assert "Approved by you" in page
    case.refresh_from_db()
    assert (case.state, case.maker, case.checker) == (KycCase.State.APPROVED, cast.robin, cast.cora)
    assert case.content["people"][0]["name"] == "Dora Keel"

    client.force_login(cast.robin)
    version = onboarded.AgreementVersion.objects.get(code="2020-01")
    dora = RelatedParty.objects.get(case=case)
    page = client.post(
        at(drydock, "agreement/"),
        {"version": version.pk, "signers": [str(dora.person)], "signed_date": "2021-05-19", "paper": file("a b.pdf")},
        follow=True,
    ).content.decode()
    assert "Recorded, with the hash of the paper" in page
    signed = SignedAgreement.objects.get(client=drydock)
    assert (signed.signed_by, signed.document.name) == ("Dora Keel", "a b.pdf")
    drydock.refresh_from_db()
    assert drydock.stage == Client.Stage.ACTIVE
    path = onboarding.path(drydock, now=LATER)
    assert [gap.page for step in path.steps for gap in step.gaps] == ["portal", "offer", "funded"]
    board = client.get("/admin/pipeline/").content.decode()
    assert "somebody who signs in and can sign" in board


def test_nobody_approves_what_they_made_or_whom_they_manage(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    filled(client, drydock := registered(client))
    client.post(at(drydock, "review/"), {"act": "submit"})
    request = Approval.objects.get(kind="kyc_case")
    for who in ("robin", "olga", "rhea", "rolf"):
        client.force_login(getattr(cast, who))
        client.post(f"/admin/lending/approval/{request.pk}/approve/")
        request.refresh_from_db()
        assert request.state == Approval.State.REQUESTED
    assert kyc.in_force(drydock) is None


def test_what_changed_after_it_was_handed_over_is_not_approved(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    case = filled(client, drydock := registered(client))
    client.post(at(drydock, "review/"), {"act": "submit"})
    request = Approval.objects.get(kind="kyc_case")
    kyc.answer(case, "purpose", "Something else entirely.", by=cast.robin, now=LATER)
    with pytest.raises(approvals.UnableToApprove, match="changed after it was handed over"):
        approvals.decide(request, checker=cast.cora, approve=True, now=LATER)
    kyc.answer(case, "purpose", "Their purpose.", by=cast.robin, now=LATER)
    for name, other in (("source", "event"), ("geography", "asia"), ("expected_size_usd", 900_000_000)):
        before = getattr(drydock, name)
        Client.objects.filter(pk=drydock.pk).update(**{name: other})
        with pytest.raises(approvals.UnableToApprove, match="changed after it was handed over"):
            approvals.decide(request, checker=cast.cora, approve=True, now=LATER)
        Client.objects.filter(pk=drydock.pk).update(**{name: before})
    assert approvals.decide(request, checker=cast.cora, approve=True, now=LATER).state == Approval.State.EXECUTED


def test_an_approved_case_stays_and_a_review_begins_with_what_it_holds(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    first = approved(client, cast, drydock)
    page = client.post(at(drydock, "people/"), {"act": "rule", "action": "repay", "person": "", "signatures": "1"})
    assert page.status_code == 422
    assert "open a review" in page.content.decode()
    client.post(at(drydock, "review/"), {"act": "open", "back": "people"})
    second = kyc.current(drydock)
    assert second
    assert second.pk != first.pk
    assert RelatedParty.objects.get(case=second).person == RelatedParty.objects.get(case=first).person
    assert kyc.in_force(drydock) == first
    client.post(
        at(drydock, "review/"),
        {"act": "rate", "risk_rating": "high", "rating_reason": "Grew.", "review_date": "2022-05-01"},
    )
    page = client.post(at(drydock, "review/"), {"act": "submit"}, follow=True).content.decode()
    assert "Audited accounts: not there" in page, "asked of whom is of high risk"
    item = ChecklistItem.objects.get(code="audited-accounts", client_kind="entity").pk
    client.post(at(drydock, "documents/"), {"act": "paper", "item": item, "person": "", "paper": file()})
    client.post(at(drydock, "review/"), {"act": "submit"})
    request = Approval.objects.get(kind="kyc_case", state="requested")
    approvals.decide(request, checker=cast.cora, approve=True, now=LATER)
    first.refresh_from_db()
    assert first.state == KycCase.State.SUPERSEDED
    assert kyc.in_force(drydock) == second


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "Who is it?"),
        ({"country": "Swissland"}, "No country is called Swissland"),
        ({"country": "4X"}, "No country is called 4X"),
        ({"email": "nobody"}, "Enter a valid email address"),
        ({"email": ""}, "known by an e-mail address"),
        ({"share": "120"}, "less than or equal to 100"),
        ({"share": "0"}, "greater than or equal to 0.01"),
        ({"share": "much"}, "Enter a number"),
        ({"share": "", "is_director": "", "is_signer": ""}, "say what they are"),
        ({"birth_date": "long ago"}, "Enter a valid date"),
    ],
)
def test_people_who_can_not_be_added(cast: Cast, client: Browser, changes: dict[str, str], says: str) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    client.post(at(drydock, "review/"), {"act": "open", "back": "people"})
    person = {
        "act": "party", "name": "Dora Keel", "country": "CH", "email": "dora@drydock.example", "share": "60",
        "is_director": "on", "is_signer": "on", **changes,
    }  # fmt: skip
    answer = client.post(at(drydock, "people/"), {name: value for name, value in person.items() if value})
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not RelatedParty.objects.filter(client=drydock).exists()


def test_shares_are_never_more_than_the_whole(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    client.post(at(drydock, "review/"), {"act": "open", "back": "people"})
    for name in ("Dora", "Dirk"):
        answer = client.post(at(drydock, "people/"), {"act": "party", "name": name, "country": "CH", "share": "60"})
    assert "all shares together would be 120 %" in answer.content.decode()
    assert RelatedParty.objects.filter(client=drydock).count() == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"up_to": "1000"}, "a limit is an amount above zero of an asset"),
        ({"up_to": "-5"}, "a limit is an amount above zero of an asset"),
        ({"action": "repay", "signatures": "2"}, "done by one person at once"),
        ({"person": "somebody"}, "Select a valid choice"),
        ({"action": "everything"}, "Select a valid choice"),
        ({"signatures": "3"}, "Select a valid choice"),
    ],
)
def test_lines_that_no_matrix_has(cast: Cast, client: Browser, changes: dict[str, str], says: str) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    client.post(at(drydock, "review/"), {"act": "open", "back": "people"})
    rule = {"act": "rule", "action": "accept", "person": "", "signatures": "1", "up_to": "", "asset": "", **changes}
    answer = client.post(at(drydock, "people/"), rule)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not SigningRule.objects.filter(client=drydock).exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rating_reason": " "}, "This field is required"),
        ({"review_date": "2021-05-19"}, "looked at again after today"),
        ({"risk_rating": "high", "review_date": "2022-12-31"}, "by 20 May 2022"),
        ({"risk_rating": "none"}, "Select a valid choice"),
    ],
)
def test_ratings_that_do_not_hold(cast: Cast, client: Browser, changes: dict[str, str], says: str) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    client.post(at(drydock, "review/"), {"act": "open", "back": "review"})
    asked = {"act": "rate", "risk_rating": "low", "rating_reason": "Known.", "review_date": "2022-01-01", **changes}
    answer = client.post(at(drydock, "review/"), asked)
    assert answer.status_code == 422
    assert says in answer.content.decode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"time_zone": "Mars/Olympus"}, "That is no time zone"),
        ({"jurisdiction": ""}, "This field is required"),
        ({"jurisdiction": "4X"}, "No country is called 4X"),
        ({"jurisdiction": "UN"}, "No country is called UN"),
        ({"jurisdiction": "Atlantis"}, "No country is called Atlantis"),
        ({"expected_size_usd": "-1"}, "greater than or equal to 0.01"),
        ({"source": "a friend"}, "Select a valid choice"),
    ],
)
def test_a_prospect_that_can_not_be_registered_keeps_what_was_typed(
    cast: Cast, client: Browser, changes: dict[str, str], says: str
) -> None:
    client.force_login(cast.robin)
    asked = {"name": "Drydock", "kind": "entity", "jurisdiction": "CH", "time_zone": "UTC", **changes}
    answer = client.post("/admin/onboarding/new/", asked)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert 'value="Drydock"' in answer.content.decode()
    assert not Client.objects.filter(name="Drydock").exists()


def test_a_case_with_gaps_is_not_handed_over_and_says_all_of_them(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = registered(client, source="", classification="")
    client.post(at(drydock, "review/"), {"act": "open", "back": "review"})
    page = client.post(at(drydock, "review/"), {"act": "submit"}, follow=True).content.decode()
    for words in ("how the client came to us", "its classification", "Certificate of incorporation: not there",
                  "What the loans are for: not answered", "an owner", "a risk rating"):  # fmt: skip
        assert words in page
    assert not Approval.objects.exists()


def test_the_checklist_is_that_of_the_day_and_the_country(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    american = registered(client, name="Prairie", jurisdiction="us")
    kyc.open_case(american, by=cast.robin, now=LATER)
    asked = {line.item.code for line in onboarding.path(american, now=LATER).checklist.lines}
    assert "w-9" in asked
    ended = {"end_date": LATER.date(), "end_maker": cast.cora, "end_checker": cast.dirk}
    ChecklistItem.objects.filter(code="w-9").update(**ended)
    asked = {line.item.code for line in onboarding.path(american, now=LATER).checklist.lines}
    assert "w-9" not in asked
    ChecklistItem.objects.filter(client_kind="entity", end_date=None).update(**ended)
    gaps = kyc.missing(kyc.current(american), now=LATER)  # type: ignore[arg-type]
    assert any("none is in force" in gap.words for gap in gaps)


def test_pages_hold_their_queries(cast: Cast, client: Browser, django_assert_max_num_queries) -> None:
    client.force_login(cast.robin)
    for n in range(3):
        approved_or_not = registered(client, name=f"More {n}")
        filled(client, approved_or_not)
    for page in ("", "documents/", "people/", "review/", "agreement/"):
        with django_assert_max_num_queries(12):
            client.get(at(approved_or_not, page))
    with django_assert_max_num_queries(12):
        client.get("/admin/pipeline/")


def test_who_only_looks_changes_nothing(cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.post(at(cast.quayside, "review/"), {"act": "open", "back": "review"}, follow=True).content.decode()
    assert "Refused" in page
    assert not KycCase.objects.filter(state=KycCase.State.OPEN).exists()


def test_papers_and_reviews_that_fall_due_stand_on_the_managers_home(cast: Cast, client: Browser) -> None:
    client.force_login(cast.robin)
    drydock = registered(client)
    onboarded.complete([onboarded.Newcomer(client=drydock, signers=[("Dora", "dora@drydock.example")])],
                       checker=cast.cora, now=NOW)  # fmt: skip
    assert "Nothing falls due" in client.get("/admin/").content.decode()
    passport = Document.objects.get(kind="identity")
    with time_machine.travel(NOW + timedelta(days=1480), tick=False):
        client.force_login(cast.robin)
        page = client.get("/admin/").content.decode()
    assert "expires: Identity</a>" in page
    assert passport.name in page
    assert "look at the case again" in page


def test_a_complete_case_is_one_that_its_pages_call_complete(cast: Cast, client: Browser) -> None:
    person = Client.objects.create(
        name="Yuki Tanabe", kind="individual", jurisdiction="US", relationship_manager=cast.robin, created_at=NOW
    )
    client.force_login(cast.robin)
    newcomers = [
        onboarded.Newcomer(client=registered(client), signers=[("Dora", "dora@drydock.example")]),
        onboarded.Newcomer(client=person, signers=[("Yuki", "yuki@client.example")]),
    ]
    onboarded.complete(newcomers, checker=cast.cora, now=NOW)
    for one in newcomers:
        gaps = [gap.page for step in onboarding.path(one.client, now=LATER).steps for gap in step.gaps]
        assert set(gaps) <= {"portal", "offer", "funded"}
        assert kyc.in_force(one.client).content["documents"]  # type: ignore[union-attr]


def test_only_compliance_publishes_an_agreement(cast: Cast, client: Browser) -> None:
    asked = {"code": "2021-06", "title": "Master loan agreement", "start_date": "2021-06-01"}
    client.force_login(cast.robin)
    client.post("/admin/agreements/", {**asked, "paper": file()})
    assert not onboarded.AgreementVersion.objects.filter(code="2021-06").exists()
    client.force_login(cast.cora)
    page = client.post("/admin/agreements/", {**asked, "paper": file()}, follow=True).content.decode()
    assert "version 2021-06 is published" in page
    for changes, says in (
        ({"code": "2021-06"}, "there is a version 2021-06 already"),
        ({"code": "2021-07", "start_date": "2021-05-01"}, "can not begin in the past"),
        ({"code": "a b"}, "One word of letters, digits"),
    ):
        answer = client.post("/admin/agreements/", {**asked, **changes, "paper": file()})
        assert answer.status_code == 422
        assert says in answer.content.decode()
    with time_machine.travel(NOW + timedelta(days=20), tick=False):  # it counts from June on
        client.force_login(cast.robin)
        trying.hold(trying.of_page(client, f"/admin/onboarding/{cast.harbourside.public_id}/agreement/"))

"""A newcomer's path: a prospect is onboarded page by page, offered a loan by its manager, and the loan is funded."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core import mail
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from deploy.demo import onboarded, screened
from lending import collateral, outbox, screening
from lending.models import Approval, Client, KycCase, Loan, LoanState, SignedAgreement
from tests import stories
from tests.browser.visitor import Visitor
from tests.cast import NOW, Cast, assemble
from tests.factories.lending import ProductFactory

pytestmark = pytest.mark.browser

SECRET = "plumb-line-and-lead-77"
MISSING = ".lines li:has(.badge.warn)"


def put(field: WebElement, value: str) -> None:
    """Give a field its value as a person would, whatever its kind."""
    if field.tag_name == "select":
        Select(field).select_by_value(value)
    elif field.get_attribute("type") == "date":  # typed in the order of the browser's language: set as a picker does
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
        field.parent.execute_script(script, field, value)
    elif field.get_attribute("type") == "file":
        field.send_keys(value)
    elif field.get_attribute("type") == "checkbox":
        if not field.is_selected():
            field.click()
    else:
        field.clear()
        field.send_keys(value)


def write(visitor: Visitor, within: str = "", **values: str) -> None:
    """Type into fields by their names."""
    for name, value in values.items():
        visitor.find(f"{within} [name='{name}']").do(lambda field, value=value: put(field, value))


def settled(visitor: Visitor) -> None:
    """Wait for the parts of a page that are fetched by themselves: leaving earlier cuts them off."""
    visitor.wait(lambda: visitor.all("main") and not visitor.all("main .loading"), "the parts that are fetched")


def papers_are_taken_in(visitor: Visitor, paper: Path) -> None:
    """Add a file to every line of the checklist that misses one."""
    while left := len(visitor.all(MISSING)):
        visitor.find(f"{MISSING} summary").click()
        if visitor.all(f"{MISSING} [name=expires_date]"):
            write(visitor, MISSING, expires_date="2026-01-31")
        write(visitor, MISSING, paper=str(paper))
        visitor.find(f"{MISSING} details[open] button").click()
        visitor.wait(lambda left=left: visitor.all(".lines li") and len(visitor.all(MISSING)) < left, "one paper less")


def case_is_filled(visitor: Visitor, paper: Path) -> None:
    """Open a case, and fill in who is behind the client, its papers and answers, and the rating."""
    visitor.reads("#next", "a case: open it")
    visitor.find(".stages a[href$='/people/']").click()
    visitor.called("Open a case").click()
    visitor.reads("main", "A case is open")
    form = "form[aria-label='Add a person']"
    write(visitor, form, name="Dora Keel", country="ch", email="dora@drydock.example", share="100")
    write(visitor, form, is_director="on", is_signer="on")
    visitor.called("Add the person").click()
    visitor.reads("main", "Dora Keel is added")
    write(visitor, "form[aria-label='Add a line to the matrix']", action="accept")
    visitor.called("Add the line").click()
    visitor.reads("main", "The matrix has a new line")
    visitor.find(".stages a[href$='/documents/']").click()
    visitor.reads("main", "Certificate of incorporation")
    papers_are_taken_in(visitor, paper)
    for code in ("business", "source-of-funds", "purpose", "tax-residence"):
        write(visitor, **{f"fact-{code}-": f"What was said of {code}."})
    visitor.called("Write the answers down").click()
    visitor.reads("main", "Written down")
    visitor.find(".stages a[href$='/review/']").click()
    write(visitor, risk_rating="medium", rating_reason="A plain trading firm.", review_date="2022-05-01")
    visitor.called("Rate").click()
    visitor.reads("main", "Rated")
    visitor.reads("main", "to be done")
    screening.screen_due(now=NOW)  # as the beat does every few seconds
    visitor.driver.refresh()
    visitor.reads("main", "no open match")
    visitor.called("Hand over to compliance").click()
    visitor.reads("main", "It waits for somebody of compliance")


def case_is_approved(visitor: Visitor, cast: Cast) -> None:
    """Have somebody of compliance read the case where it waits, and approve it."""
    visitor.sign_in(cast.cora.email)
    visitor.open("/admin/")
    settled(visitor)
    visitor.called("KYC case").click()
    visitor.reads("main", "Dora Keel")
    visitor.called("Approve").click()
    visitor.reads("main", "Approved by you, as the second person")
    assert KycCase.objects.get(client__name="Drydock Partners", state="approved").checker == cast.cora


def test_a_prospect_becomes_a_client_with_a_funded_loan(visitor: Visitor, tmp_path: Path) -> None:
    cast = assemble()
    onboarded.rules(by=cast.cora, second=cast.rolf, now=NOW)
    screened.load(now=NOW)
    paper = tmp_path / "paper.pdf"
    paper.write_bytes(onboarded.specimen("A paper"))
    product = ProductFactory(code="term-usd", name="Term loan in USD")
    stories.market("40000", at=NOW + timedelta(minutes=2))

    # robin takes the client on
    assert visitor.sign_in(cast.robin.email) == "/admin/"
    settled(visitor)
    visitor.find('.house-menu a[href="/admin/pipeline/"]').click()
    visitor.reads("main", "No prospect")
    visitor.find('.house-tools a[href="/admin/onboarding/new/"]').click()
    write(visitor, name="Drydock Partners", kind="entity", jurisdiction="ch", time_zone="Europe/Zurich")
    write(visitor, source="referral", geography="europe", expected_size_usd="2500000", classification="professional")
    visitor.called("Register and go on").click()
    visitor.reads("main", "Still missing")
    drydock = Client.objects.get(name="Drydock Partners")
    case_is_filled(visitor, paper)
    case_is_approved(visitor, cast)

    # the signed agreement, then somebody who signs in
    visitor.sign_in(cast.robin.email)
    visitor.open("/admin/pipeline/")
    visitor.reads(f"[data-client='{drydock.public_id}'] .next", "the master agreement")
    visitor.find(f"[data-client='{drydock.public_id}'] .next a").click()
    visitor.find("[name=signers]").click()
    write(visitor, signed_date="2021-05-19", paper=str(paper))
    visitor.called("Record it").click()
    visitor.reads("main", "Recorded, with the hash of the paper")
    assert SignedAgreement.objects.get(client=drydock).signed_by == "Dora Keel"
    visitor.find("section[aria-labelledby=missing] a[href$='/people/']").click()
    visitor.reads(".stages", "nobody can sign yet")
    write(visitor, name="Dora", email="dora@drydock.example", role="borrower_admin")
    visitor.called("Add and send the link").click()
    visitor.reads("main", "invited")

    # and types the terms, while the preview follows
    visitor.called("Go on to the terms").click()
    visitor.reads("#missing", "the collateral")
    write(visitor, product=str(product.pk), principal="600000", rate="10", maturity_date="2021-11-19")
    write(visitor, collateral_BTC="20")
    visitor.reads("#preview", "75.00 %")
    visitor.reads("#missing", "enough collateral")
    write(visitor, collateral_BTC="30")
    visitor.reads("#preview-ltv", "50.00 %")
    visitor.reads("#missing", "Nothing is missing")
    visitor.reads("#preview", "28,571.43")
    visitor.called("Go on to the review").click()
    visitor.reads("main", "What Drydock Partners will read")
    visitor.called("Send the offer").click()
    visitor.reads("main", "The offer is out")
    settled(visitor)
    loan = Loan.objects.get()
    assert loan.state == LoanState.QUOTED

    # dora chooses a password by the letter and accepts
    outbox.deliver_due(now=NOW + timedelta(minutes=3))
    link = re.search(r"/sign-in/first/\S+", str(mail.outbox[0].body))
    assert link
    visitor.driver.delete_all_cookies()
    visitor.open(link[0])
    write(visitor, new_password1=SECRET, new_password2=SECRET)
    visitor.called("Keep it and sign in").click()
    visitor.wait(lambda: visitor.path == "/portal/", "her door")
    visitor.open(f"/portal/loans/{loan.public_id}/")
    visitor.called("Accept this loan").click()
    visitor.wait(lambda: Loan.objects.get().state == LoanState.ACCEPTED, "the acceptance")

    # robin may not approve what robin offered; rhea may
    visitor.sign_in(cast.robin.email)
    settled(visitor)
    row = visitor.find(f'tr[data-loan="{loan.public_id}"]').text
    assert "anybody of risk but Robin" in row
    assert "(you may)" not in row
    visitor.sign_in(cast.rhea.email)
    visitor.open("/admin/")
    settled(visitor)
    visitor.reads(f'tr[data-loan="{loan.public_id}"]', "(you may)")
    visitor.find(f'tr[data-loan="{loan.public_id}"] a').click()
    visitor.wait(lambda: "/lending/loan/" in visitor.path, "the loan's page")
    settled(visitor)
    visitor.called("Approve").click()
    visitor.reads("main", "Approved by you, as the second person")
    settled(visitor)
    loan.refresh_from_db()
    assert (loan.state, loan.made_by, loan.approved_by) == (LoanState.APPROVED, cast.robin, cast.rhea)

    # olga asks for the collateral, it arrives, and she funds
    visitor.sign_in(cast.olga.email)
    visitor.open(f"/admin/lending/loan/{loan.pk}/change/")
    settled(visitor)
    visitor.called("Ask for the collateral").click()
    visitor.wait(lambda: Loan.objects.get().state == LoanState.COLLATERAL_PENDING, "the addresses asked for")
    settled(visitor)
    bitcoin = stories.deposited(drydock, "BTC", Decimal(30))
    collateral.pledge(loan.margin_account, bitcoin, Decimal(30), key=f"pledge:{loan.public_id}", now=NOW)
    visitor.called("Check the collateral and fund").click()
    visitor.wait(lambda: Loan.objects.get().state == LoanState.ACTIVE, "the funded loan")
    settled(visitor)
    visitor.open(f"/admin/onboarding/{drydock.public_id}/")
    visitor.reads("#next", "The first loan is funded")
    assert not Approval.objects.filter(state=Approval.State.REQUESTED).exists()
    # htmx reports a part that was cut off by leaving its page; whatever else goes wrong is reported by the browser too
    assert [words for words in visitor.complaints() if "htmx:" not in words] == []

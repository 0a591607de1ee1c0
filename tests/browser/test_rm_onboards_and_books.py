"""A relationship manager's day: a new client, its signer, an offer typed with its preview in sight, a second person."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from lending import outbox
from lending.models import Loan, LoanState
from tests import stories
from tests.browser.visitor import Visitor
from tests.cast import NOW, assemble
from tests.factories.lending import ProductFactory

pytestmark = pytest.mark.browser

SECRET = "plumb-line-and-lead-77"


def put(field: WebElement, value: str) -> None:
    """Give a field its value as a person would, whatever its kind."""
    if field.tag_name == "select":
        Select(field).select_by_value(value)
    elif field.get_attribute("type") == "date":  # typed in the order of the browser's language: set as a picker does
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"
        field.parent.execute_script(script, field, value)
    else:
        field.clear()
        field.send_keys(value)


def write(visitor: Visitor, **values: str) -> None:
    """Type into fields by their names."""
    for name, value in values.items():
        visitor.find(f"[name={name}]").do(lambda field, value=value: put(field, value))


def settled(visitor: Visitor) -> None:
    """Wait for the parts of a page that are fetched by themselves: leaving earlier cuts them off."""
    visitor.wait(lambda: visitor.all("main") and not visitor.all("main .loading"), "the parts that are fetched")


def test_a_client_is_onboarded_and_its_loan_booked_and_approved(visitor: Visitor) -> None:
    cast = assemble()
    product = ProductFactory(code="term-usd", name="Term loan in USD")
    stories.market("40000", at=NOW + timedelta(minutes=2))

    # robin takes the client on
    assert visitor.sign_in(cast.robin.email) == "/admin/"
    settled(visitor)
    visitor.find('.house-menu a[href="/admin/book/"]').click()
    write(visitor, name="Drydock Partners", kind="entity", jurisdiction="ch", time_zone="Europe/Zurich")
    visitor.called("Register and go on").click()
    visitor.wait(lambda: visitor.path.endswith("/people/"), "the people of the client")
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
    visitor.wait(lambda: visitor.path.partition("?")[0] == "/sign-in/", "the sign-in")
    assert visitor.sign_in("dora@drydock.example", SECRET) == "/portal/"
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
    # htmx reports a part that was cut off by leaving its page; whatever else goes wrong is reported by the browser too
    assert [words for words in visitor.complaints() if "htmx:" not in words] == []

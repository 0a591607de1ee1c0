"""Other terms for a loan that runs: proposed in the admin, signed in the portal, and what is printed is what runs."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from io import BytesIO

import pytest
import time_machine
from django.test import Client as Browser
from pypdf import PdfReader

from lending import amendments, interest, schedules, term_sheets
from lending.models import Amendment, Loan, Obligation
from lending.papers import term_sheet
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(days=3, hours=2)
TYPED = {
    "annual_rate": "7.5", "default_rate": "15", "maturity_date": "2022-02-19", "from_at": "", "hours": "24",
    "reason": "six good months",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _some_days_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def signed_in(user: object) -> Browser:
    browser = Browser()
    browser.force_login(user)  # type: ignore[arg-type]
    return browser


def read(user: object, address: str) -> str:
    answer = signed_in(user).get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def printed(sheet: object) -> list[str]:
    paper = term_sheet.render(sheet)  # type: ignore[arg-type]
    return [line.strip() for page in PdfReader(BytesIO(paper)).pages for line in page.extract_text().splitlines()]


def test_an_amendment_goes_from_the_manager_to_risk_to_the_client(cast: Cast) -> None:
    loan = stories.running(cast)
    robin, rhea, alice = map(signed_in, (cast.robin, cast.rhea, cast.alice))
    assert f"/admin/amend/{loan.pk}/" in read(cast.robin, f"/admin/lending/loan/{loan.pk}/change/")
    assert f"/admin/amend/{loan.pk}/" not in read(cast.rhea, f"/admin/lending/loan/{loan.pk}/change/")
    # The manager looks first, then proposes.
    looked = robin.post(f"/admin/amend/{loan.pk}/", {**TYPED, "act": "preview"}).content.decode()
    for words in ("Falls due at 00:00 UTC on", "19 Nov 2021", "19 Feb 2022", "10 %", "7.5 %", "Interest left to pay"):
        assert words in looked, words
    assert not Amendment.objects.exists()
    answer = robin.post(f"/admin/amend/{loan.pk}/", {**TYPED, "act": "propose"}, follow=True)
    row = Amendment.objects.select_related("sheet", "loan").get()
    address = f"/admin/lending/amendment/{row.pk}/change/"
    assert answer.redirect_chain == [(address, 302)]
    assert "Approve" not in answer.content.decode().split("Decide")[1].split("</form>")[0]
    assert "Approve other terms as the second person" in read(cast.robin, "/admin/")
    # Before the desk has approved it, the client knows nothing of it.
    for door in (f"/portal/amendments/{row.public_id}/", f"/portal/loans/{loan.public_id}/term-sheet/2/"):
        assert alice.get(door).status_code == 404
    home = read(cast.rhea, "/admin/")
    assert address in home
    assert "Approve other terms as the second person <strong>(you may)</strong>" in home
    answer = rhea.post(f"/admin/lending/amendment/{row.pk}/approve/", follow=True)
    assert "The client is asked to sign" in answer.content.decode()
    # Who is to sign reads the same in the pipeline and on the loan's page.
    assert f'data-label="Waits for"><span>{cast.alice}</span>' in read(cast.robin, "/admin/")
    assert f"<dt>Waits for</dt><dd>{cast.alice}</dd>" in read(cast.robin, f"/admin/lending/loan/{loan.pk}/change/")
    # The client finds it on the home page, reads both versions of each term, and signs by the hash.
    assert f"/portal/amendments/{row.public_id}/" in read(cast.alice, "/portal/")
    assert f"/portal/amendments/{row.public_id}/" in read(cast.alice, f"/portal/loans/{loan.public_id}/")
    page = read(cast.alice, f"/portal/amendments/{row.public_id}/")
    for words in ("7.5 %", "10 %", row.sheet.fingerprint, "six good months", "Sign this change"):
        assert words in page, words
    assert "Sign this change" not in read(cast.bob, f"/portal/amendments/{row.public_id}/")
    answer = alice.post(f"/portal/amendments/{row.public_id}/sign/", {"sheet": "0" * 64}, follow=True)
    assert "no longer those that you read" in answer.content.decode()
    sent = {"sheet": row.sheet.fingerprint}
    answer = alice.post(f"/portal/amendments/{row.public_id}/sign/", sent, follow=True)
    assert "Signed. The loan runs by the new version" in answer.content.decode()
    loan.refresh_from_db()
    assert (loan.annual_rate, loan.maturity_date) == (Decimal("0.075"), date(2022, 2, 19))
    page = read(cast.alice, f"/portal/loans/{loan.public_id}/")
    assert "Version 2" in page
    trail = read(cast.robin, f"/admin/lending/loan/{loan.pk}/story/")
    assert "amended by version 2 of its term sheet" in trail
    assert "as it was amended last" in read(cast.alice, f"/portal/loans/{loan.public_id}/payments/")
    what_is_printed_is_what_runs(loan)


def what_is_printed_is_what_runs(loan: Loan) -> None:
    """Version 2 says on paper what the columns, the rate and the schedule are, and what it changed."""
    loan = Loan.objects.select_related("asset", "margin_account__terms").get(pk=loan.pk)
    sheet = term_sheets.versions(loan).get(version=2)
    drawn, lines = term_sheets.of(sheet), printed(sheet)
    assert {name: getattr(loan, name) for name in drawn.loan} == drawn.loan
    assert {name: getattr(loan.margin_account.terms, name) for name in drawn.ladder} == drawn.ladder
    at = lines.index("What it changes about version 1")
    rows = ["Interest a year", "10 %", "7.5 %", "Falls due at 00:00 UTC on", "19 Nov 2021", "19 Feb 2022"]
    assert lines[at + 1 : at + 10] == ["Term", "As it is", "As it will be", *rows]
    label = [n for n, line in enumerate(lines) if line == "Interest a year"][-1]
    assert lines[label + 1] == "7.5 %"
    runs_by = schedules.of_loan(loan, now=LATER)
    assert term_sheets.schedule_of(drawn) == runs_by
    assert lines[lines.index("Left to pay in all") + 1] == f"{runs_by.total:,.2f} USD"
    assert f"SHA-256 of version 1: {term_sheets.versions(loan).get(version=1).fingerprint}" in lines
    ahead = Obligation.objects.get(loan=loan, state="expected")
    assert (ahead.due_date, ahead.interest) == (loan.maturity_date, runs_by.interest)
    # What the schedule asks for at the end is what pays the loan off then.
    assert interest.payoff(loan, now=ahead.due_at).total == runs_by.total


BAD = [
    ({"annual_rate": "75"}, "a default rate of 0.15 is below the annual rate"),
    ({"annual_rate": "-1"}, "greater than or equal to 0"),
    ({"annual_rate": "cheap"}, "Enter a number"),
    ({"default_rate": ""}, "This field is required"),
    ({"maturity_date": "2021-05-19"}, "can not mature on 19 May 2021"),
    ({"maturity_date": "someday"}, "Enter a valid date"),
    ({"maturity_date": "2072-02-19"}, "19 Feb 2072 is more than 50 years off"),
    ({"maturity_date": "9999-12-31"}, "The year 9999 is a slip"),
    ({"from_at": "9999-12-31T23:59"}, "The year 9999 is a slip"),
    ({"hours": "0"}, "greater than or equal to 1"),
    ({"reason": ""}, "This field is required"),
    ({"reason": "x" * 401}, "at most 400 characters"),
    ({"from_at": "2021-05-20T00:00", "maturity_date": "2021-11-19"}, "rates never count back"),
    ({"from_at": "2021-06-20T00:00"}, "a later instant is for rates alone"),
    ({"annual_rate": "10", "maturity_date": "2021-11-19"}, "nothing would change"),
]


def test_what_can_not_be_is_refused_beside_what_was_typed(cast: Cast) -> None:
    loan = stories.running(cast)
    robin = signed_in(cast.robin)
    for typed, words in BAD:
        answer = robin.post(f"/admin/amend/{loan.pk}/", {**TYPED, **typed, "act": "propose"})
        assert (answer.status_code, words in answer.content.decode()) == (422, True), (typed, words)
        assert f'value="{typed.get("hours", "24")}"' in answer.content.decode()
    assert not Amendment.objects.exists()


def test_who_declines_says_why_and_the_loan_runs_on(cast: Cast) -> None:
    loan = stories.running(cast)
    signed_in(cast.robin).post(f"/admin/amend/{loan.pk}/", {**TYPED, "act": "propose"})
    row = Amendment.objects.get()
    amendments.approve(row, by=cast.rhea, now=LATER)
    alice, door = signed_in(cast.alice), f"/portal/amendments/{row.public_id}/decline/"
    answer = alice.post(door, {"reason": "x" * 161})
    assert (answer.status_code, "at most 160 characters" in answer.content.decode()) == (422, True)
    assert "Declined" in alice.post(door, {"reason": "too dear"}, follow=True).content.decode()
    page = read(cast.robin, f"/admin/lending/amendment/{row.pk}/change/")
    assert "too dear" in page
    assert "Version 1" in read(cast.alice, f"/portal/loans/{loan.public_id}/")
    again = signed_in(cast.robin).post(f"/admin/amend/{loan.pk}/", {**TYPED, "act": "propose"}, follow=True)
    assert "version 3" in again.content.decode()
    answer = signed_in(cast.rhea).post(f"/admin/lending/amendment/{row.pk + 1}/reject/", {"reason": " "})
    assert (answer.status_code, "say why" in answer.content.decode()) == (422, True)
    answer = signed_in(cast.robin).post(f"/admin/lending/amendment/{row.pk + 1}/withdraw/", {"reason": "a slip"})
    assert list(Amendment.objects.order_by("pk").values_list("state", flat=True)) == ["declined", "withdrawn"]

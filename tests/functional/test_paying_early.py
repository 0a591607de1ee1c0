"""What paying early costs is read before it is paid, stands on the statement, and is waived by two persons or not."""

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import ledger, repayments, statements
from lending.models import Approval, Loan, Product, Repayment, User
from risk import cycle
from tests import stories
from tests.cast import NOW, Cast, assemble
from tests.factories.lending import ProductFactory

D = Decimal
LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture(autouse=True)
def _later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def running(cast: Cast) -> Loan:
    """Return 600,000 USD at 10 % until 19 November, of which principal costs 2 % that is paid early."""
    ProductFactory(
        code="term-usd", name="Term loan in USD", origination_fee=D(0), prepayment="share", prepayment_rate=D("0.02")
    )
    loan = stories.running(cast)
    stories.deposited(loan.client, "USD", D(20_000))
    cycle.forget()  # another test's book, with other assets
    return loan


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def words(page: bytes) -> str:
    found = " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())
    return found.replace(" ,", ",").replace(" .", ".")


def read(user: User, address: str, *, status: int = 200, **headers: str) -> str:
    """Return the words of a page, which asks the database at most twelve times."""
    browser = signed_in(user)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.get(address, headers=headers)
    assert answer.status_code == status
    assert len(asked) <= 12, [row["sql"][:90] for row in asked]
    return words(answer.content)


def press(user: User, address: str, **fields: str) -> str:
    return words(signed_in(user).post(address, fields, follow=True).content)


def test_it_is_read_before_it_is_paid(cast: Cast) -> None:
    loan = running(cast)
    stories.market("40000", at=NOW + timedelta(minutes=2))
    own = f"/portal/loans/{loan.public_id}/"
    page = read(cast.alice, own)
    assert "Owed 600,000.28 USD is what your LTV counts" in page
    assert "Paid early principal costs 2 % of it" in page
    for page in (read(cast.bob, f"{own}prepayment/"), read(cast.alice, f"{own}prepayment/", HX_Request="true")):
        assert "To pay it off now 612,007.22 USD pays the loan off if it counts by" in page  # an hour later
        assert "Make-whole, for paying early 12,000.00 USD Payoff now 612,000.28 USD" in page
        assert "Principal paid before its time costs 2 % of it." in page
    closing = read(cast.bob, f"{own}prepayment/?amount=102,000.28")
    assert "Interest 0.28 USD Principal 100,000.00 USD Make-whole 2,000.00 USD Left over, yours 0.00 USD" in closing
    assert "Nothing was paid." in closing
    assert "What a payment would be for" in read(cast.alice, f"{own}prepayment/")
    assert signed_in(cast.charlie).get(f"{own}prepayment/").status_code == 404
    for amount, says in (
        ("", "Say how much you would pay."), ("all", "That is not a number, like 1250.50."),
        ("0", "The amount must be more than zero."), ("-1", "The amount must be more than zero."),
        ("0.001", "USD has at most 2 decimal places."),
    ):  # fmt: skip
        assert says in read(cast.alice, f"{own}prepayment/?amount={amount}", status=422)
    # Half an hour before the notice begins, within which nothing is early, the quote still has to be enough.
    with time_machine.travel(NOW.replace(month=11, day=13, hour=23, minute=30), tick=False):
        page = read(cast.alice, f"{own}prepayment/")
        assert "To pay it off now 641,746.53 USD pays the loan off if it counts by 14 Nov 2021 00:30:00 UTC" in page
        assert "Make-whole, for paying early 12,000.00 USD Payoff now 641,746.53 USD" in page
    for user in (cast.robin, cast.rhea):
        due = read(user, f"/admin/lending/loan/{loan.pk}/payments/")
        assert "Make-whole, for paying early 12,000.00 USD Payoff now 612,000.28 USD" in due
        desk = read(user, f"/admin/lending/loan/{loan.pk}/change/")
        assert "Owed now, before make-whole 600,000.28 USD" in desk
        assert "Paid early principal costs 2 % of it" in desk

    assert "Paid." in press(cast.alice, f"{own}repay/", amount="102000.28", token=str(uuid.uuid4()))
    row = Repayment.objects.get()
    assert (row.interest, row.principal, row.make_whole, row.surplus) == (D("0.28"), 100_000, 2_000, 0)
    assert "make-whole 2,000.00 USD" in read(cast.olga, f"/admin/lending/loan/{loan.pk}/story/")
    assert "2,000.28 of interest and fees" in read(cast.alice, f"{own}activity/")


def test_two_persons_waive_it_at_their_doors(cast: Cast) -> None:
    loan = running(cast)
    row = repayments.record(loan, D(51_000), key="wire:1", received_at=LATER, now=LATER)
    assert row.make_whole == 1_000  # 2 % of 49,999.72, up
    desk = f"/admin/corrections/{loan.pk}/"
    assert "What a prepayment cost" in read(cast.robin, desk)
    assert "choose one of the loan's payments" in press(cast.robin, f"{desk}waive/", payment="0", reason="a friend")
    assert "say how it is known" in press(cast.robin, f"{desk}waive/", payment=str(row.pk), reason=" ")
    refused = signed_in(cast.robin).post(f"{desk}waive/", {"payment": "9" * 5000, "reason": "a friend"})
    _, _, waived = refused.content.decode().partition('id="waive"')
    assert (refused.status_code, refused.content.decode().count('value="a friend"')) == (422, 1)
    assert 'value="a friend"' in waived
    long = {"payment": str(row.pk), "reason": "x" * 401}
    again = signed_in(cast.robin).post(f"{desk}waive/", long).content.decode().partition('id="waive"')
    assert "selected" not in again[0].partition('id="back"')[2]
    assert f'<option value="{row.pk}" selected' in again[2]
    done = press(cast.robin, f"{desk}waive/", payment=str(row.pk), reason="They refinance with us")
    assert "Asked: it waits" in done
    assert "waive the make-whole of 1,000.00 USD, asked by Robin" in read(cast.robin, desk)
    asked = Approval.objects.get()
    page = words(signed_in(cast.dirk).get(f"/admin/lending/approval/{asked.pk}/change/").content)
    assert "What it would change" in page
    assert "50,999.72" in page
    approve = f"/admin/lending/approval/{asked.pk}/approve/"
    assert "Approved by you" not in press(cast.rhea, approve, reason="seen")
    assert "Approved by you" in press(cast.dirk, approve, reason="seen")
    assert "make-whole waived" in read(cast.robin, desk)
    loan.refresh_from_db()
    assert loan.principal_outstanding == D("549000.28")
    told = read(cast.alice, "/portal/notices/")
    assert "1,000.00 USD was waived" in told
    assert "Make-whole waived" in read(cast.alice, f"/portal/loans/{loan.public_id}/activity/")


def test_what_a_prepayment_of_a_broken_loan_cost_is_not_offered_to_be_waived(cast: Cast) -> None:
    loan = running(cast)
    repayments.record(loan, D(51_000), key="wire:1", received_at=LATER, now=LATER)
    for state in ("liquidating", "workout"):
        Loan.objects.filter(pk=loan.pk).update(state=state)
    page = read(cast.robin, f"/admin/corrections/{loan.pk}/")
    assert "A payment that was none" in page
    assert "What a prepayment cost" not in page


def test_a_cure_costs_nothing(cast: Cast) -> None:
    """What is paid while a margin call is open brings the LTV down by all of it."""
    loan = running(cast)
    stories.fall()
    own = f"/portal/loans/{loan.public_id}/"
    page = read(cast.alice, f"{own}prepayment/")
    assert "Make-whole, for paying early 0.00 USD" in page
    assert "Now it costs nothing." in page
    row = repayments.record(loan, D(51_000), key="wire:1", received_at=LATER, now=LATER)
    assert (row.make_whole, row.prepays, row.principal + row.interest) == (0, False, 51_000)
    # What arrived before the call and is booked after it counts for it all the same: its amounts were fixed without.
    row = repayments.record(loan, D(510), key="wire:2", received_at=NOW + timedelta(seconds=30), now=LATER)
    assert (row.make_whole, row.prepays) == (0, False)


def test_the_statement_names_what_it_cost(real_db: str) -> None:
    """What is not committed can not be sealed, and what is not sealed stands in no statement."""
    loan = running(assemble())
    repayments.record(loan, D(51_000), key="wire:1", received_at=LATER, now=LATER)
    ledger.seal(now=LATER)
    day = NOW.date()
    drawn = statements.draw(loan.client, from_date=day, to_date=day, rests_on=statements.basis())
    fees = next(section for section in drawn.sections if section.label == "Fees owed")
    assert [(row.what, row.change, row.balance) for row in fees.rows] == [
        ("Make-whole, for paying early", D(1_000), D(1_000)), ("Repayment", D(-1_000), D(0)),
    ]  # fmt: skip


def test_a_product_says_what_paying_early_costs(cast: Cast) -> None:
    running(cast)
    product = Product.objects.get()
    product.terms.is_preset = True
    product.terms.save(update_fields=["is_preset"])
    address = f"/admin/lending/product/{product.pk}/change/"
    assert "Paid early principal costs 2 % of it" in read(cast.rhea, address)
    typed = {
        "name": product.name, "tenor": "fixed", "notice_days": "0", "day_count": product.day_count, "unused": "0",
        "schedule_kind": "bullet", "frequency_months": "1", "calendar": "", "grace_days": "0", "prepayment": "interest",
        "pledge_terms": "1",
        "terms": str(product.terms_id), "fee": "0", "early": "3.25", "reason": "asked for by the market",
    }  # fmt: skip
    for wrong, says in (
        ({"prepayment": ""}, "on a fixed term alone"), ({"prepayment": "share", "early": "0"}, "on a fixed term alone"),
        ({"early": "100"}, "99.9999999999"), ({"early": "-1"}, "greater than or equal to 0"),
        ({"early": "much"}, "Enter a number"), ({"prepayment": "half"}, "Select a valid choice"),
        ({"tenor": "open", "notice_days": "5", "schedule_kind": "interest_only"}, "on a fixed term alone"),
    ):  # fmt: skip
        assert says in press(cast.rhea, address, **(typed | wrong)), wrong
    assert "Asked: it waits" in press(cast.rhea, address, **typed)
    asked = Approval.objects.get()
    assert "Approved by you" in press(cast.dirk, f"/admin/lending/approval/{asked.pk}/approve/", reason="seen")
    product.refresh_from_db()
    assert (product.prepayment, product.prepayment_rate) == ("interest", D("0.0325"))
    assert Loan.objects.get().prepayment == "share"  # no product reaches back

"""A late fee at its doors: in the offer, with what is asked for, and in the product's form."""

import re
from datetime import datetime
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import dunning
from lending.models import Approval, Loan, Product, User
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import ProductFactory

LATE = NOW.replace(month=6, day=20, hour=0)


def words(page: bytes) -> str:
    return " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def read(user: User, address: str) -> str:
    """Return the words of a page, which asks the database at most twelve times."""
    browser = signed_in(user)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.get(address)
    assert answer.status_code == 200
    assert len(asked) <= 12, [row["sql"][:90] for row in asked]
    return words(answer.content)


@pytest.fixture
def product(cast: Cast) -> Product:
    found: Product = ProductFactory(
        code="term-usd", name="Term loan in USD", origination_fee=Decimal(0), schedule_kind="interest_only",
        late_fee=Decimal("0.05"),
    )  # fmt: skip
    found.terms.is_preset = True
    found.terms.save(update_fields=["is_preset"])
    return found


def on(loan: Loan, at: datetime) -> None:
    for day in (at.replace(month=6, day=14), at.replace(month=6, day=19), at):
        dunning.work_due(now=day)
    loan.refresh_from_db()


def test_the_client_reads_it_before_it_is_charged_and_after(cast: Cast, product: Product) -> None:
    with time_machine.travel(NOW, tick=False):
        offered = stories.offered(cast)
        page = read(cast.alice, f"/portal/loans/{offered.public_id}/")
        assert "Interest or a part that is unpaid after its grace costs 5.00 % of it, once." in page
        loan = stories.running(cast)
    on(loan, LATE)
    asked = loan.obligations.order_by("due_at")[0]
    assert (asked.amount, asked.late_fee, loan.fees_due) == (Decimal("5083.34"), Decimal("254.17"), Decimal("254.17"))
    with time_machine.travel(LATE, tick=False):
        own = f"/portal/loans/{loan.public_id}/"
        assert "late fee 254.17 USD" in read(cast.alice, f"{own}payments/")
        assert "Fees due 254.17 USD" in read(cast.bob, own)
        assert "while nothing that was due is unpaid, some of it may leave" in read(cast.alice, own)
        assert "None of it leaves while" in read(cast.alice, f"{own}back/")
        assert "Paid late 5.00 % of what its grace leaves unpaid, once" in read(cast.alice, own)
        assert signed_in(cast.charlie).get(f"{own}payments/").status_code == 404
        assert "late fee 254.17 USD" in read(cast.robin, f"/admin/lending/loan/{loan.pk}/payments/")
        assert "Paid late 5.00 % of what" in read(cast.robin, f"/admin/lending/loan/{loan.pk}/change/")
        assert "A late fee of 254.17 USD was charged." in read(cast.alice, "/portal/notices/")


def test_a_product_says_what_being_late_costs(cast: Cast, product: Product) -> None:
    address = f"/admin/lending/product/{product.pk}/change/"
    typed = {
        "name": product.name, "tenor": "fixed", "notice_days": "0", "day_count": product.day_count, "unused": "0",
        "schedule_kind": "interest_only", "frequency_months": "1", "calendar": "", "grace_days": "3",
        "pledge_terms": "1",
        "terms": str(product.terms_id), "fee": "0", "late": "2.5", "early": "0", "reason": "the market asks for it",
    }  # fmt: skip
    with time_machine.travel(NOW, tick=False):
        assert "Paid late 5.00 % of what its grace leaves unpaid" in read(cast.rhea, address)
        rhea = signed_in(cast.rhea)
        for wrong, says in (("100", "99.9999999999"), ("-1", "greater than or equal to 0"), ("all", "Enter a number")):
            assert says in words(rhea.post(address, {**typed, "late": wrong}).content)
        assert "Asked: it waits" in words(rhea.post(address, typed, follow=True).content)
        approve = f"/admin/lending/approval/{Approval.objects.get().pk}/approve/"
        assert "Approved by you" in words(signed_in(cast.dirk).post(approve, {"reason": "seen"}, follow=True).content)
    product.refresh_from_db()
    assert (product.late_fee, product.grace_days) == (Decimal("0.025"), 3)

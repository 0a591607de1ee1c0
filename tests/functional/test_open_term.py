"""A loan without a fixed end: offered, recalled by two persons, ended by its client, sold under notice."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from html import unescape

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import approvals, dunning, interest, loans, offers, recalls, rolling
from lending.models import Approval, Loan, LoanState, Notice, Obligation, Product, User
from risk import cycle
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import ProductFactory
from tests.factories.risk import Desk

LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture
def at_noon() -> Iterator[None]:
    cycle.forget()  # another test's book, with other assets
    with time_machine.travel(LATER, tick=False):
        yield


def open_product(**more: object) -> Product:
    found: Product = ProductFactory(
        code="term-usd", name="Open-term loan in USD", origination_fee=Decimal(0), tenor="open", notice_days=5,
        schedule_kind="interest_only", **more,
    )  # fmt: skip
    return found


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def words(page: bytes) -> str:
    found = " ".join(unescape(re.sub("<[^>]*>", " ", page.decode())).replace("\xa0", " ").split())
    return found.replace(" ,", ",").replace(" .", ".").replace(" :", ":")


def read(user: User, address: str, *, asks: int = 99) -> str:
    """Return the words of a page that asks the database no more than so often."""
    browser = signed_in(user)
    with CaptureQueriesContext(connection) as asked:
        answer = browser.get(address)
    assert answer.status_code == 200
    assert len(asked) <= asks, (len(asked), [row["sql"][:90] for row in asked])
    return words(answer.content)


def press(user: User, address: str, **fields: str) -> str:
    return words(signed_in(user).post(address, fields, follow=True).content)


@pytest.mark.usefixtures("at_noon")
def test_it_is_offered_without_a_maturity_and_signed_as_it_runs(cast: Cast) -> None:
    product = open_product()
    stories.market("40000", at=NOW + timedelta(minutes=2))
    door = f"/admin/book/{cast.harbourside.public_id}/terms/"
    asked = {
        "product": str(product.pk), "principal": "600000", "rate": "10", "hours": "24", "payout_address": "",
        "collateral_BTC": "30", "maturity_date": "2022-05-19",
    }  # fmt: skip
    page = press(cast.robin, door, act="review", **asked)
    assert "Ends with 5 business days' notice from either side" in page
    assert "It goes on like that until somebody ends the loan" in page
    assert "Mon 19 Jul 2021" in page
    assert "2022" not in page.split("Schedule")[0]
    page = press(cast.robin, door, act="send", **asked | {"maturity_date": ""})
    assert "The offer is out" in page
    loan = Loan.objects.get()
    assert (loan.maturity_date, loan.default_at, loan.notice_days) == (None, None, 5)
    assert "until either side ends it with 5 business days' notice" in Notice.objects.get(kind="loan_offer").body
    assert "until either side ends it with 5 business days' notice" in read(
        cast.alice, f"/portal/loans/{loan.public_id}/"
    )

    fixed = Product(name="Another", asset=product.asset, terms=product.terms)
    for sold, day, says in (
        (fixed, None, "Another is a fixed term: say on which day it matures"),
        (product, date(2022, 1, 1), "has no maturity: either side ends it with 5 business days' notice"),
    ):
        with pytest.raises(offers.UnableToQuote, match=says):
            offers.quote(
                client=cast.harbourside, product=sold, principal=Decimal(1), annual_rate=Decimal(0), maturity_date=day,
                quoted_until=NOW + timedelta(days=1), made_by=cast.robin, now=NOW,
            )  # fmt: skip

    product.tenor, product.notice_days = "fixed", 0
    product.save()
    page = press(cast.robin, door, act="review", **asked | {"maturity_date": ""})
    assert "Say on which day it matures." in page


@pytest.mark.usefixtures("at_noon")
def test_one_asks_and_another_recalls_it(cast: Cast) -> None:
    open_product()
    loan = stories.running(cast, maturity_date=None)
    page, door = f"/admin/lending/loan/{loan.pk}/change/", f"/admin/recalls/{loan.pk}/"
    seen = read(cast.robin, page, asks=12)
    assert "Either side ends it with 5 business days' notice. Given now, it would end on Mon 24 May 2021" in seen
    assert "Refused: say why" in press(cast.robin, door, act="recall", reason=" ")
    assert "Refused: no notice is running" in press(cast.robin, door, act="keep", reason="x")
    assert "Asked: it waits" in press(cast.robin, door, act="recall", reason="funding is needed")
    asked = Approval.objects.get()
    assert "robin asked" in read(cast.robin, page).lower()
    shown = read(cast.rhea, f"/admin/lending/approval/{asked.pk}/change/")
    assert "asks to recall a loan: Harbourside Trading" in shown
    assert "where it stands now" in shown
    press(cast.rhea, f"/admin/lending/approval/{asked.pk}/approve/", reason="read")
    loan.refresh_from_db()
    assert (loan.state, loan.ends_on) == (LoanState.RECALLED, date(2021, 5, 24))
    assert "It ends on Mon 24 May 2021, 00:00 UTC: recalled by the desk: funding is needed" in read(
        cast.robin, page, asks=12
    )
    seen = read(cast.alice, f"/portal/loans/{loan.public_id}/", asks=12)
    assert "This loan ends on Mon 24 May 2021" in seen
    assert "funding is needed" not in seen
    assert "all that is left, after notice" in read(cast.alice, f"/portal/loans/{loan.public_id}/payments/")
    assert "Recalled" in read(cast.rolf, "/admin/lending/loan/")

    assert "Asked: it waits" in press(cast.rhea, door, act="keep", reason="other funding came")
    press(cast.rolf, f"/admin/lending/approval/{Approval.objects.latest('pk').pk}/approve/", reason="read")
    loan.refresh_from_db()
    assert (loan.state, loan.ends_on) == (LoanState.ACTIVE, None)

    own = f"/portal/loans/{loan.public_id}/"
    assert "Give notice to end this loan" in read(cast.alice, own)
    assert "Give notice" not in read(cast.bob, own)
    assert "No notice given" in press(cast.bob, f"{own}notice/")
    assert "Notice given: the loan ends on 24 May 2021" in press(cast.alice, f"{own}notice/")
    assert "No notice given: it is recalled" in press(cast.alice, f"{own}notice/")


def test_a_product_ends_one_way(cast: Cast, client: Browser) -> None:
    product = open_product()
    product.terms.is_preset = True
    product.terms.save(update_fields=["is_preset"])
    client.force_login(cast.rhea)
    typed = {
        "name": product.name, "tenor": "open", "notice_days": "5", "day_count": product.day_count,
        "schedule_kind": "interest_only", "frequency_months": "1", "calendar": "", "grace_days": "0",
        "pledge_terms": "1", "terms": str(product.terms_id), "fee": "0", "reason": "why not",
    }  # fmt: skip
    for change, says in (
        ({"notice_days": "0"}, "is ended with at least one business day's notice"),
        ({"schedule_kind": "bullet"}, "What has no fixed end pays interest only"),
        ({"tenor": "fixed"}, "a fixed term ends on its day"),
        ({"tenor": "for ever"}, "Select a valid choice"),
        ({"notice_days": "-1"}, "greater than or equal to 0"),
    ):
        answer = client.post(f"/admin/lending/product/{product.pk}/change/", typed | change)
        assert answer.status_code == 422
        assert says in words(answer.content)
    assert not Approval.objects.exists()


@pytest.mark.django_db
def test_a_sale_under_notice_leaves_the_notice_running() -> None:
    """Recalled and not paid, in default; bitcoin falls, a part is sold, and the rest is asked for again."""
    desk = Desk()
    loan = desk.loan(product=open_product(terms=desk.terms, grace_days=1), BTC="1")
    asked = recalls.ask(loan, reason="funding is needed", maker=desk.manager, now=desk.now)
    approvals.decide(asked, approve=True, checker=desk.risk, now=desk.now, reason="read")
    desk.step(BTC="28000")
    desk.minutes(21)
    (order,) = desk.orders(loan)
    desk.sell(order, price="27900")
    desk.steps(2)
    loan.refresh_from_db()
    assert (loan.state, loan.ends_on) == (LoanState.RECALLED, date(2021, 5, 24))

    def days(count: int) -> None:
        for _ in range(count):
            desk.now += timedelta(days=1)
            for step in (interest.accrue_due, rolling.roll_due, dunning.work_due):
                step(now=desk.now)

    days(5)
    loan.refresh_from_db()
    assert (loan.state, Obligation.objects.get(kind="recall").state) == (LoanState.MATURED, "due")
    days(2)
    loan.refresh_from_db()
    assert (loan.state, Obligation.objects.get(kind="recall").state) == (LoanState.DEFAULTED, "defaulted")

    desk.step(BTC="14000")  # through the liquidation level: everything that is left is sold
    for _ in range(4):
        for order in [row for row in desk.orders(loan) if row.closed_at is None]:
            desk.sell(order, price="14500")
        desk.steps(2, BTC="14000")
        loan.refresh_from_db()
        if loan.state not in loans.OWING:
            break
    if loan.state in loans.OWING:
        desk.pay(loan, desk.payoff(loan))
        loan.refresh_from_db()
    assert loan.state == LoanState.REPAID
    assert Obligation.objects.get(kind="recall").state in ("met", "defaulted")

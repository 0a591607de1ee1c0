"""A product is changed by two persons, for offers from then on; haircuts reach the paper, the pledge and the LTV."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.test import Client as Browser

from lending import approvals, offers, products, term_sheets
from lending.models import Approval, AuditRecord, Loan, Pledge, Product, ProductHaircut
from risk import positions, previews, prices
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, ProductFactory

LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def product(cast: Cast) -> Product:
    AssetFactory(code="BTC"), AssetFactory(code="ETH")
    made: Product = ProductFactory(code="term-usd", name="Term loan in USD", origination_fee=Decimal("0.01"))
    made.terms.is_preset = True
    made.terms.save(update_fields=["is_preset"])
    return made


def page_of(product: Product) -> str:
    return f"/admin/lending/product/{product.pk}/change/"


def typed(product: Product, **changes: str) -> dict[str, str]:
    """What the form of a product sends if nobody touches it, but for some fields."""
    return {
        "name": product.name, "tenor": product.tenor, "notice_days": str(product.notice_days),
        "day_count": product.day_count, "schedule_kind": product.schedule_kind,
        "frequency_months": str(product.frequency_months), "calendar": product.calendar,
        "grace_days": str(product.grace_days), "terms": str(product.terms_id), "fee": "1",
        "pledge_terms": str(product.pledge_terms_id),
        "haircut_BTC": "0", "haircut_ETH": "0", "reason": "ether moves more", **changes,
    }  # fmt: skip


def asked(cast: Cast, product: Product, browser: Browser, **changes: str) -> Approval:
    browser.force_login(cast.rhea)
    page = browser.post(page_of(product), typed(product, **changes), follow=True).content.decode()
    assert "Asked: it waits on the page Approvals" in page
    return Approval.objects.latest("pk")


def decide(approval: Approval, cast: Cast, browser: Browser) -> str:
    browser.force_login(cast.rolf)
    answer = browser.post(f"/admin/lending/approval/{approval.pk}/approve/", {"reason": "seen"}, follow=True)
    return str(answer.content.decode())


def test_a_haircut_is_asked_for_and_approved_by_another_and_says_so(
    cast: Cast, product: Product, client: Browser
) -> None:
    approval = asked(cast, product, client, haircut_ETH="12.5", grace_days="3")
    assert approval.payload == {
        "product": "term-usd", "grace_days": "3", "haircut of ETH": "0.125", "instead_of": {"grace_days": "0"},
        "reason": "ether moves more",
    }  # fmt: skip
    assert not ProductHaircut.objects.exists()
    waits = client.get(page_of(product)).content.decode()
    assert "Rhea asked" in waits
    assert "Ask a second person" not in waits
    assert "Open the request" in waits
    client.force_login(cast.robin)  # who is not shown the request reads of it, without a way to it
    waits = client.get(page_of(product)).content.decode()
    assert "Rhea asked" in waits
    assert "Open the request" not in waits
    client.force_login(cast.rolf)
    words = client.get(f"/admin/lending/approval/{approval.pk}/change/").content.decode()
    assert "Rhea asks to change what a product offers" in words
    assert "Approved by you" in decide(approval, cast, client)
    product.refresh_from_db()
    assert (product.grace_days, products.haircuts(product)) == (3, {"ETH": Decimal("0.125")})
    record = AuditRecord.objects.get(action="product_changed")
    assert (record.actor, record.after["maker"], record.before) == (cast.rolf, cast.rhea.email, {"grace_days": "0"})
    client.force_login(cast.robin)
    page = client.get(page_of(product)).content.decode()
    assert "ETH 12.50" in page
    assert "Ask a second person" not in page
    assert "ETH 12.5" in client.get("/admin/lending/product/").content.decode()


def test_the_haircut_is_printed_pledged_and_counted_and_never_reaches_back(cast: Cast, client: Browser) -> None:
    before = stories.running(cast)
    product = before.product
    ProductHaircut.objects.create(product=product, asset=AssetFactory(code="BTC"), haircut=Decimal("0.2"))
    stories.market("40000", at=NOW + timedelta(minutes=2))
    assert Pledge.objects.get(margin_account=before.margin_account).haircut == 0

    waits = stories.offered(cast, collateral={"BTC": Decimal(25)})
    assert term_sheets.of(term_sheets.versions(waits).get()).collateral == {"BTC": (Decimal(25), Decimal("0.2"))}
    waits = offers.accept(waits, by=cast.alice, now=NOW)
    waits = offers.approve(waits, by=cast.rhea, now=NOW)
    waits = offers.collateral_pending(waits, actor=cast.olga, now=NOW)
    stories.transfer_seen(waits.margin_account)
    sent = previews.awaited(waits, now=LATER)
    assert [(row.asset, row.haircut) for row in sent.arrived.planned] == [("BTC", Decimal("0.2"))]

    # 25 BTC at 40,000 less a fifth are 800,000: 400,000 against them is an LTV of one half.
    loan = stories.running(cast, principal=Decimal(400_000))
    assert Pledge.objects.get(margin_account=loan.margin_account).haircut == Decimal("0.2")
    standing = positions.standing(loan.margin_account, marks=prices.current(now=LATER), now=LATER)
    assert standing.ltv is not None
    assert abs(standing.ltv - Decimal("0.5")) < Decimal("0.0001")
    assert standing.market_ltv is not None
    assert abs(standing.market_ltv - Decimal("0.4")) < Decimal("0.0001")


def test_what_the_way_to_an_offer_previews_counts_the_haircut(cast: Cast, client: Browser) -> None:
    product = stories.offered(cast).product
    ProductHaircut.objects.create(product=product, asset=AssetFactory(code="BTC"), haircut=Decimal("0.25"))
    stories.market("40000", at=NOW + timedelta(minutes=2))
    client.force_login(cast.robin)
    said = {
        "product": str(product.pk), "principal": "600000", "rate": "10", "maturity_date": "2021-11-19", "hours": "24",
        "payout_address": "", "collateral_BTC": "40",
    }  # fmt: skip
    page = client.get(f"/admin/book/{cast.harbourside.public_id}/preview/", said).content.decode()
    # 600,000 over three quarters of 1.6 million
    assert re.search(r'id="preview-ltv">50\.00', page)
    assert "less 25.0" in page


def test_a_new_product_is_taken_on_by_two(cast: Cast, product: Product, client: Browser) -> None:
    client.force_login(cast.dirk)
    assert "Take on a product" in client.get("/admin/lending/product/").content.decode()
    said = typed(
        product,
        code="term-usd-36m",
        name="Term loan in USD, instalments",
        schedule_kind="equal_instalment",
        asset=str(product.asset_id),
        book=str(product.book_id),
        haircut_BTC="5",
    )
    client.post("/admin/lending/product/take-on/", said)
    approval = Approval.objects.get()
    assert not Product.objects.filter(code="term-usd-36m").exists()
    decide(approval, cast, client)
    made = Product.objects.get(code="term-usd-36m")
    assert (made.schedule_kind, made.asset, made.origination_fee) == (
        "equal_instalment",
        product.asset,
        Decimal("0.01"),
    )
    assert products.haircuts(made) == {"BTC": Decimal("0.05")}
    assert made.terms == product.terms


BAD = {
    "nothing that would change": ({}, "nothing would change"),
    "no reason": ({"haircut_ETH": "5", "reason": " "}, "This field is required"),
    "a haircut of everything": ({"haircut_ETH": "100"}, "Ensure this value is less than or equal to 99.9999999999"),
    "a haircut below nothing": ({"haircut_ETH": "-1"}, "Ensure this value is greater than or equal to 0"),
    "a haircut that is no number": ({"haircut_ETH": "a tenth"}, "Enter a number"),
    "a haircut that is not finite": ({"haircut_ETH": "NaN"}, "Enter a number"),
    "a fee of everything": ({"fee": "100"}, "Ensure this value is less than or equal to 99.9999999999"),
    "a schedule that does not exist": ({"schedule_kind": "balloon"}, "Select a valid choice"),
    "days of grace below nothing": ({"grace_days": "-1"}, "Ensure this value is greater than or equal to 0"),
    "a ladder that is none": ({"terms": "0"}, "Select a valid choice"),
    "no name": ({"name": ""}, "This field is required"),
}


@pytest.mark.parametrize("case", BAD, ids=str)
def test_bad_input_is_refused_in_words_and_nothing_typed_is_lost(
    case: str, cast: Cast, product: Product, client: Browser
) -> None:
    changes, says = BAD[case]
    client.force_login(cast.rhea)
    answer = client.post(page_of(product), typed(product, **changes))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert says in page
    for name in ("haircut_ETH", "grace_days", "fee"):
        assert f'value="{changes.get(name, typed(product)[name])}"' in page
    assert not Approval.objects.exists()


def test_a_code_that_is_taken_is_not_taken_on_again(cast: Cast, product: Product, client: Browser) -> None:
    client.force_login(cast.dirk)
    said = typed(product, code="term-usd", asset=str(product.asset_id), book=str(product.book_id))
    answer = client.post("/admin/lending/product/take-on/", said)
    assert answer.status_code == 422
    assert "Product with this Code already exists" in answer.content.decode()


def test_who_may_neither_ask_nor_decide(cast: Cast, product: Product, client: Browser) -> None:
    for user in (cast.robin, cast.olga):
        client.force_login(user)
        assert client.post(page_of(product), typed(product, grace_days="9")).status_code == 403
        assert client.get("/admin/lending/product/take-on/").status_code == 403
    approval = asked(cast, product, client, grace_days="9")
    client.force_login(cast.rhea)
    page = client.post(f"/admin/lending/approval/{approval.pk}/approve/", {}, follow=True).content.decode()
    assert "can not decide it" in page
    product.refresh_from_db()
    assert product.grace_days == 0


def test_a_request_that_was_overtaken_changes_nothing(cast: Cast, product: Product, client: Browser) -> None:
    approval = asked(cast, product, client, grace_days="9")
    Product.objects.filter(pk=product.pk).update(grace_days=4)
    assert "was changed meanwhile: ask again" in decide(approval, cast, client)
    product.refresh_from_db()
    assert product.grace_days == 4
    with pytest.raises(products.UnableToChange, match="waits for a second person already"):
        wanted = products.Wanted(code="term-usd", columns={"grace_days": 5})
        products.ask(wanted, reason="again", maker=cast.rhea, now=LATER)
    assert approvals.expire_due(now=LATER + timedelta(days=2)) == 1


@pytest.mark.parametrize("haircut", ["-0.1", "1"])
def test_the_database_knows_no_haircut_that_is_none(cast: Cast, product: Product, haircut: str) -> None:
    with pytest.raises(DatabaseError, match="product_haircut_below_one"), transaction.atomic():
        ProductHaircut.objects.create(product=product, asset=AssetFactory(code="ETH"), haircut=Decimal(haircut))


def test_a_loan_keeps_what_was_signed(cast: Cast, product: Product) -> None:
    loan: Loan = stories.running(cast)
    Product.objects.filter(pk=loan.product_id).update(grace_days=30, schedule_kind="interest_only")
    loan.refresh_from_db()
    assert (loan.grace_days, loan.schedule_kind) == (0, "bullet")

"""A pool: opened with a client's first offer, shared by a later one on its ladder, refused to what does not fit."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, transaction
from django.test import Client as Browser

from lending import collateral, freezes, ids, loans, margin_accounts, offers, repayments, term_sheets
from lending.models import Book, Loan, LoanState, MarginAccount, Product, ProductHaircut
from lending.papers import term_sheet
from risk import permits
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, LadderTermsFactory, ProductFactory
from tests.functional.test_what_is_printed_is_what_runs import read

pytestmark = pytest.mark.django_db
D = Decimal
LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture(autouse=True)
def later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def product(cast: Cast) -> Product:
    """A product, and bitcoin at 40,000."""
    stories.market("40000", at=NOW + timedelta(minutes=2))
    return stories.product()


def asked(product: Product, secured_by: str, **changes: str) -> dict[str, str]:
    return {
        "product": str(product.pk), "principal": "600000", "rate": "10", "maturity_date": "2021-11-19", "hours": "24",
        "collateral_BTC": "30", "secured_by": secured_by, **changes,
    }  # fmt: skip


def taken(cast: Cast, loan: Loan) -> Loan:
    """Take an offer to where its collateral is waited for."""
    loan = offers.accept(loan, by=cast.alice, now=LATER)
    return offers.collateral_pending(offers.approve(loan, by=cast.rhea, now=LATER), actor=cast.olga, now=LATER)


def test_a_pool_is_opened_by_a_first_offer_and_secures_the_next(cast: Cast, client: Browser, product: Product) -> None:
    client.force_login(cast.robin)
    door = f"/admin/book/{cast.harbourside.public_id}/"
    read_first = client.post(f"{door}terms/", {**asked(product, "pool"), "act": "review"}).content.decode()
    assert "a new pool, which later loans may share" in read_first
    client.post(f"{door}terms/", {**asked(product, "pool"), "act": "send"})
    first = Loan.objects.select_related("margin_account").get()
    pool = first.margin_account
    assert pool.kind == MarginAccount.Kind.POOL
    printed = read(term_sheet.render(term_sheets.versions(first).get()))
    assert printed["The collateral secures"] == "every loan of its margin account"
    first = taken(cast, first)
    bitcoin = stories.deposited(first.client, "BTC", D(45))
    collateral.pledge(pool, bitcoin, D(45), key="pledge:pool", now=LATER)
    fund(cast, first)
    # 600,000 are owed on 45 BTC of 40,000: with 200,000 more it stands at 44.4 %
    one_more = asked(product, str(pool.public_id), principal="200000", collateral_BTC="0")
    part = client.get(f"{door}preview/", one_more).content.decode()
    assert "44.4" in part
    assert "Nothing is missing" in part
    too_much = client.get(f"{door}preview/", {**one_more, "principal": "400000"}).content.decode()
    assert "enough collateral" in too_much
    client.post(f"{door}terms/", {**one_more, "act": "send"})
    second = Loan.objects.select_related("margin_account").get(principal=200_000)
    assert (second.margin_account, second.margin_account.terms) == (pool, pool.terms)
    second = fund(cast, taken(cast, second))
    assert second.state == LoanState.ACTIVE
    client.force_login(cast.alice)
    assert (
        "its collateral secures every loan of it" in client.get(f"/portal/loans/{second.public_id}/").content.decode()
    )


def test_a_repaid_loan_is_closed_although_its_collateral_secures_another(cast: Cast, product: Product) -> None:
    first = taken(cast, stories.offered(cast, opens_pool=True))
    bitcoin = stories.deposited(first.client, "BTC", D(45))
    collateral.pledge(first.margin_account, bitcoin, D(45), key="pledge:pool", now=LATER)
    fund(cast, first)
    second = taken(cast, quoted(cast, product, margin_account=MarginAccount.objects.get(pk=first.margin_account_id)))
    second = fund(cast, second)
    repayments.record(second, second.principal, key="second", received_at=LATER, now=LATER)
    second.refresh_from_db()
    assert second.state == LoanState.REPAID
    # Until then its last payment may come back, and opens it again.
    assert loans.close_due(now=LATER + loans.PAST_IS_OPEN - timedelta(seconds=1)) == 0
    assert loans.close_due(now=LATER + loans.PAST_IS_OPEN) == 1
    second.refresh_from_db()
    assert (second.state, Loan.objects.get(pk=first.pk).state) == (LoanState.CLOSED, LoanState.ACTIVE)
    assert second.events.latest("pk").cause == "repaid and its collateral secures other loans of the pool"
    # The last of a pool waits for the collateral to go back, as any other.
    repayments.record(first, first.principal, key="first", received_at=LATER, now=LATER)
    assert Loan.objects.get(pk=first.pk).state == LoanState.REPAID
    assert loans.close_due(now=LATER + 2 * loans.PAST_IS_OPEN) == 0


def fund(cast: Cast, loan: Loan) -> Loan:
    account = MarginAccount.objects.get(pk=loan.margin_account_id)
    permit = permits.issue_draw(account, loan.asset, loan.principal, now=LATER)
    return loans.fund(loan, permit=permit, actor=cast.olga, now=LATER)


def test_what_a_pool_does_not_secure(cast: Cast, client: Browser, product: Product) -> None:
    first = stories.offered(cast, opens_pool=True)
    pool, own = first.margin_account, stories.offered(cast).margin_account
    dear = ProductFactory(code="tight", terms=LadderTermsFactory(margin_call_ltv=D("0.66"), warning_ltv=D("0.62")))
    quick = ProductFactory(code="quick", terms=LadderTermsFactory(cure_period_s=pool.terms.cure_period_s - 1))
    elsewhere = ProductFactory(code="elsewhere", book=Book.objects.create(code="other", name="Other"))
    others = stories.offered(cast, cast.quayside, opens_pool=True).margin_account
    ladder = margin_accounts.with_transfers(pool.terms, minimum_transfer=D(500), call_rounding=D(100))
    for words, terms in {
        "is another client's": {"margin_account": others},
        "secures one loan alone: another loan needs a pool": {"margin_account": own},
        "kept in another book": {"margin_account": pool, "product": elsewhere},
        "looser than that of .*margin call": {"margin_account": pool, "product": dear},
        "looser than that of .*: cure period$": {"margin_account": pool, "product": quick},
        "which another loan does not change: minimum transfer": {"margin_account": pool, "terms": ladder},
    }.items():
        with pytest.raises(offers.UnableToQuote, match=words):
            quoted(cast, product, **terms)
    freezes.freeze(pool, reason="a court order", by=cast.rhea, now=LATER)
    with pytest.raises(offers.UnableToQuote, match="the pool is frozen"):
        quoted(cast, product, margin_account=pool)
    client.force_login(cast.robin)
    page = f"/admin/book/{cast.harbourside.public_id}/terms/"
    for account in (own, others, pool):  # a frozen one is not offered either
        wrong = client.post(page, {**asked(product, str(account.public_id)), "act": "send"})
        assert wrong.status_code == 422
        assert "is not one of the available choices" in wrong.content.decode()


def quoted(cast: Cast, usual: Product, **terms: object) -> Loan:
    given = {
        "product": usual, "principal": D(1000), "annual_rate": D("0.1"), "maturity_date": NOW.date() + timedelta(90),
        "quoted_until": LATER + timedelta(days=1), "made_by": cast.robin, "client": cast.harbourside, "now": LATER,
    }  # fmt: skip
    return offers.quote(**{**given, **terms})  # type: ignore[arg-type]


def test_the_haircuts_of_a_pool_hold_for_every_loan_of_it(cast: Cast, product: Product) -> None:
    link = AssetFactory(code="LINK")
    row = ProductHaircut.objects.create(product=product, asset=link, haircut=D("0.3"))
    pool = stories.offered(cast, opens_pool=True).margin_account
    ProductHaircut.objects.filter(pk=row.pk).update(haircut=D("0.1"))
    second = quoted(cast, product, margin_account=pool)
    assert term_sheets.of(term_sheets.versions(second).get()).collateral["LINK"][1] == D("0.3")


def test_the_database_keeps_what_secures_one_loan_alone(cast: Cast) -> None:
    own, pool = stories.offered(cast), stories.offered(cast, opens_pool=True)
    with pytest.raises(DatabaseError, match="never becomes a pool"), transaction.atomic():
        MarginAccount.objects.filter(pk=own.margin_account_id).update(kind=MarginAccount.Kind.POOL)
    another(pool).save(force_insert=True)
    with pytest.raises(DatabaseError, match="secures one loan alone"), transaction.atomic():
        another(own).save(force_insert=True)


def another(loan: Loan) -> Loan:
    """Return a second loan of a loan's margin account, not yet saved."""
    again = Loan.objects.get(pk=loan.pk)
    again.pk, again.public_id, again._state.adding = None, ids.new(), True
    return again

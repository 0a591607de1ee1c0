"""Posting: what is written, what is refused, what a second attempt returns."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import transaction

from lending import ledger
from lending.engine import accounts, entries
from lending.engine.chart import GUARDS, AccountKind, Category
from lending.engine.entries import Dues, Heading
from lending.models import Client, Entry, LedgerAccount, LedgerBalance, Loan, Posting
from tests.factories.lending import AT, AssetFactory, BookFactory, ClientFactory, LoanFactory

pytestmark = pytest.mark.django_db

D = Decimal
LATER = AT + dt.timedelta(hours=1)


@pytest.fixture
def client() -> Client:
    for code in ("USD", "BTC", "USDC"):
        AssetFactory(code=code)
    return ClientFactory()


@pytest.fixture
def heading(client: Client) -> Heading:
    return Heading(key="deposit:paper:1", effective_at=AT, book_id=BookFactory().pk, client_id=client.pk, cause="test")


def deposit(heading: Heading, quantity: str = "2", asset: str = "BTC") -> entries.Draft:
    return entries.deposit(heading, asset=asset, quantity=D(quantity), custodian="paper")


def test_an_entry_keeps_what_it_was_told_and_balances_follow(heading: Heading, client: Client) -> None:
    entry = ledger.post(deposit(heading), now=LATER)
    stored = Entry.objects.get(pk=entry.pk)
    assert (stored.kind, stored.effective_at, stored.recorded_at) == ("deposit", AT, LATER)
    assert stored.txid == entry.txid > 0
    assert {(p.account.kind, p.amount, p.client_id, p.cause) for p in stored.postings.all()} == {
        ("custody", D(2), client.pk, "test"),
        ("client_free", D(-2), client.pk, "test"),
    }
    assert ledger.balance(accounts.client_free("BTC", client.pk)) == D(-2)
    assert ledger.balance(accounts.custody("BTC", "paper")) == D(2)
    assert ledger.balance(accounts.custody("BTC", "elsewhere")) == 0


def test_the_same_key_with_the_same_content_returns_the_first_entry(heading: Heading) -> None:
    first = ledger.post(deposit(heading), now=AT)
    again = ledger.post(deposit(heading, "2.000"), now=LATER)
    assert (again.pk, again.recorded_at) == (first.pk, AT)
    assert Posting.objects.count() == 2


@pytest.mark.parametrize("change", [{"cause": "other"}, {"effective_at": LATER}, {"client_id": None}])
def test_the_same_key_with_other_content_is_refused(heading: Heading, change: dict[str, object]) -> None:
    amount = D(5)
    posted = entries.capital(heading, asset="USD", amount=amount, custodian="paper")
    ledger.post(posted, now=AT)
    other = entries.capital(replace(heading, **change), asset="USD", amount=amount, custodian="paper")
    with pytest.raises(ledger.UnableToPost, match="other content"):
        ledger.post(other, now=AT)
    assert Posting.objects.count() == 2


def test_a_client_can_not_spend_more_than_is_there(heading: Heading) -> None:
    ledger.post(deposit(heading), now=AT)
    request = entries.withdrawal_request(
        replace(heading, key="withdrawal:1"), asset="BTC", quantity=D("2.000000000000000001")
    )
    with pytest.raises(ledger.UnableToPost, match="balance_within_guard"), transaction.atomic():
        ledger.post(request, now=AT)
    assert Entry.objects.count() == 1


def test_an_unknown_asset_is_refused(heading: Heading) -> None:
    with pytest.raises(ledger.UnableToPost, match="DOGE"):
        ledger.post(deposit(heading, asset="DOGE"), now=AT)
    assert not Entry.objects.exists()


def test_a_batch_posts_each_key_once_and_keeps_the_order(heading: Heading, client: Client) -> None:
    drafts = [deposit(replace(heading, key=f"deposit:paper:{n}"), str(n)) for n in range(1, 31)]
    before = ledger.post(drafts[4], now=AT)
    posted = ledger.post_many([*drafts, drafts[0]], now=LATER)
    assert [entry.idempotency_key for entry in posted] == [d.idempotency_key for d in [*drafts, drafts[0]]]
    assert posted[4] == before
    assert posted[0] == posted[-1]
    assert ledger.balance(accounts.client_free("BTC", client.pk)) == -sum(range(1, 31))
    assert ledger.balance(accounts.custody("BTC", "paper")) == sum(range(1, 31))
    assert Posting.objects.count() == 60


def test_a_batch_with_two_contents_under_one_key_writes_nothing(heading: Heading) -> None:
    with pytest.raises(ledger.UnableToPost, match="twice"):
        ledger.post_many([deposit(heading, "1"), deposit(heading, "2")], now=AT)
    assert not Entry.objects.exists()


def test_a_house_account_is_striped_and_a_clients_is_not(heading: Heading) -> None:
    ledger.post_many((deposit(replace(heading, key=f"d{n}"), "1") for n in range(40)), now=AT)
    assert LedgerAccount.objects.filter(kind=AccountKind.CUSTODY).count() == 4
    assert LedgerAccount.objects.filter(kind=AccountKind.CLIENT_FREE).count() == 1


def test_every_account_opens_with_the_guard_of_its_kind(heading: Heading, client: Client) -> None:
    usd = AssetFactory(code="USD")
    for kind in AccountKind:
        LedgerAccount.objects.create(key=f"one {kind}", kind=kind, asset=usd, opened_at=AT)
    guards = {b.account.kind: b.guard for b in LedgerBalance.objects.filter(account__key__startswith="one ")}
    assert guards == {kind.value: GUARDS.get(kind, 0) for kind in AccountKind}


def test_a_reversal_mirrors_an_entry_once(heading: Heading, client: Client) -> None:
    entry = ledger.post(deposit(heading), now=AT)
    mirrored = ledger.reverse(entry, key="reversal:1", now=LATER, cause="reorg")
    assert mirrored.reverses == entry
    assert ledger.balance(accounts.client_free("BTC", client.pk)) == 0
    assert ledger.balance(accounts.custody("BTC", "paper")) == 0
    assert ledger.reverse(entry, key="reversal:1", now=LATER, cause="reorg", effective_at=LATER) == mirrored
    with pytest.raises(ledger.UnableToPost), transaction.atomic():
        ledger.reverse(entry, key="reversal:2", now=LATER, cause="reorg")


def test_a_sale_balances_in_both_assets_and_pays_the_loan(heading: Heading, client: Client) -> None:
    loan: Loan = LoanFactory(margin_account__client=client)
    margin_account_id = loan.margin_account_id
    of_loan = replace(heading, loan_id=loan.pk)

    def named(key: str) -> Heading:
        return replace(of_loan, key=key)

    desk = replace(heading, key="capital", client_id=None)
    ledger.post_many(
        [
            entries.capital(desk, asset="USD", amount=D(100_000), custodian="paper"),
            deposit(heading, "2"),
            entries.pledge(named("pledge"), asset="BTC", quantity=D(2), margin_account_id=margin_account_id),
            entries.disbursement(named("fund"), asset="USD", principal=D(50_000), origination_fee=D(500)),
            entries.accrual(named("accrual"), asset="USD", amount=D("13.89")),
            entries.hold(named("hold"), asset="BTC", quantity=D("1.5"), margin_account_id=margin_account_id),
        ],
        now=AT,
    )
    sale = entries.sale(
        named("fill:harbour:1"),
        asset="BTC",
        quantity=D("1.5"),
        proceeds_asset="USD",
        proceeds=D(51_000),
        margin_account_id=margin_account_id,
        dealer="harbour",
        liquidation_fee=D(510),
    )
    ledger.post(sale, now=AT)
    paid = Dues(interest=D("13.89"), principal=D(50_000))
    ledger.post(
        entries.waterfall(
            named("waterfall"), asset="USD", paid=paid, margin_account_id=margin_account_id, surplus=D("476.11")
        ),
        now=AT,
    )
    owner = ("USD", client.pk, loan.pk)
    assert ledger.balance(accounts.of_loan(AccountKind.LOAN_PRINCIPAL, *owner)) == 0
    assert ledger.balance(accounts.sale_proceeds("USD", client.pk, margin_account_id)) == 0
    assert ledger.balance(accounts.client_free("USD", client.pk)) == D("-49976.11")
    assert ledger.balance(accounts.house(AccountKind.EXCHANGE, "BTC")) == 0
    assert ledger.balance(accounts.house(AccountKind.DEALER_SETTLEMENT, "BTC", "harbour")) == D("-1.5")
    fees = Posting.objects.filter(account__kind=AccountKind.FEE_INCOME).values_list("category", "amount")
    assert set(fees) == {(Category.ORIGINATION_FEE, D(-500)), (Category.LIQUIDATION_FEE, D(-510))}

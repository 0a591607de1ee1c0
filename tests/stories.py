"""How stories begin: clients with loans, made through the verbs by the people who may."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from lending import collateral, ids, ledger, loans, notices, offers, permits
from lending.engine import entries
from lending.models import Asset, Client, Deposit, DepositAddress, Loan, MarginAccount, Product, User
from risk import cycle, margin_calls, prices
from risk.models import MarginCall
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory, ProductFactory
from tests.factories.prices import feed, ticks


def product() -> Product:
    """Return the product that stories lend by."""
    known = Product.objects.filter(code="term-usd").first()
    return known or ProductFactory(code="term-usd", name="Term loan in USD", origination_fee=Decimal(0))


def offered(cast: Cast, client: Client | None = None, *, principal: Decimal = Decimal(600_000), **terms: Any) -> Loan:
    """Return a loan that the client's relationship manager has offered."""
    client = client or cast.harbourside
    return offers.quote(
        client=client,
        product=product(),
        principal=principal,
        quoted_until=NOW + timedelta(days=1),
        made_by=client.relationship_manager,
        now=NOW,
        **{"annual_rate": Decimal("0.10"), "maturity_date": date(2021, 11, 19), **terms},
    )


def awaited(cast: Cast, client: Client | None = None, *, signer: User | None = None, **terms: Any) -> Loan:
    """Return a loan of a client that is signed and approved, and waits for its collateral."""
    loan = offers.accept(offered(cast, client, **terms), by=signer or cast.alice, now=NOW)
    return offers.collateral_pending(offers.approve(loan, by=cast.rhea, now=NOW), actor=cast.olga, now=NOW)


def deposited(client: Client, asset: str, quantity: Decimal, *, ref: str = "") -> Asset:
    """Give a client a free balance, as a confirmed deposit does."""
    row: Asset = AssetFactory(code=asset)
    heading = entries.Heading(
        key=f"deposit:{ref or f'test:{ids.new()}'}", effective_at=NOW, book_id=product().book_id, client_id=client.pk
    )
    ledger.post(entries.deposit(heading, asset=asset, quantity=quantity, custodian="paper"), now=NOW)
    return row


def running(
    cast: Cast,
    client: Client | None = None,
    *,
    signer: User | None = None,
    principal: Decimal = Decimal(600_000),
    btc: Decimal = Decimal(25),
    **terms: Any,
) -> Loan:
    """Return a funded loan of a client, secured by bitcoin."""
    loan = awaited(cast, client, signer=signer, principal=principal, **terms)
    bitcoin = deposited(loan.client, "BTC", btc)
    collateral.pledge(loan.margin_account, bitcoin, btc, key=f"pledge:{loan.public_id}", now=NOW)
    account = loan.margin_account
    account.refresh_from_db()
    permit = permits.issue(
        permits.DRAW, account, loan.asset, principal, snapshot_id=0, expires_at=NOW + timedelta(minutes=5)
    )
    return loans.fund(loan, permit=permit, actor=cast.olga, now=NOW)


def market(price: str, *, at: datetime) -> None:
    """Have three venues quote bitcoin, and mark the book."""
    for venue in ("alder", "birch", "cedar"):
        feed(venue, "BTC", "USD")
    rows = [(venue, "BTC-USD", price) for venue in ("alder", "birch", "cedar")]
    prices.record(ticks(rows, at=at), received_at=at)
    cycle.run(0, now=at)


def fall() -> None:
    """Let bitcoin fall to where every running loan is called, and the notices arrive."""
    cycle.forget()
    market("40000", at=NOW + timedelta(minutes=1))
    market("34000", at=NOW + timedelta(minutes=2))
    notices.send_due(now=NOW + timedelta(minutes=2))
    margin_calls.assess_due(now=NOW + timedelta(minutes=2))


def fall_again() -> None:
    """Let what was funded since the last fall be called too."""
    at = NOW + timedelta(minutes=2, seconds=15)
    market("33999", at=at)
    notices.send_due(now=at)
    margin_calls.assess_due(now=at)


def called(cast: Cast, client: Client | None = None, *, signer: User | None = None) -> MarginCall:
    """Return a margin call that was issued and received: bitcoin has fallen under a loan."""
    loan = running(cast, client, signer=signer)
    fall()
    return MarginCall.objects.get(margin_account=loan.margin_account_id)


def transfer_seen(account: MarginAccount) -> Deposit:
    """Return a transfer that is on its way to an address of a margin account."""
    bitcoin = AssetFactory(code="BTC")
    address = DepositAddress.objects.create(
        client=account.client,
        margin_account=account,
        asset=bitcoin,
        purpose=DepositAddress.Purpose.COLLATERAL,
        address=f"bc1-{account.public_id}",
        created_at=NOW,
    )
    return Deposit.objects.create(
        custodian="paper",
        custodian_ref=f"tx-{account.public_id}",
        position=account.pk,
        client=account.client,
        sent_to=address.address,
        address=address,
        asset=bitcoin,
        quantity=Decimal("1.25"),
        confirmations=1,
        screened=True,
        seen_at=NOW,
    )

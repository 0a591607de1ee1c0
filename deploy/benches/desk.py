"""A desk in the tables of a scratch database: many accounts with a loan and pledges each, and venues that quote."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from lending import term_sheets
from lending.models import (
    Asset,
    Book,
    Client,
    ClientUser,
    LadderTerms,
    Loan,
    MarginAccount,
    Pair,
    Pledge,
    Product,
    Role,
    RoleGrant,
    TermSheet,
    TermSheetAcceptance,
    User,
)
from risk import prices
from risk.engine.ticks import SourceTick
from risk.models import AssetPolicy, MarginState, MarginStatus, PriceFeed, Source

ASSETS = 200
BATCH = 100_000
SHARDS = tuple(range(MarginAccount.SHARDS))
VENUES = ("alder", "birch", "cedar")
LTVS = (0.2, 0.62)  # what a book holds while nothing happens: nobody is beyond his initial LTV by much
_HEARTBEAT = Decimal("1e-9")  # a venue whose price never moves at all is taken for a dead one

# 1 to 4 pledges an account, 2.4 on average, spread over the assets. The n-th asset costs 10 x n.
_PLEDGED = """
    INSERT INTO lending_pledge (client_id, margin_account_id, asset_id, quantity, held_quantity, haircut)
    SELECT %(client)s, a.id, %(first_asset)s + o.n,
           round((10000 + a.id * 37 %% 1000 * 100)::numeric / (10 * (1 + o.n)), 8), 0, (k %% 3) * 0.1
      FROM lending_marginaccount a, generate_series(1, (ARRAY[1, 2, 2, 3, 4])[1 + a.id %% 5]) k,
           LATERAL (SELECT (a.id * 7 + k * 31) %% %(assets)s AS n) o
     WHERE a.id BETWEEN %(low)s AND %(high)s
"""
_ACCOUNTS = """
    INSERT INTO lending_marginaccount
           (public_id, client_id, kind, terms_id, shard, version, touched_xid, frozen, created_at)
    SELECT gen_random_uuid(), %(client)s, 'ring_fenced', %(terms)s, 0, 0, 0, false, %(now)s
      FROM generate_series(1, %(count)s)
"""
_WORTH = """
    SELECT p.margin_account_id AS id, sum(p.quantity * 10 * (1 + p.asset_id - %(first_asset)s) * (1 - p.haircut)) AS usd
      FROM lending_pledge p WHERE p.margin_account_id BETWEEN %(low)s AND %(high)s GROUP BY p.margin_account_id
"""
# They stay quoted, so none of them accrues; what has to be read, summed and compared is the same.
_LOANS = f"""
    INSERT INTO lending_loan
           (public_id, client_id, margin_account_id, product_id, book_id, asset_id, principal, annual_rate,
            default_rate, day_count, origination_fee, start_at, maturity_date, state, principal_outstanding,
            interest_due, fees_due, interest_posted, accrued_at, quoted_until, payout_address, made_by_id)
    SELECT gen_random_uuid(), %(client)s, w.id, %(product)s, %(book)s, %(usd)s, l.owed, 0.1, 0.15, 'ACT/360', 0,
           %(now)s, %(now)s::date + 180, 'quoted', l.owed, 12.34, 0, 12.34, %(now)s, %(now)s, '', %(person)s
      FROM ({_WORTH}) w,
           LATERAL (SELECT round(w.usd * (%(safest)s + (%(riskiest)s - %(safest)s) * (w.id * 7919 %% 10007) / 10007), 2)
                    AS owed) l
"""  # noqa: S608
# As the marking worker left them: where this LTV is too close to a level to be sure, it decides once more.
_STATUSES = f"""
    INSERT INTO risk_marginstatus (margin_account_id, state, episode, since, breach_count, fence)
    SELECT w.id, CASE WHEN l.principal_outstanding + l.interest_due > t.warning_ltv * w.usd THEN 'warning'
                 ELSE 'healthy' END, 0, %(now)s, 0, 0
      FROM ({_WORTH}) w JOIN lending_loan l ON l.margin_account_id = w.id
      JOIN lending_marginaccount a ON a.id = w.id JOIN lending_ladderterms t ON t.id = a.terms_id
"""  # noqa: S608


@dataclass(frozen=True)
class Desk:
    """What the accounts of a filled database have in common."""

    client: Client
    terms: LadderTerms
    product: Product
    manager: User
    codes: tuple[str, ...]

    @property
    def price(self) -> Mapping[str, Decimal]:
        """Return the prices at which the accounts were given their LTVs."""
        return {code: Decimal(10 * (1 + n)) for n, code in enumerate(self.codes)}


def fill(loans: int, *, now: datetime, assets: int = ASSETS, ltvs: tuple[float, float] = LTVS) -> Desk:
    """Fill a scratch database with accounts, a debt each, their pledges and the state that they are in."""
    desk = _desk(assets, now=now)
    values: dict[str, Any] = {
        "now": now,
        "client": desk.client.pk,
        "terms": desk.terms.pk,
        "product": desk.product.pk,
        "book": desk.product.book_id,
        "usd": desk.product.asset_id,
        "person": desk.manager.pk,
        "first_asset": Asset.objects.get(code=desk.codes[0]).pk,
        "assets": assets,
        "safest": Decimal(str(ltvs[0])),
        "riskiest": Decimal(str(ltvs[1])),
    }
    with connection.cursor() as cursor:
        for start in range(0, loans, BATCH):
            cursor.execute(_ACCOUNTS, {**values, "count": min(BATCH, loans - start)})
        first, last = MarginAccount.objects.earliest("pk").pk, MarginAccount.objects.latest("pk").pk
        for low in range(first, last + 1, BATCH):
            span = {"low": low, "high": low + BATCH - 1}
            for statement in (_PLEDGED, _LOANS, _STATUSES):
                cursor.execute(statement, {**values, **span})
        cursor.execute("ANALYZE lending_marginaccount, lending_loan, lending_pledge, risk_marginstatus")
    return desk


def _desk(assets: int, *, now: datetime) -> Desk:
    manager = User.objects.create(email="bench@plimsoll.example", name="Bench")
    client = Client.objects.create(
        name="Bench", kind=Client.Kind.ENTITY, jurisdiction="CH", relationship_manager=manager, created_at=now
    )
    borrower = User.objects.create(email="borrower@bench.example", name="Borrower")
    ClientUser.objects.create(client=client, user=borrower, role=Role.BORROWER_ADMIN, created_at=now)
    usd, _ = Asset.objects.get_or_create(code="USD", defaults={"name": "USD", "kind": Asset.Kind.FIAT, "decimals": 2})
    codes = tuple(f"BENCH{n:03d}" for n in range(assets))
    for code in codes:
        Asset.objects.create(code=code, name=code, kind=Asset.Kind.CRYPTO, decimals=8)
    ratios = {"initial_ltv": "0.5", "warning_ltv": "0.65", "margin_call_ltv": "0.7", "accelerated_ltv": "0.75"}
    ratios |= {"liquidation_ltv": "0.8", "cure_to": "0.6", "liquidate_to": "0.6", "clear_ltv": "0.65"}
    ratios |= {"release_trigger": "0.4", "release_to": "0.5"}
    terms = LadderTerms.objects.create(
        name="bench",
        cure_period_s=86_400,
        accelerated_cure_period_s=14_400,
        **{name: Decimal(level) for name, level in ratios.items()},
    )
    book, _ = Book.objects.get_or_create(code="bench", defaults={"name": "bench"})
    product = Product.objects.create(code="bench", name="bench", asset=usd, day_count="ACT/360", terms=terms, book=book)
    return Desk(client, terms, product, manager, codes)


def on_the_edge(desk: Desk, code: str, edges: Sequence[Decimal], *, now: datetime) -> None:
    """Add an account for every price: while its one asset costs less it stands above its margin call level."""
    usd, asset = Asset.objects.get(code="USD"), Asset.objects.get(code=code)
    accounts = MarginAccount.objects.bulk_create(
        MarginAccount(client=desk.client, terms=desk.terms, shard=0, created_at=now) for _ in edges
    )
    quantity = Decimal(10_000)
    owed = [(quantity * price * desk.terms.margin_call_ltv).quantize(Decimal("0.01")) for price in edges]
    Pledge.objects.bulk_create(
        Pledge(client=desk.client, margin_account=account, asset=asset, quantity=quantity, held_quantity=0, haircut=0)
        for account in accounts
    )
    Loan.objects.bulk_create(
        Loan(
            client=desk.client, margin_account=account, product=desk.product, book=desk.product.book, asset=usd,
            principal=debt, principal_outstanding=debt, annual_rate=Decimal("0.1"), default_rate=Decimal("0.2"),
            day_count="ACT/360", maturity_date=now.date(), quoted_until=now, made_by=desk.manager,
        )
        for account, debt in zip(accounts, owed, strict=True)
    )  # fmt: skip
    MarginStatus.objects.bulk_create(
        MarginStatus(margin_account=account, state=MarginState.WARNING, since=now) for account in accounts
    )


def open_venues(codes: Sequence[str]) -> None:
    """Let every venue quote every asset in USD."""
    usd = Asset.objects.get(code="USD")
    venues = [Source.objects.create(code=venue, name=venue.title()) for venue in VENUES]
    for asset in Asset.objects.filter(code__in=codes):
        AssetPolicy.objects.create(
            asset=asset,
            quorum=3,
            clamp=Decimal("0.005"),
            band=Decimal("0.1"),
            daily_volume_usd=Decimal(1_000_000_000),
            daily_volatility=Decimal("0.05"),
            lot=Decimal("0.0001"),
            clip_usd=Decimal(1_000_000),
            throttle_usd_per_minute=Decimal(10_000_000),
        )
        pair = Pair.objects.create(base=asset, quote=usd)
        PriceFeed.objects.bulk_create(
            PriceFeed(source=venue, pair=pair, weight=Decimal(1), stale_after_s=60) for venue in venues
        )


def quote(price: Mapping[str, Decimal], *, round_number: int, now: datetime) -> None:
    """Record one tick of every venue and asset, as the feed does."""
    beat = 1 + _HEARTBEAT * (round_number % 2)
    ticks = [SourceTick(venue, code, "USD", usd * beat, now) for code, usd in price.items() for venue in VENUES]
    prices.record(ticks, received_at=now)


def person(email: str, password: str, role: Role, *, now: datetime) -> User:
    """Return a member of staff who can sign in."""
    user = User.objects.create_user(email, password=password, name=email)
    User.objects.filter(pk=user.pk).update(is_staff=True)
    RoleGrant.objects.create(user=user, role=role, granted_at=now)
    return user


def sign(loans: QuerySet[Loan], *, by: User, now: datetime) -> None:
    """Give loans that were written as rows an empty term sheet each, accepted, so that they may be moved on."""
    content = "{}"
    content_hash = hashlib.sha256(content.encode()).digest()
    sheets = TermSheet.objects.bulk_create(
        TermSheet(
            client_id=loan.client_id, loan=loan, version=1, content=content, content_hash=content_hash,
            offered_at=now, made_by_id=loan.made_by_id,
        )
        for loan in loans
    )  # fmt: skip
    TermSheetAcceptance.objects.bulk_create(term_sheets.acceptance(sheet, signer=by, now=now) for sheet in sheets)
    loans.update(accepted_by=by)

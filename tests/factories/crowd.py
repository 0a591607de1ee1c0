"""Accounts by the thousand, with or without open calls as one tick of a crash leaves them: rows alone, made quickly."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection

from lending.models import Client, LadderTerms, MarginAccount, Product, User
from risk import prices
from risk.models import CallLevel, CallState, MarginCall
from tests.factories.lending import AssetFactory, LadderTermsFactory, ProductFactory

_LOANS = """
    INSERT INTO lending_loan
           (public_id, client_id, margin_account_id, product_id, book_id, asset_id, principal, annual_rate,
            default_rate, day_count, origination_fee, start_at, maturity_date, state, principal_outstanding,
            interest_due, fees_due, interest_posted, accrued_at, quoted_until, payout_address, made_by_id)
    SELECT gen_random_uuid(), a.client_id, a.id, %(product)s, %(book)s, %(usd)s, owed, 0.1, 0.15, 'ACT/360', 0,
           %(now)s, %(now)s::date + 180, 'quoted', owed, 0, 0, 0, %(now)s, %(now)s, '', %(person)s
      FROM lending_marginaccount a, LATERAL (SELECT 20000 + (a.id * 37 %% %(spread)s)) AS debt(owed)
     WHERE a.terms_id = %(terms)s
"""
_PLEDGES = """
    INSERT INTO lending_pledge (client_id, margin_account_id, asset_id, quantity, held_quantity, haircut)
    SELECT a.client_id, a.id, %(btc)s, 0.85, 0, 0 FROM lending_marginaccount a WHERE a.terms_id = %(terms)s
"""


def indebted(
    clients: list[Client], manager: User, *, count: int, now: datetime, spread: int = 5000, **ladder: object
) -> LadderTerms:
    """Write accounts over some clients, each with 0.85 BTC and up to `spread` USD more than 20,000 owed."""
    terms: LadderTerms = LadderTermsFactory(name=f"crowd of {count}", **ladder)
    product: Product = ProductFactory(code="crowd", asset=AssetFactory(code="USD"), terms=terms)
    MarginAccount.objects.bulk_create(
        MarginAccount(client=clients[n % len(clients)], terms=terms, shard=0, created_at=now) for n in range(count)
    )
    facts = {
        "terms": terms.pk,
        "product": product.pk,
        "book": product.book_id,
        "usd": product.asset_id,
        "btc": AssetFactory(code="BTC").pk,
        "person": manager.pk,
        "now": now,
        "spread": spread,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LOANS, facts)
        cursor.execute(_PLEDGES, facts)
    return terms


def called(clients: list[Client], manager: User, *, count: int, now: datetime) -> None:
    """Write accounts with a loan, bitcoin and an open call each, over some clients; a market must stand."""
    terms, usd = indebted(clients, manager, count=count, now=now), AssetFactory(code="USD")
    snapshot = prices.snapshot(prices.current(now=now), now=now)
    accounts = MarginAccount.objects.filter(terms=terms).order_by("pk")
    MarginCall.objects.bulk_create(
        MarginCall(
            client_id=account.client_id,
            margin_account=account,
            episode=1,
            level=CallLevel.CALL,
            state=CallState.NOTIFIED,
            ltv=Decimal("0.72"),
            debt_usd=Decimal(20_000),
            weighted_collateral_usd=Decimal(27_000),
            snapshot=snapshot,
            cure_asset=usd,
            cash_cure=Decimal(4_000),
            cure_period_s=terms.cure_period_s,
            issued_at=now,
            received_at=now,
            cure_due_at=now + timedelta(seconds=terms.cure_period_s - number % 3600),
        )
        for number, account in enumerate(accounts)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE lending_marginaccount, lending_loan, lending_pledge, risk_margincall")

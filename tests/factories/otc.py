"""Rows of otc for tests: dealers, marks a sale may rest on, and orders whose collateral is held."""

import datetime as dt
from decimal import Decimal

import factory

from lending import collateral, ids, loans
from lending.models import Loan, LoanState, Pledge
from otc.models import Dealer, Quote
from risk import prices
from risk.models import LiquidationOrder, Mark, MarkMinute, Quality, SaleCause
from tests.factories import lending as make

NOW = dt.datetime(2021, 5, 19, 13, 10, tzinfo=dt.UTC)
CODES = ("harbour", "meridian", "northgate")


class DealerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Dealer
        django_get_or_create = ("code",)

    code = "harbour"
    name = factory.LazyAttribute(lambda dealer: dealer.code.title())
    simulated = True
    settlement_address = factory.LazyAttribute(lambda dealer: f"dealer:{dealer.code}")


def mark(code: str, price: str | Decimal, *, now: dt.datetime = NOW, quality: str = Quality.GOOD) -> Mark:
    """Publish a mark, and keep its minute."""
    asset = make.asset(code)
    row, _ = Mark.objects.update_or_create(
        asset=asset,
        defaults={
            "price": Decimal(price),
            "quality": quality,
            "as_of": now,
            "last_good_price": Decimal(price),
            "last_good_at": now,
            "good_streak": 9,
        },
    )
    minute = now.replace(second=0, microsecond=0)
    MarkMinute.objects.get_or_create(asset=asset, at=minute, defaults={"price": Decimal(price), "quality": quality})
    return row


def ordered(loan: Loan, code: str, quantity: str | Decimal, *, now: dt.datetime = NOW) -> LiquidationOrder:
    """Order the sale of some of a loan's collateral for a declared cause, as risk does."""
    account = loan.margin_account
    snapshot = prices.snapshot(prices.current(now=now), now=now)
    cause, _ = SaleCause.objects.get_or_create(
        client=loan.client,
        margin_account=account,
        episode=1,
        defaults={
            "kind": SaleCause.Kind.TWO_KEY,  # stands whatever the price does
            "snapshot": snapshot,
            "evidence": {"ltv": "0.81"},
            "declared_at": now,
        },
    )
    slice_number = 1 + cause.orders.count()
    order = LiquidationOrder.objects.create(
        public_id=ids.derived("order", account.public_id, 1, slice_number, code),
        client=loan.client,
        margin_account=account,
        episode=1,
        slice=slice_number,
        asset=make.asset(code),
        cause=cause,
        quantity=Decimal(quantity),
        mark_price=Mark.objects.get(asset__code=code).price,
        snapshot=snapshot,
        ordered_at=now,
    )
    collateral.hold(account, order.asset, order.quantity, key=f"hold:{order.public_id}", now=now)
    loan.refresh_from_db()
    if loan.state == LoanState.ACTIVE:
        loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="two_key 1", now=now)
    return order


def held(desk):
    """Return what of the loan's collateral is held for a sale."""
    return Pledge.objects.get(margin_account=desk.loan.margin_account).held_quantity


def states():
    """Return each dealer's newest answer by code."""
    return dict(Quote.objects.order_by("dealer__code").values_list("dealer__code", "state"))


def trade(desk, rounds=3):
    """Take a desk from its order through some rounds of trading."""
    desk.until_quoted()
    for _ in range(rounds):
        desk.step()
        desk.wait()

"""A revolving line on the demo desk: opened for a visitor's client against bitcoin, and drawn in part."""

from datetime import datetime, timedelta
from decimal import Decimal

from deploy.demo import outside, reference
from deploy.demo.books import VISITORS
from lending import custody, draws, ids, opening
from lending.models import ClientUser, DepositAddress, Product
from risk import permits

_LIMIT, _DRAWN, _RATE = Decimal(600_000), Decimal(200_000), Decimal("0.09")
_COINS = Decimal(45)  # no price of the crash brings it near a call
_OPENED_BEFORE = timedelta(hours=1)


def load(*, now: datetime) -> None:
    """Open a line for the first visitor's client, have its collateral arrive, and pay a first draw out."""
    own = ClientUser.objects.filter(user__name=VISITORS[0]).select_related("client__relationship_manager", "user")
    found = own.order_by("pk").first()
    if found is None:
        return
    before, client, signer = now - _OPENED_BEFORE, found.client, found.user
    olga, hugo = (reference.staff(name) for name in ("olga", "hugo"))
    offer = opening.Offer(
        client=client,
        product=Product.objects.select_related("asset", "book", "terms").get(code=reference.LINE.product("USD")),
        principal=_LIMIT,
        annual_rate=_RATE,
        maturity_date=None,
        accepted_by=signer,
        payout_address=f"paper:client:{client.public_id}",
        collateral=(("BTC", _COINS),),
        public_id=ids.derived("loan", "line", client.public_id),
    )
    (line,) = opening.open_offers([offer], approved_by=hugo, actor=olga, now=before)
    to = DepositAddress.objects.get(
        margin_account=line.margin_account, asset__code="BTC", purpose=DepositAddress.Purpose.COLLATERAL
    )
    ref = f"collateral:{line.public_id}:BTC"
    outside.bank().simulate_deposit(ref, address=to.address, asset="BTC", quantity=_COINS, at=before)
    for step in (custody.poll_due, custody.credit_due):
        while step(now=now):
            continue
    (permit,) = permits.issue_draws([line], now=now)
    (line,) = opening.fund_all([(line, permit)], actor=olga, now=now)
    draws.ask(line, _DRAWN, by=signer, now=now)
    permit = permits.issue_draw(line.margin_account, line.asset, _DRAWN, now=now)
    draws.pay_out(line.draws.get(), permit=permit, actor=olga, now=now)

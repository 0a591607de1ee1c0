"""A falling market, three dealers that follow a script, and an order to sell 10 of 25 bitcoin."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.conf import LazySettings

from lending import ports as lending_ports
from lending.models import Loan
from otc import fills, ports, quotes, rfqs, settlement
from risk.models import LiquidationOrder
from tests.factories import lending as make
from tests.factories.dealers import ScriptedDealer
from tests.factories.otc import CODES, NOW, DealerFactory, mark, ordered
from tests.factories.prices import policy

WINDOW = timedelta(seconds=60)


@pytest.fixture(autouse=True)
def custodian(settings: LazySettings) -> Iterator[None]:
    """Hold everything in this process."""
    settings.LENDING_CUSTODIAN = "lending.adapters.custodian_inprocess.build"
    lending_ports.custodian.cache_clear()
    yield
    lending_ports.custodian.cache_clear()


@dataclass
class Desk:
    """Everything a test of the desk needs, and its clock."""

    loan: Loan
    order: LiquidationOrder
    dealers: dict[str, ScriptedDealer]
    now: datetime

    def wait(self, seconds: int = 15, price: str | Decimal | None = "28000") -> datetime:
        """Let time pass, with a fresh mark unless the feed is dead."""
        self.now += timedelta(seconds=seconds)
        if price is not None:
            mark("BTC", price, now=self.now)
        return self.now

    def step(self) -> None:
        """Do what the desk does in one round."""
        for verb in (rfqs.open_due, quotes.collect_due, quotes.accept_due, fills.poll_due, settlement.settle_due):
            verb(now=self.now)

    def until_quoted(self) -> None:
        """Go to where bids lie on the table."""
        rfqs.open_due(now=self.now)
        self.wait(60)
        rfqs.open_due(now=self.now)
        quotes.collect_due(now=self.now)

    def fresh_order(self) -> LiquidationOrder:
        return LiquidationOrder.objects.get(pk=self.order.pk)


@pytest.fixture
def desk(db: None) -> Iterator[Desk]:
    """500,000 USD against 25 BTC at 28,000: 71 % where 60 % is the target."""
    policy("BTC", block_window_s=60)
    loan = make.active_loan(now=NOW - timedelta(hours=5), opens_pool=True)
    mark("BTC", "28000")
    order = ordered(loan, "BTC", "10")
    dealers = {code: ScriptedDealer(code, price=Decimal(27_900) - n) for n, code in enumerate(CODES)}
    for code in CODES:
        DealerFactory(code=code)
    with ports.using(dealers):
        yield Desk(loan, order, dealers, NOW)

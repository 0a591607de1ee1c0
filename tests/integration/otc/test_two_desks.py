"""Two workers on the same rows at the same time: one acceptance, one fill, one booking."""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connections

from lending import repayments
from lending.models import Posting, Repayment
from otc import fills, invariants, ports, quotes, rfqs, settlement
from otc.models import Allocation, Fill, Quote, Rfq
from risk.models import LiquidationOrder
from tests.factories import lending as make
from tests.factories.dealers import ScriptedDealer
from tests.factories.otc import CODES, NOW, DealerFactory, mark, ordered
from tests.factories.prices import policy
from tests.integration.otc.conftest import Desk


@pytest.fixture
def committed(real_db):
    policy("BTC", block_window_s=60)
    loan = make.active_loan(now=NOW - timedelta(hours=5))
    mark("BTC", "28000")
    order = ordered(loan, "BTC", "10")
    dealers = {code: ScriptedDealer(code, price=Decimal(27_900) - n) for n, code in enumerate(CODES)}
    for code in CODES:
        DealerFactory(code=code)
    with ports.using(dealers):
        yield Desk(loan, order, dealers, NOW)


def together(*works: Callable[[], object]) -> list[BaseException]:
    """Run some works in threads with connections of their own, and return what they raised."""
    raised: list[BaseException] = []
    gate = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        gate.wait()
        try:
            work()
        except Exception as error:  # noqa: BLE001 - handed to the test
            raised.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_two_workers_do_everything_once(committed):
    desk = committed
    steps = (rfqs.open_due, quotes.collect_due, quotes.accept_due, fills.poll_due, settlement.settle_due)
    for _ in range(6):
        desk.wait(30)
        for step in steps:
            assert together(*[lambda step=step: step(now=desk.now)] * 3) == []
    for _ in range(20):
        desk.wait(60)
        assert together(*[lambda: settlement.settle_due(now=desk.now)] * 3) == []
    assert Rfq.objects.count() == 1
    assert Quote.objects.filter(state="accepted").count() == 1
    assert sum(verb == "accept" for dealer in desk.dealers.values() for verb, _ in dealer.heard) == 1
    assert (Fill.objects.count(), Allocation.objects.count(), Repayment.objects.count()) == (1, 1, 1)
    assert Posting.objects.filter(entry__kind="settlement").count() == 4
    assert LiquidationOrder.objects.get().filled_quantity == 10
    assert invariants.check() == []


@pytest.mark.parametrize("attempt", range(3))
def test_a_cure_and_an_acceptance_at_the_same_moment_end_in_one_or_the_other(committed, attempt):
    desk = committed
    desk.until_quoted()
    make.give(desk.loan.client, "USD", "200000", now=desk.now)

    def cure() -> None:
        repayments.record(desk.loan, Decimal(200_000), key="cure", received_at=desk.now, now=desk.now)

    assert together(cure, lambda: quotes.accept_due(now=desk.now)) == []
    order = LiquidationOrder.objects.get()
    # Whoever locked the account first: sold as quoted, or given back whole. Never a part of both.
    assert (order.committed_quantity, order.cancelled_quantity) in {(10, 0), (0, 10)}
    accepted = any(verb == "accept" for dealer in desk.dealers.values() for verb, _ in dealer.heard)
    assert accepted == (order.committed_quantity == 10)
    assert invariants.check() == []

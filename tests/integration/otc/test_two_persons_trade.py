"""On a degraded mark the desk trades what two persons agreed to, with two bids, and nothing that waits beside it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from lending import approvals
from lending.models import Approval, Role
from otc import invariants, quotes, rfqs
from otc.models import Allocation, Commitment, Fill, Rfq, ThrottleDecision
from risk import two_keys
from risk.models import AssetPolicy, LiquidationOrder, MarginStatus, Mark, OrderState, Quality
from tests.factories import lending as make
from tests.factories.otc import mark, ordered
from tests.factories.risk import staff

D = Decimal


def agree(desk, order: LiquidationOrder, kind: str = two_keys.SALE_ON_DEGRADED) -> Approval:
    """Have two persons of risk agree to one episode's sale."""
    asked = two_keys.request(kind, order.margin_account, order.episode, maker=staff(Role.RISK), now=desk.now)
    return approvals.decide(asked, checker=staff(Role.RISK_HEAD), approve=True, now=desk.now)


def degrade(desk, seconds: int = 15, price: str = "28000", quality: str = Quality.DEGRADED) -> None:
    desk.wait(seconds, price=None)
    mark("BTC", price, now=desk.now, quality=quality)


@pytest.fixture
def other(desk) -> LiquidationOrder:
    """An order of 5 BTC of another client, in the same block as the desk's own of 10."""
    return ordered(make.active_loan(now=desk.now - timedelta(hours=5)), "BTC", "5", now=desk.now)


@pytest.fixture
def waiting(desk, other):
    """Both orders in a block whose window is over, and the mark degraded."""
    desk.step()
    degrade(desk, 60)
    return desk


def rounds(desk, count: int = 4, **changes: str) -> None:
    for _ in range(count):
        desk.step()
        degrade(desk, **changes)


def test_only_the_order_that_two_persons_agreed_to_is_put_out_and_sold(waiting, other):
    desk = waiting
    rounds(desk)
    assert not Rfq.objects.exists()
    agreed = agree(desk, desk.order)
    rounds(desk)
    rfq = Rfq.objects.get()
    assert (rfq.quantity, rfq.basis) == (10, Rfq.Basis.DEGRADED)
    assert Allocation.objects.get().part.order == desk.order
    assert desk.fresh_order().state == OrderState.FILLED
    other.refresh_from_db()
    assert (other.state, other.filled_quantity, other.committed_quantity) == (OrderState.PENDING, 0, 0)
    agreed.refresh_from_db()
    assert agreed.state == Approval.State.EXECUTED
    assert invariants.check() == []
    # Good again: what waited is sold without anybody.
    for _ in range(4):
        desk.wait()
        desk.step()
    other.refresh_from_db()
    assert (other.state, Rfq.objects.order_by("clip").last().basis) == (OrderState.FILLED, Rfq.Basis.AUTOMATIC)
    assert invariants.check() == []


def test_the_door_to_two_persons_opens_for_an_order_that_waits_at_the_desk(waiting, other):
    account = other.margin_account
    assert two_keys.needed(account, other.episode) == [two_keys.SALE_ON_DEGRADED]
    waiting.wait()
    assert two_keys.needed(account, other.episode) == []


def test_two_bids_or_wait_all_the_more(waiting):
    desk = waiting
    agree(desk, desk.order)
    desk.dealers["harbour"].price = desk.dealers["meridian"].price = None
    rounds(desk, 2)
    assert {rfq.note[:24] for rfq in Rfq.objects.all()} == {"1 of 3 bids executable: "}
    assert not Commitment.objects.exists()
    desk.dealers["harbour"].price = D(26_599)  # below the collar
    rounds(desk)
    assert not Commitment.objects.exists()
    desk.dealers["meridian"].price = D(27_800)
    rounds(desk)
    assert Fill.objects.get().price == 27_898


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.HALTED])
def test_nobody_sells_on_a_mark_that_is_no_price(waiting, quality):
    desk = waiting
    agree(desk, desk.order)
    degrade(desk, quality=quality)
    rounds(desk, quality=quality)
    assert not Rfq.objects.exists()


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.HALTED])
def test_a_mark_that_gets_worse_holds_the_bids_that_lie_on_the_table(waiting, quality):
    desk = waiting
    agree(desk, desk.order)
    rfqs.open_due(now=desk.now)
    quotes.collect_due(now=desk.now)
    degrade(desk, quality=quality)
    rounds(desk, quality=quality)
    assert Rfq.objects.get().quotes.filter(price__gt=0).count() == 3
    assert not Commitment.objects.exists()


def test_a_request_for_all_is_not_accepted_when_the_mark_degrades(desk, other):
    desk.until_quoted()
    assert Rfq.objects.get().quantity == 15
    degrade(desk)
    agree(desk, desk.order)
    rounds(desk, 2)
    assert not Commitment.objects.exists()
    degrade(desk, 60)
    desk.step()
    degrade(desk, 15)
    rounds(desk)
    assert list(Rfq.objects.order_by("clip").values_list("quantity", "state", "basis")) == [
        (15, "expired", "automatic"),
        (10, "accepted", "sale_on_degraded"),
    ]
    assert invariants.check() == []


def test_a_request_for_the_agreed_alone_stays_so_when_the_mark_is_good_again(waiting, other):
    desk = waiting
    agree(desk, desk.order)
    for dealer in desk.dealers.values():
        dealer.deaf = True
    desk.step()
    assert Rfq.objects.get().quantity == 10
    for dealer in desk.dealers.values():
        dealer.deaf = False
    desk.wait()
    desk.step()
    assert set(Commitment.objects.values_list("part__order", flat=True)) == {desk.order.pk}


def test_an_agreement_that_ran_out_sells_nothing(waiting):
    desk = waiting
    agreed = agree(desk, desk.order)
    for dealer in desk.dealers.values():
        dealer.deaf = True
    desk.step()
    for dealer in desk.dealers.values():
        dealer.deaf = False
    Approval.objects.filter(pk=agreed.pk).update(expires_at=desk.now)
    degrade(desk)
    desk.step()
    assert not Commitment.objects.exists()
    assert Rfq.objects.get().state == Rfq.State.CANCELLED


def test_scarce_capacity_is_shared_among_what_may_be_sold(waiting):
    desk = waiting
    AssetPolicy.objects.update(clip_usd=10_000_000, throttle_usd_per_minute=140_000)
    agree(desk, desk.order)
    desk.step()
    assert Rfq.objects.get().quantity == 5
    decision = ThrottleDecision.objects.get()
    assert (decision.wanted_usd, decision.granted_usd) == (280_000, 140_000)


def test_a_sale_on_a_degraded_mark_without_two_persons_is_noticed(waiting):
    desk = waiting
    agreed = agree(desk, desk.order)
    rounds(desk)
    assert invariants.check() == []
    Approval.objects.filter(pk=agreed.pk).update(decided_at=desk.now + timedelta(hours=1))
    assert [violation.code for violation in invariants.check()] == ["I16"]


def test_a_sale_against_a_single_bid_is_noticed(waiting):
    desk = waiting
    agree(desk, desk.order)
    rounds(desk)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE otc_rfq SET collar_price = 27900")
    assert [violation.code for violation in invariants.check()] == ["I16"]


def back_from_an_outage(desk, price: str) -> None:
    """Have a good mark of this price, in the ten minutes after an outage."""
    desk.wait(15, price=price)
    Mark.objects.update(grace_until=desk.now + timedelta(minutes=10))
    MarginStatus.objects.update_or_create(
        margin_account=desk.loan.margin_account,
        defaults={
            "since": desk.now,
            "breach_since": desk.now,
            "ltv": D(500_000) / (25 * D(price)),
            "state": "liquidate",
            "episode": 1,
        },
    )
    for dealer in desk.dealers.values():
        dealer.price = D(price) - 50


def test_past_the_gap_limit_two_persons_and_two_bids_end_the_grace(waiting, other):
    desk = waiting
    back_from_an_outage(desk, "23000")  # 87 %, the limit is 83 %
    desk.step()
    assert not Rfq.objects.exists()
    assert two_keys.needed(desk.loan.margin_account, 1) == [two_keys.SALE_IN_GRACE]
    agree(desk, desk.order, two_keys.SALE_IN_GRACE)
    for code in ("meridian", "northgate"):
        desk.dealers[code].price = None
    desk.step()
    desk.wait(15, price="23000")
    desk.step()
    assert {rfq.note[:24] for rfq in Rfq.objects.exclude(note="")} == {"1 of 3 bids executable: "}
    for code in ("meridian", "northgate"):
        desk.dealers[code].price = D(22_900)
    for _ in range(3):
        desk.wait(15, price="23000")
        desk.step()
    assert desk.fresh_order().state == OrderState.FILLED
    assert set(Commitment.objects.values_list("part__order", flat=True)) == {desk.order.pk}
    assert Rfq.objects.order_by("clip").last().basis == Rfq.Basis.IN_GRACE
    assert invariants.check() == []


def test_short_of_the_gap_limit_the_grace_is_kept_whoever_agreed(waiting):
    desk = waiting
    back_from_an_outage(desk, "23000")
    agree(desk, desk.order, two_keys.SALE_IN_GRACE)
    back_from_an_outage(desk, "24500")  # 81.6 %
    for _ in range(4):
        desk.step()
        desk.wait(15, price="24500")
    assert not Commitment.objects.exists()
    assert two_keys.needed(desk.loan.margin_account, 1) == []

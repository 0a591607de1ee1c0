"""From an order to money: one block, one best bid, one booking; and every way in which a dealer can be difficult."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lending import ledger, loans, offers, repayments
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import Entry, LoanState, Posting, Repayment
from otc import blocks, fills, invariants, quotes, rfqs, settlement
from otc.models import Allocation, Block, Commitment, Fill, Rfq, Settlement, ThrottleDecision
from risk.models import AssetPolicy, Incident, OrderState, Quality
from tests.factories import lending as make
from tests.factories.otc import NOW, held, mark, ordered, trade

D = Decimal


def test_an_order_becomes_money_and_the_money_pays_the_loan(desk):
    trade(desk)
    fill = Fill.objects.get()
    assert (fill.dealer.code, fill.quantity, fill.price) == ("harbour", 10, 27_900)
    assert fill.slippage_bps == D("35.7143")  # 100 of 28,000
    order = desk.fresh_order()
    assert (order.state, order.filled_quantity, order.committed_quantity) == (OrderState.FILLED, 10, 0)
    assert order.proceeds == 279_000
    payment = Repayment.objects.get()
    assert payment.amount == 279_000 - 2_790  # less the liquidation fee of 1 %
    desk.loan.refresh_from_db()
    assert desk.loan.principal_outstanding == 500_000 - payment.principal
    assert held(desk) == 0
    entry = Allocation.objects.get().entry
    assert entry.idempotency_key == f"fill:harbour:{fill.dealer_fill_id}:{order.public_id}"
    assert Block.objects.get().state == Block.State.DONE
    assert invariants.check() == []


def test_coins_and_cash_change_hands_after_the_dealers_lag(desk):
    trade(desk)
    row = Settlement.objects.get()
    assert (row.state, row.quantity, row.cash) == ("instructed", 10, 279_000)
    owed = accounts.house(AccountKind.DEALER_SETTLEMENT, "BTC", "harbour")
    assert ledger.balance(owed) == -10
    for _ in range(30):
        settlement.settle_due(now=desk.wait(60))
    row.refresh_from_db()
    assert row.state == "settled"
    assert ledger.balance(owed) == 0
    assert ledger.balance(accounts.custody("BTC", "paper")) == 15
    assert make.paper().balances(at=desk.now)["BTC"] == 15
    assert Entry.objects.filter(kind="settlement").count() == 1
    assert invariants.check() == []


def test_nothing_goes_out_before_the_window_ends_and_orders_are_netted(desk):
    other = make.active_loan(now=desk.now - timedelta(hours=5))
    second = ordered(other, "BTC", "5", now=desk.now)
    rfqs.open_due(now=desk.now)
    assert not Rfq.objects.exists()
    trade(desk)
    block = Block.objects.get()
    assert (block.quantity, block.filled_quantity) == (15, 15)
    assert Rfq.objects.get().quantity == 15
    assert dict(Allocation.objects.values_list("part__order", "quantity")) == {desk.order.pk: 10, second.pk: 5}
    assert sum(Allocation.objects.values_list("proceeds", flat=True)) == 15 * 27_900
    assert Settlement.objects.get().cash == 15 * 27_900
    assert invariants.check() == []


def test_a_latecomer_joins_the_next_block(desk):
    desk.until_quoted()
    other = make.active_loan(now=desk.now - timedelta(hours=5))
    ordered(other, "BTC", "5", now=desk.now - timedelta(seconds=60))
    blocks.gather_due(now=desk.now)
    assert sorted(Block.objects.values_list("quantity", flat=True)) == [5, 10]


def test_two_bids_or_wait(desk):
    desk.dealers["harbour"].price = None
    desk.dealers["meridian"].price = None
    desk.until_quoted()
    desk.step()
    rfq = Rfq.objects.get()
    assert rfq.state == Rfq.State.EXPIRED
    assert "1 of 3 bids executable" in rfq.note
    assert not Fill.objects.exists()
    desk.dealers["meridian"].price = D(27_950)
    desk.wait()
    desk.step()
    assert Rfq.objects.count() == 2
    assert Fill.objects.get().price == 27_950


def test_a_bid_below_the_collar_or_far_above_the_mark_is_no_bid(desk):
    desk.dealers["harbour"].price = D(26_599)  # 28,000 less 5 % is 26,600
    desk.dealers["meridian"].price = D(29_401)
    desk.until_quoted()
    desk.step()
    assert "1 of 3 bids executable" in Rfq.objects.get().note
    assert not Commitment.objects.exists()


def test_the_collar_follows_the_mark_up(desk):
    desk.until_quoted()
    desk.wait(15, price="29500")  # 95 % of it is above every bid
    desk.step()
    assert "0 of 3 bids executable" in Rfq.objects.order_by("clip").first().note
    assert not Fill.objects.exists()


@pytest.mark.parametrize("quality", [Quality.DEGRADED, Quality.STALE, Quality.HALTED])
def test_no_sale_on_a_mark_that_is_not_good(desk, quality):
    desk.until_quoted()
    desk.wait(price=None)
    mark("BTC", "28000", now=desk.now, quality=quality)
    desk.step()
    assert not Commitment.objects.exists()
    assert Rfq.objects.get().state == Rfq.State.QUOTED
    desk.wait(100, price=None)
    mark("BTC", "28000", now=desk.now, quality=quality)
    desk.step()
    assert Rfq.objects.get().state == Rfq.State.EXPIRED
    assert desk.fresh_order().state == OrderState.PENDING


def test_no_sale_on_a_mark_that_nobody_renewed(desk):
    desk.until_quoted()
    desk.wait(50, price=None)
    desk.wait(100, price=None)
    desk.step()
    assert not Commitment.objects.exists()


def test_clips_and_the_throttle(desk):
    AssetPolicy.objects.update(clip_usd=112_000, throttle_usd_per_minute=168_000)
    desk.until_quoted()
    desk.step()
    desk.wait()
    desk.step()
    desk.wait()
    desk.step()
    assert [rfq.quantity for rfq in Rfq.objects.order_by("clip")] == [4, 2]
    decision = ThrottleDecision.objects.order_by("decided_at").first()
    assert (decision.rank, decision.wanted_usd, decision.granted_usd) == (1, 112_000, 56_000)
    assert decision.expected_loss_usd > 0
    desk.wait(60)
    desk.step()
    assert [rfq.quantity for rfq in Rfq.objects.order_by("clip")] == [4, 2, 4]
    desk.step()
    assert desk.fresh_order().state == OrderState.FILLED


def test_the_surplus_is_the_clients_and_the_loan_is_repaid(desk):
    other = make.active_loan(now=desk.now - timedelta(hours=5))
    whole = ordered(other, "BTC", "25", now=desk.now)
    before = ledger.balance(accounts.client_free("USD", other.client_id))
    trade(desk)
    whole.refresh_from_db()
    assert whole.state == OrderState.FILLED
    other.refresh_from_db()
    assert other.state == LoanState.REPAID
    payment = Repayment.objects.get(loan=other)
    assert payment.surplus == payment.amount - 500_000 - payment.interest > 0
    assert before - ledger.balance(accounts.client_free("USD", other.client_id)) == payment.surplus
    assert invariants.check() == []


def test_a_usdc_loan_is_paid_in_usdc_at_its_mark(desk):
    usdc = make.asset("USDC")
    mark("USDC", "0.98", now=desk.now)
    product = make.ProductFactory(code="term-usdc", asset=usdc)
    loan = make.active_loan(now=desk.now - timedelta(hours=5), product=product)
    ordered(loan, "BTC", "5", now=desk.now)
    for _ in range(6):
        desk.wait()
        mark("USDC", "0.98", now=desk.now)
        desk.step()
    payment = Repayment.objects.get(loan=loan)
    net = 5 * 27_900 - 1_395
    assert payment.amount == (D(net) / D("0.98")).quantize(D("0.000001"), "ROUND_FLOOR")
    assert ledger.balance(accounts.sale_proceeds("USD", loan.client_id, loan.margin_account_id)) == 0
    assert invariants.check() == []


def test_without_a_mark_for_the_loans_currency_the_proceeds_wait(desk):
    usdc = make.asset("USDC")
    mark("USDC", "0.98", now=desk.now)
    loan = make.active_loan(now=desk.now - timedelta(hours=5), product=make.ProductFactory(code="u", asset=usdc))
    ordered(loan, "BTC", "5", now=desk.now)
    desk.until_quoted()
    mark("USDC", "0.98", now=desk.now)
    quotes.accept_due(now=desk.now)
    fills.poll_due(now=desk.now)
    desk.wait(300)
    assert settlement.settle_due(now=desk.now) == 0
    assert Fill.objects.get().settled_at is None
    assert not Posting.objects.filter(entry__kind="sale").exists()
    mark("USDC", "0.98", now=desk.now)
    assert settlement.settle_due(now=desk.now) >= 1
    assert Repayment.objects.filter(loan=loan).exists()
    assert invariants.check() == []


def test_nothing_to_do_costs_next_to_nothing(desk, django_assert_max_num_queries):
    trade(desk)
    blocks.close_due(now=desk.now)
    with django_assert_max_num_queries(14):
        desk.step()


def test_a_sale_pays_the_loans_of_a_pool_by_maturity(desk):
    usdc = make.asset("USDC")
    mark("USDC", "0.98", now=desk.now)
    early = offers.quote(
        client=desk.loan.client,
        product=make.ProductFactory(code="u", asset=usdc),
        principal=D(100_000),
        annual_rate=D("0.09"),
        maturity_date=desk.loan.maturity_date - timedelta(days=1),
        quoted_until=desk.now + timedelta(hours=1),
        made_by=desk.loan.made_by,
        margin_account=desk.loan.margin_account,
        now=desk.now,
    )
    offers.accept(early, by=make.borrower("alice", early.client), now=desk.now)
    offers.approve(early, by=make.staff("rhea"), now=desk.now)
    offers.collateral_pending(early, actor=None, now=desk.now)
    make.capital("USDC", "100000", now=desk.now)
    # It was lent before the other was for sale: nothing is lent beside that.
    loans.transition(desk.loan, LoanState.ACTIVE, actor=None, cause="before its sale", now=desk.now)
    loans.fund(early, permit=make.draw_permit(early, now=desk.now), actor=make.staff("olga"), now=desk.now)
    loans.transition(desk.loan, LoanState.LIQUIDATING, actor=None, cause="two_key 1", now=desk.now)
    desk.until_quoted()
    mark("USDC", "0.98", now=desk.now)
    desk.step()
    early.refresh_from_db()
    assert early.state == LoanState.REPAID
    first, second = Repayment.objects.order_by("pk")
    assert (first.loan, second.loan) == (early, desk.loan)
    assert first.surplus < D("0.02")
    net = D(279_000 - 2_790)
    assert abs(first.amount * D("0.98") + second.amount - net) < D("0.02")
    assert invariants.check() == []


def test_an_orders_part_worth_nothing_is_booked_without_money_and_holds_up_no_other(desk):
    other = make.active_loan(now=NOW - timedelta(hours=5))
    dust = ordered(other, "BTC", "0.00000001")
    desk.dealers["harbour"].price = D(27_900)
    trade(desk)
    dust.refresh_from_db()
    assert (dust.state, dust.proceeds) == (OrderState.FILLED, 0)
    assert desk.fresh_order().state == OrderState.FILLED
    assert Repayment.objects.get().loan == desk.loan
    for _ in range(10):
        desk.wait(60)
        desk.step()
    assert set(Settlement.objects.values_list("state", flat=True)) == {"settled"}
    assert invariants.check() == []


def test_a_fill_that_is_worth_nothing_is_settled_without_money(desk):
    desk.dealers["harbour"].parts = (D("0.00000000001"), D("0.99999999999"))
    trade(desk)
    assert not Fill.objects.filter(settled_at=None).exists()
    for _ in range(10):
        desk.wait(60)
        desk.step()
    assert sorted(Settlement.objects.values_list("state", "cash")) == [("settled", 0), ("settled", D("278999.99"))]
    assert invariants.check() == []


def test_a_fill_that_the_books_refuse_goes_to_a_person_and_holds_up_no_other(desk, monkeypatch):
    desk.dealers["harbour"].parts = (D("0.25"), D("0.75"))
    apply = repayments.apply

    def refuse_first(proceeds, loan, *, key, cause, now):
        if key.split(":")[2].endswith("-1"):
            raise repayments.UnableToRepay("no")
        return apply(proceeds, loan, key=key, cause=cause, now=now)

    monkeypatch.setattr(repayments, "apply", refuse_first)
    trade(desk)
    assert [fill.settled_at is None for fill in Fill.objects.order_by("dealer_fill_id")] == [True, False]
    assert Incident.objects.get(kind="unbooked_fill").summary.startswith("a fill of 2.5")
    assert invariants.check() == []
    monkeypatch.undo()
    desk.step()
    assert not Fill.objects.filter(settled_at=None).exists()

"""Every way in which a dealer, or an acceptance, can be difficult: nothing is lost and nothing doubled."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import margin_accounts, repayments
from lending.models import MarginAccount, Pledge, Posting, Repayment
from otc import fills, invariants, quotes, rfqs, settlement
from otc.models import Allocation, BlockOrder, Fill, Quote, Rfq
from otc.ports import ReportedFill
from risk.models import AssetPolicy, Incident, OrderState, Quality
from tests.factories import lending as make
from tests.factories.otc import held, mark, states, trade

D = Decimal


def test_the_next_best_bid_when_the_best_says_no_at_its_last_look(desk):
    desk.dealers["harbour"].on_accept = "reject"
    trade(desk)
    assert states() == {"harbour": "rejected", "meridian": "accepted", "northgate": "expired"}
    assert Fill.objects.get().dealer.code == "meridian"
    assert desk.fresh_order().filled_quantity == 10
    assert invariants.check() == []


def test_two_that_say_no_leave_one_bidder_and_nothing_is_sold(desk):
    desk.dealers["harbour"].on_accept = "reject"
    desk.dealers["meridian"].on_accept = "reject"
    desk.until_quoted()
    desk.step()
    assert not Fill.objects.exists()
    assert desk.fresh_order().committed_quantity == 0
    assert Rfq.objects.get().state == Rfq.State.EXPIRED


def test_a_lost_answer_is_queried_and_nothing_is_sent_twice(desk):
    desk.dealers["harbour"].on_accept = "lose"
    desk.until_quoted()
    quotes.accept_due(now=desk.now)
    assert states()["harbour"] == "accepting"
    assert desk.fresh_order().committed_quantity == 10
    rfqs.open_due(now=desk.now)
    assert Rfq.objects.count() == 1
    desk.wait()
    desk.step()
    assert Fill.objects.get().quantity == 10
    assert [verb for verb, _ in desk.dealers["harbour"].heard] == ["request_quote", "accept", "query", "query"]
    assert invariants.check() == []


def test_an_acceptance_that_never_arrived_is_voided_before_anything_else(desk):
    desk.dealers["harbour"].on_accept = "drop"
    desk.until_quoted()
    quotes.accept_due(now=desk.now)
    desk.wait()
    quotes.accept_due(now=desk.now)
    assert states()["harbour"] == "rejected"
    verbs = [verb for verb, _ in desk.dealers["harbour"].heard]
    assert verbs == ["request_quote", "accept", "query", "withdraw"]
    desk.step()
    assert Fill.objects.get().dealer.code == "meridian"
    assert desk.fresh_order().filled_quantity == 10


def test_while_nothing_is_known_nothing_else_happens(desk):
    desk.dealers["harbour"].on_accept = "lose"
    desk.until_quoted()
    quotes.accept_due(now=desk.now)
    desk.dealers["harbour"].deaf = True
    for _ in range(10):
        desk.wait()
        desk.step()
    assert states()["harbour"] == "accepting"
    assert not Fill.objects.exists()
    assert Rfq.objects.count() == 1
    desk.dealers["harbour"].deaf = False
    desk.step()
    desk.wait()
    desk.step()
    assert Fill.objects.count() == 1


def test_a_deaf_dealer_does_not_hold_up_the_others(desk):
    desk.dealers["harbour"].deaf = True
    desk.until_quoted()
    desk.step()
    assert Fill.objects.get().dealer.code == "meridian"
    assert states()["harbour"] == "expired"


def test_a_dealer_that_was_silent_is_queried_before_it_is_asked_again(desk):
    desk.dealers["harbour"].deaf = True
    desk.dealers["meridian"].price = None
    desk.until_quoted()
    quotes.accept_due(now=desk.now)
    assert Rfq.objects.get().state == Rfq.State.OPEN
    desk.dealers["harbour"].deaf = False
    desk.wait(5)
    desk.step()
    verbs = [verb for verb, _ in desk.dealers["harbour"].heard]
    assert verbs[:4] == ["request_quote", "query", "request_quote", "accept"]
    assert Fill.objects.get().dealer.code == "harbour"


def test_what_a_dealer_did_not_fill_goes_back_and_is_asked_for_again(desk):
    desk.dealers["harbour"].parts = (D("0.6"),)
    trade(desk, rounds=1)
    order = desk.fresh_order()
    assert (order.filled_quantity, order.committed_quantity, order.state) == (6, 0, OrderState.WORKING)
    assert held(desk) == 4
    desk.step()
    assert [rfq.quantity for rfq in Rfq.objects.order_by("clip")] == [10, 4]
    assert invariants.check() == []


def test_parts_that_come_one_after_the_other(desk):
    desk.dealers["harbour"].parts = (D("0.25"), D("0.75"))
    trade(desk, rounds=1)
    assert [fill.quantity for fill in Fill.objects.order_by("pk")] == [D("2.5"), D("7.5")]
    assert desk.fresh_order().state == OrderState.FILLED
    assert Repayment.objects.count() == 2


def test_a_fill_is_recorded_once(desk):
    trade(desk)
    quote = Quote.objects.get(state="accepted")
    report = desk.dealers["harbour"].orders[quote.client_order_id].fills[0]
    for _ in range(3):
        assert fills.record(report, now=desk.now).pk == Fill.objects.get().pk
        settlement.settle(Fill.objects.get(), now=desk.now)
    assert Posting.objects.filter(entry__kind="sale", account__kind="liquidation_hold").count() == 1
    with pytest.raises(fills.UnableToRecord, match="reported before"):
        fills.record(replace(report, price=D(1)), now=desk.now)


def test_more_than_was_accepted_is_refused_and_goes_to_a_person(desk):
    desk.dealers["harbour"].parts = (D(1), D("0.1"))
    trade(desk)
    assert Fill.objects.get().quantity == 10
    assert Incident.objects.get(kind="impossible_fill")
    assert desk.fresh_order().filled_quantity == 10


def test_while_a_reported_fill_is_not_recorded_its_coins_are_not_sold_again(desk):
    desk.dealers["harbour"].parts = (D("0.4"), D("0.7"))
    trade(desk)
    desk.step()
    order = desk.fresh_order()
    assert (order.filled_quantity, order.committed_quantity) == (4, 6)
    assert Rfq.objects.count() == 1
    assert Quote.objects.get(state="accepted").done_at is None
    assert Incident.objects.filter(kind="impossible_fill").count() == 1


def test_a_fill_nobody_asked_for_is_refused(desk):
    with pytest.raises(fills.UnableToRecord, match="no quote"):
        fills.record(ReportedFill("who?", "1", D(1), D(1), desk.now), now=desk.now)


def test_the_database_itself_refuses_an_over_fill_and_changed_facts(desk):
    trade(desk)
    fill = Fill.objects.get()
    again = {"dealer": fill.dealer, "quote": fill.quote, "block": fill.block, "executed_at": desk.now}
    with pytest.raises(DatabaseError, match="not_over_filled"), transaction.atomic():
        Fill.objects.create(
            **again, dealer_fill_id="x", quantity=1, price=1, mark_price=1, slippage_bps=0, recorded_at=desk.now
        )
    for change in (
        lambda: Fill.objects.filter(pk=fill.pk).update(quantity=9),
        lambda: Fill.objects.filter(pk=fill.pk).delete(),
        lambda: Allocation.objects.update(quantity=9),
        lambda: Quote.objects.filter(pk=fill.quote_id).update(filled_quantity=0),
        lambda: Quote.objects.filter(pk=fill.quote_id).update(state="live"),
        lambda: Quote.objects.filter(pk=fill.quote_id).update(price=1),
        lambda: Rfq.objects.update(state="open"),
        lambda: BlockOrder.objects.update(filled_quantity=1),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_a_fill_must_be_shared_out_whole(desk):
    desk.dealers["harbour"].finish = False
    desk.dealers["harbour"].parts = (D("0.5"),)
    desk.until_quoted()
    quotes.accept_due(now=desk.now)
    quote = Quote.objects.get(state="accepted")
    with pytest.raises(DatabaseError, match="has allocations of 0"), transaction.atomic():
        Fill.objects.create(
            dealer=quote.dealer,
            quote=quote,
            block_id=quote.rfq.block_id,
            dealer_fill_id="x",
            quantity=1,
            price=1,
            mark_price=1,
            slippage_bps=0,
            executed_at=desk.now,
            recorded_at=desk.now,
        )
        with transaction.get_connection().cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def pay(desk, amount):
    make.give(desk.loan.client, "USD", amount, now=desk.now)
    repayments.record(desk.loan, D(amount), key="late money", received_at=desk.now, now=desk.now)


def test_a_cure_between_quote_and_acceptance_stops_the_sale(desk):
    desk.until_quoted()
    pay(desk, "200000")  # 300,000 against 700,000
    desk.step()
    order = desk.fresh_order()
    assert (order.state, order.filled_quantity) == (OrderState.CANCELLED, 0)
    assert held(desk) == 0
    assert Rfq.objects.get().state == Rfq.State.CANCELLED
    assert not any(verb == "accept" for dealer in desk.dealers.values() for verb, _ in dealer.heard)
    assert invariants.check() == []


def test_a_cure_after_an_acceptance_stops_only_later_clips(desk):
    AssetPolicy.objects.update(clip_usd=112_000)  # 4 of the 10
    desk.dealers["harbour"].on_accept = "lose"
    desk.until_quoted()
    quotes.accept_due(now=desk.now)
    pay(desk, "200000")
    for _ in range(4):
        desk.wait()
        desk.step()
    order = desk.fresh_order()
    assert (order.filled_quantity, order.cancelled_quantity, order.committed_quantity) == (4, 6, 0)
    assert order.closed_at is not None
    assert held(desk) == 0
    assert Pledge.objects.get().quantity == 21
    assert invariants.check() == []


def test_a_market_that_recovers_below_the_clearing_level_stops_the_sale(desk):
    for dealer in desk.dealers.values():
        dealer.price += 4_000
    desk.until_quoted()
    desk.wait(price="32000")  # 62.5 %: nothing was sold yet, and 64 % clears a call
    desk.step()
    order = desk.fresh_order()
    assert (order.state, order.filled_quantity) == (OrderState.CANCELLED, 0)


def test_the_order_of_a_frozen_account_is_neither_sold_nor_stopped(desk):
    desk.until_quoted()
    MarginAccount.objects.update(frozen=True)
    desk.step()
    order = desk.fresh_order()
    assert (order.committed_quantity, order.filled_quantity, order.cancelled_quantity) == (0, 0, 0)
    assert order.closed_at is None
    assert not any(verb == "accept" for dealer in desk.dealers.values() for verb, _ in dealer.heard)


def test_a_bid_is_chosen_on_the_marks_that_stand_under_the_locks(desk, monkeypatch):
    desk.until_quoted()
    locked = margin_accounts.lock_many

    def lock_many(keys):
        mark("BTC", "28000", now=desk.now, quality=Quality.DEGRADED)
        return locked(keys)

    monkeypatch.setattr(margin_accounts, "lock_many", lock_many)
    desk.step()
    assert desk.fresh_order().committed_quantity == 0
    assert not any(verb == "accept" for dealer in desk.dealers.values() for verb, _ in dealer.heard)

"""Margin calls: one per episode, their clocks, reopening, acknowledgement, and what the database refuses."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from lending import ids
from risk import margin_calls
from risk.models import AssetOutage, CallEvent, CallLevel, CallState, MarginCall, SaleCause
from tests.factories.lending import LadderTermsFactory

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def copy_of(call: MarginCall, **changes: object) -> MarginCall:
    row = MarginCall.objects.get(pk=call.pk)
    row.pk, row.public_id = None, ids.new()
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def test_postgresql_refuses_a_second_call_in_an_episode_and_a_second_open_call(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    for changes, constraint in (
        ({"state": CallState.CURED, "closed_at": desk.now}, "call_once_per_episode"),
        ({"episode": call.episode + 1}, "one_open_call"),
    ):
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            copy_of(call, **changes).save()


def test_postgresql_refuses_an_undeclared_step_and_a_changed_event(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    with pytest.raises(DatabaseError, match="can not go from notified to liquidated"), transaction.atomic():
        MarginCall.objects.filter(pk=call.pk).update(state=CallState.LIQUIDATED)
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        CallEvent.objects.filter(call=call).update(kind="other")
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        CallEvent.objects.filter(call=call).delete()


def test_the_clock_runs_from_receipt_not_from_issue(desk):
    loan = desk.loan("20000", BTC="1")
    desk.round(BTC="28000")
    call = desk.call(loan)
    assert (call.state, call.received_at, call.cure_due_at) == (CallState.ISSUED, None, None)
    desk.now += timedelta(seconds=40)
    desk.round()
    assert margin_calls.expire_due(now=desk.now + timedelta(days=3)) == 0
    desk.step()
    call.refresh_from_db()
    assert call.received_at == desk.now
    assert call.cure_due_at == desk.now + timedelta(minutes=20)


def test_the_accelerated_level_shortens_the_clock_and_falling_back_restores_it(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    original = desk.call(loan).cure_due_at
    desk.step(BTC="26000")
    call = desk.call(loan)
    assert call.level == CallLevel.ACCELERATED
    assert call.cure_due_at == desk.now + timedelta(minutes=10) < original
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert (call.level, call.cure_due_at) == (CallLevel.CALL, original)


def test_a_short_clock_never_grows_by_acceleration(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    original = desk.call(loan).cure_due_at
    desk.minutes(15)
    desk.step(BTC="26000")
    assert desk.call(loan).cure_due_at == original


def test_the_market_clears_a_call_only_below_clear_ltv_and_only_after_the_hold(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    # 66 %: below the call level, above the clearing level.
    desk.step(BTC="30300")
    desk.minutes(6)
    assert desk.call(loan).closed_at is None
    desk.step(BTC="31500")
    desk.minutes(4)
    assert desk.call(loan).closed_at is None
    desk.minutes(2)
    call = desk.call(loan)
    assert call.state == CallState.CURED_BY_MARKET
    assert call.remaining_s is not None
    assert 0 < call.remaining_s < 1200


def test_a_new_breach_reopens_the_episode_with_what_is_left_of_its_clock(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(5)
    desk.step(BTC="33000")
    desk.minutes(6)
    left = desk.call(loan).remaining_s
    assert 300 < left < 600
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert (call.episode, call.state, call.cure_period_s) == (1, CallState.NOTIFIED, left)
    assert call.cure_due_at == desk.now + timedelta(seconds=left)
    assert call.notice.key.endswith(":2")


def test_what_arrived_while_a_call_stood_is_a_cure_also_of_one_that_was_opened_again(desk):
    """What is paid under a call costs nothing before its time, however often the market closed and opened it since."""
    loan = desk.loan("20000", BTC="1")

    def free(at) -> bool:
        return margin_calls.under_call(loan.margin_account_id, at=at)

    before = desk.now
    desk.step(BTC="28000")
    first = desk.now
    assert free(before)  # booked under a call it counts for it
    desk.minutes(5)
    desk.step(BTC="33000")
    desk.minutes(6)
    between = desk.call(loan).closed_at
    assert [free(at) for at in (before, first, between - SECOND, between)] == [False, True, True, False]
    desk.step(BTC="28000")
    again = desk.now
    desk.step(BTC="33000")
    desk.minutes(16)
    assert desk.call(loan).state == CallState.CURED_BY_MARKET
    assert desk.call(loan).issued_at == again
    assert [free(at) for at in (before, first, between, again, desk.now)] == [False, True, False, True, False]


def cut(desk, minutes: int) -> None:
    """Have bitcoin go without a tick for some minutes, as rounds see it."""
    desk.silent = {"BTC"}
    desk.minutes(minutes)
    desk.silent = set()


def test_a_reopened_call_still_has_the_time_that_an_outage_stopped(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    received_at = desk.call(loan).received_at
    cut(desk, 8)
    desk.step(BTC="33000")
    outage = AssetOutage.objects.get(asset__code="BTC")
    desk.minutes(6)
    call = desk.call(loan)
    assert call.state == CallState.CURED_BY_MARKET
    used = call.closed_at - received_at - (outage.end_at - outage.start_at)
    assert call.remaining_s == 1200 - used.total_seconds()


def test_an_outage_before_the_acceleration_does_not_lengthen_the_accelerated_clock(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    cut(desk, 8)
    # Back, and past the accelerated level: ten minutes from here, for no outage has stopped that clock yet.
    desk.step(BTC="26000")
    call, began = desk.call(loan), desk.now
    assert call.level == CallLevel.ACCELERATED
    assert call.cure_due_at == began + timedelta(minutes=10)
    cut(desk, 3)
    desk.step(BTC="26000")
    outage = AssetOutage.objects.filter(asset__code="BTC").latest("start_at")
    stopped = outage.end_at - outage.start_at
    desk.minutes(11)
    call = desk.call(loan)
    assert call.cure_due_at == began + timedelta(minutes=10) + stopped


def test_outside_the_reopening_window_a_breach_is_a_new_episode(desk):
    terms = LadderTermsFactory(cure_period_s=1200, clear_hold_s=300, reopen_window_s=60)
    loan = desk.loan("20000", terms=terms, BTC="1")
    desk.step(BTC="28000")
    desk.step(BTC="33000")
    desk.minutes(6)
    assert desk.call(loan).closed_at
    desk.minutes(2)
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert (call.episode, call.cure_period_s) == (2, 1200)


def test_a_call_is_acknowledged_while_it_runs(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call, rhea = desk.call(loan), desk.risk
    assert margin_calls.acknowledge(call, user=rhea, now=desk.now).state == CallState.ACKNOWLEDGED
    desk.pay(loan, call.cash_cure)
    desk.step()
    with pytest.raises(margin_calls.UnableToAcknowledge):
        margin_calls.acknowledge(call, user=rhea, now=desk.now)
    kinds = list(call.events.order_by("pk").values_list("kind", flat=True))
    assert kinds == ["issued", "notified", "acknowledged", "progress", "cured"]


def test_a_frozen_account_stops_the_sale_and_says_why(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    type(loan.margin_account).objects.filter(pk=loan.margin_account_id).update(frozen=True)
    desk.minutes(22)
    assert not SaleCause.objects.exists()
    logged = loan.margin_account.decisionlog_set.get(decision="expiry_waits")
    assert logged.reason == "the account is frozen"


def test_cash_and_collateral_add_up(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    desk.pay(loan, (call.cash_cure / 2).quantize(call.cash_cure.__class__("0.01")))
    units = call.collateral_cures.get().quantity
    desk.top_up(loan, "BTC", f"{units / 2 + units / 1000:.8f}")
    desk.step()
    assert desk.call(loan).state == CallState.CURED


def test_collateral_of_an_asset_that_was_not_pledged_counts_at_the_calls_own_prices(desk):
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    # (20,000 / 0.6 - 28,000) dollars of ether at 2,500 are 2.134 of them.
    desk.top_up(loan, "ETH", "2.1")
    desk.step(ETH="9000")
    assert desk.call(loan).state == CallState.PARTIALLY_CURED
    desk.top_up(loan, "ETH", "0.04")
    desk.step(ETH="9000")
    assert desk.call(loan).state == CallState.CURED
    assert call.pk == desk.call(loan).pk

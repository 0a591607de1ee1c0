"""The price comes back before anything is sold: nothing is, and the call goes on or ends, whatever the desk was at."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction

from lending import dunning, margin_accounts
from lending.models import Loan, LoanState, Notice, Obligation, Pledge
from risk import invariants, margin_calls, orders, two_keys
from risk.models import CallState, MarginCall, OrderState, SaleCause
from tests.factories.lending import AT, LadderTermsFactory
from tests.factories.risk import Desk, expired
from tests.independent.wrongful_sales import count

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return Desk()


def at_the_level(desk: Desk, **terms: int) -> Loan:
    """A loan with an hour for its call whose bitcoin is ordered for sale at the liquidation level: 83 %."""
    ladder = LadderTermsFactory(**{"cure_period_s": 3600, "accelerated_cure_period_s": 1800, **terms})
    loan = desk.loan("20000", terms=ladder, BTC="1")
    desk.step(BTC="24300")
    desk.steps(3)
    assert desk.call(loan).state == CallState.LIQUIDATING
    assert Loan.objects.get().state == LoanState.LIQUIDATING
    return loan


def commit(desk: Desk, loan: Loan) -> None:
    """Put all that is ordered into a quote whose dealer has not answered yet."""
    (order,) = desk.orders(loan)
    with transaction.atomic():
        margin_accounts.lock(loan.margin_account_id)
        orders.commit(order, order.quantity, now=desk.now)


def let_go(desk: Desk, loan: Loan) -> None:
    """Have the dealer refuse at the last look."""
    order = desk.orders(loan)[-1]
    with transaction.atomic():
        margin_accounts.lock(loan.margin_account_id)
        orders.uncommit(order, order.committed_quantity, now=desk.now)


def free(loan: Loan) -> bool:
    pledge = Pledge.objects.get(margin_account=loan.margin_account_id, asset__code="BTC")
    return (pledge.quantity, pledge.held_quantity) == (1, 0)


@pytest.mark.parametrize("begin", [expired, at_the_level])
@pytest.mark.parametrize("committed", [False, True])
def test_below_the_clearing_level_the_call_is_over(desk: Desk, begin, committed: bool) -> None:
    loan = begin(desk)
    if committed:
        commit(desk, loan)
    desk.step(BTC="32000")  # 62.5 %
    if committed:
        assert desk.call(loan).state == CallState.LIQUIDATING
        let_go(desk, loan)
        desk.step()
    call = desk.call(loan)
    assert call.state == CallState.CURED_BY_MARKET
    assert call.close_reason == "nothing had to be sold: below clear"
    assert {order.state for order in desk.orders(loan)} == {OrderState.CANCELLED}
    assert free(loan)
    assert Loan.objects.get().state == LoanState.ACTIVE
    assert Notice.objects.filter(kind="margin_call_cured", subject__contains="nothing had to be sold").exists()
    assert invariants.check() == []


def test_what_was_due_before_a_sale_is_due_after_it_and_in_default_when_its_grace_is_over() -> None:
    desk = Desk(now=AT.replace(hour=23, minute=59))
    loan = desk.loan("20000", days=1, BTC="1")
    desk.steps(4)
    default_at = Obligation.objects.get(kind="maturity").default_at
    for before, tomorrow in ((LoanState.MATURED, desk.now), (LoanState.DEFAULTED, default_at)):
        dunning.work_due(now=tomorrow)
        assert Loan.objects.get().state == before
        desk.step(BTC="24300")
        desk.steps(3)
        assert Loan.objects.get().state == LoanState.LIQUIDATING
        desk.step(BTC="34000")
        assert (Loan.objects.get().state, free(loan)) == (LoanState.MATURED, True)
    dunning.work_due(now=default_at)
    assert Loan.objects.get().state == LoanState.DEFAULTED
    assert not Loan.objects.get().events.filter(from_state=LoanState.LIQUIDATING, to_state=LoanState.ACTIVE).exists()
    assert invariants.check() == []


@pytest.mark.parametrize("committed", [False, True])
def test_one_level_down_a_call_gets_its_clock_back(desk: Desk, committed: bool) -> None:
    loan = at_the_level(desk)
    call = desk.call(loan)
    original = call.received_at + timedelta(hours=1)
    desk.step(BTC="25500")  # 78.4 %: below the level, above the one below it
    assert desk.call(loan).state == CallState.LIQUIDATING
    if committed:
        commit(desk, loan)
    desk.step(BTC="28000")  # 71.4 %: above the call level, and so far above the clearing level
    if committed:
        assert desk.call(loan).state == CallState.LIQUIDATING
        let_go(desk, loan)
        desk.step()
    call = desk.call(loan)
    assert call.state == CallState.NOTIFIED
    assert SaleCause.objects.get().outcome == "level_left"
    assert free(loan)
    assert Loan.objects.get().state == LoanState.ACTIVE
    assert "goes on" in Notice.objects.get(kind="margin_call_runs_on").body
    desk.step()
    assert (desk.call(loan).cure_due_at, desk.call(loan).level) == (original, "call")
    assert invariants.check() == []


def test_a_call_that_goes_on_may_still_expire_and_the_level_be_reached_again(desk: Desk) -> None:
    loan = at_the_level(desk)
    desk.step(BTC="28000")
    call = desk.call(loan)
    desk.step(BTC="24300")
    desk.steps(3)
    again = desk.orders(loan)[-1]
    assert (again.slice, again.cause.kind, desk.call(loan).pk) == (2, "liquidation_level", call.pk)
    desk.step(BTC="28000")
    while desk.call(loan).state in margin_calls.RUNNING:
        desk.step(seconds=60)
    assert desk.now >= desk.call(loan).cure_due_at
    causes = SaleCause.objects.order_by("declared_at").values_list("kind", "outcome")
    assert list(causes) == [
        ("liquidation_level", "level_left"),
        ("liquidation_level", "level_left"),
        ("expired_call", ""),
    ]
    last = desk.orders(loan)[-1]
    desk.now += timedelta(seconds=1)
    desk.sell(last, price="27900")
    desk.steps(2)
    assert desk.call(loan).state == CallState.LIQUIDATED
    assert MarginCall.objects.count() == 1
    with transaction.get_connection().cursor() as cursor:
        assert count(cursor) == 0
    assert invariants.check() == []


def test_what_has_begun_to_be_sold_is_not_taken_back(desk: Desk) -> None:
    loan = at_the_level(desk)
    (order,) = desk.orders(loan)
    desk.sell(order, price="24300", part="0.2")
    desk.step(BTC="28000")
    assert SaleCause.objects.get().closed_at is None


def test_a_sale_that_was_refused_is_not_declared_again_by_the_deadline(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(two_keys, "use", lambda *args, **kwargs: False)
    monkeypatch.setattr("risk.sale_plans.FULL_CLOSE_LIMIT_USD", Decimal(1))
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="15000")
    desk.minutes(25)
    cause = SaleCause.objects.get()
    assert (cause.kind, desk.orders(loan)) == ("liquidation_level", [])
    assert invariants.check() == []

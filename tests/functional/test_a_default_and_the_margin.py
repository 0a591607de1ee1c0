"""A sale for a default and the margin of its account: what holds the one back holds back no other protection."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import pytest

from lending import approvals, corrections, dunning, repayments
from lending.models import Loan, LoanState, MarginAccount, Obligation, Product
from otc import ports, quotes, rfqs
from otc.models import Commitment
from risk import default_sales, incidents, invariants, liquidations, prices, sale_plans, sales, waivers
from risk.endings import GIVES_WAY
from risk.models import (
    LIVE_ORDER_STATES,
    AssetPolicy,
    DecisionLog,
    Incident,
    LiquidationOrder,
    Mark,
    OrderState,
    Quality,
    SaleCause,
)
from risk.restraints import UNHEARD, UNSETTLED
from tests.factories.dealers import ScriptedDealer
from tests.factories.defaults import agreed, in_default, in_default_in_a_pool
from tests.factories.lending import ProductFactory
from tests.factories.otc import CODES, DealerFactory
from tests.factories.risk import Desk, wrongful

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def dealers() -> Iterator[None]:
    """Have every dealer bid for whatever is put out."""
    for code in CODES:
        DealerFactory(code=code)
    with ports.using({code: ScriptedDealer(code, price=D(39_900)) for code in CODES}):
        yield


def unheard(desk: Desk, loan: Loan) -> SaleCause:
    """Have two persons agree while the custodian is out of reach."""
    desk.heard = False
    desk.now += dt.timedelta(seconds=1)
    return agreed(desk, loan)


def for_margin(desk: Desk, loan: Loan) -> SaleCause:
    """Declare a cause that stands for the margin of a loan's account, as two persons may."""
    return SaleCause.objects.create(
        client=loan.client,
        margin_account=loan.margin_account,
        episode=99,
        kind=SaleCause.Kind.TWO_KEY,
        snapshot=prices.snapshot(prices.current(now=desk.now), now=desk.now),
        evidence={"ltv": "0.81"},
        declared_at=desk.now,
    )


def until_quoted(desk: Desk) -> None:
    """Go to where bids for the live order lie on the table."""
    rfqs.open_due(now=desk.now)
    desk.step(seconds=60)
    rfqs.open_due(now=desk.now)
    quotes.collect_due(now=desk.now)


def reasons(cause: SaleCause, decision: str = "sale_waits") -> set[str]:
    found = DecisionLog.objects.filter(margin_account=cause.margin_account, episode=cause.episode, decision=decision)
    return set(found.values_list("reason", flat=True))


def test_while_the_custodian_is_not_heard_the_margin_is_protected_as_ever(desk: Desk) -> None:
    loan = in_default(desk, desk.loan("20000", BTC="1"))
    unheard(desk, loan)
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert desk.state(loan) == "accelerated"
    desk.steps(3, BTC="24000")
    (order,) = desk.orders(loan)
    assert (order.cause.kind, order.cause.call) == ("liquidation_level", call)
    assert (wrongful(), invariants.check()) == ([], [])


@pytest.mark.usefixtures("dealers")
def test_no_bid_is_accepted_for_a_default_once_it_gives_way(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    agreed(desk, loan)
    desk.step()
    (order,) = desk.orders(loan)
    until_quoted(desk)
    for_margin(desk, loan)
    assert quotes.accept_due(now=desk.now) == 0
    order.refresh_from_db()
    assert (order.state, order.committed_quantity) == (OrderState.CANCELLED, 0)
    assert not Commitment.objects.exists()


@pytest.mark.usefixtures("dealers")
@pytest.mark.parametrize("quality", [Quality.DEGRADED, Quality.STALE])
def test_no_bid_is_accepted_for_a_default_while_what_it_pays_has_no_good_mark(desk: Desk, quality: str) -> None:
    loan = in_default(desk, desk.loan("20000", asset="USDC", BTC="1.1"))
    agreed(desk, loan)
    desk.step()
    (order,) = desk.orders(loan)
    until_quoted(desk)
    Mark.objects.filter(asset__code="USDC").update(quality=quality)
    assert quotes.accept_due(now=desk.now) == 0
    order.refresh_from_db()
    assert (order.state, order.committed_quantity, order.cancelled_quantity) == (OrderState.PENDING, 0, 0)
    assert not Commitment.objects.exists()


def test_what_is_committed_for_a_default_settles_before_the_margin_is_sold_for(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    agreed(desk, loan)
    desk.step()
    (first,) = desk.orders(loan)
    liquidations.commit(first, D("0.1"), now=desk.now)
    desk.step(BTC="16000")
    cause = SaleCause.objects.get(loan=None)
    first.refresh_from_db()
    assert (first.state, first.committed_quantity + first.cancelled_quantity) == (OrderState.WORKING, first.quantity)
    assert not cause.orders.exists()
    assert reasons(cause) == {UNSETTLED}
    liquidations.uncommit(first, D("0.1"), now=desk.now)
    liquidations.stop(first, reason="test", now=desk.now)
    desk.step()
    assert cause.orders.get().state == OrderState.PENDING


def test_a_sale_that_is_passed_over_says_so_and_one_that_is_not_is_named(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    waits = agreed(desk, loan)
    desk.step()
    desk.step(BTC="16000")
    desk.step(seconds=3700)
    (order,) = LiquidationOrder.objects.filter(state__in=LIVE_ORDER_STATES)
    assert order.cause.loan is None
    assert reasons(waits) == {GIVES_WAY}
    assert invariants.check() == []
    DecisionLog.objects.filter(episode=waits.episode).update(last_at=waits.declared_at)
    assert [row.code for row in invariants.check()] == ["I9"]


def test_no_shortfall_is_taken_for_a_default_before_the_custodian_was_heard(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loan = in_default(desk, desk.loan("20000", BTC="1"))
    cause = unheard(desk, loan)
    monkeypatch.setattr(sale_plans, "is_dust", lambda _pledge, _marks: True)
    desk.step()
    loan.refresh_from_db()
    assert (loan.state, reasons(cause)) == (LoanState.DEFAULTED, {UNHEARD})
    desk.heard = True
    desk.step()
    loan.refresh_from_db()
    assert loan.state == LoanState.WORKOUT


def test_an_agreement_is_for_the_default_that_was_meant(desk: Desk) -> None:
    line: Product = ProductFactory(tenor="open", notice_days=5, schedule_kind="interest_only", terms=desk.terms)
    loan = in_default(desk, desk.loan("20000", product=line, BTC="1"))
    row = Obligation.objects.get(loan=loan, state="defaulted")
    asked = default_sales.ask(loan, reason="Nothing came", maker=desk.risk, now=desk.now)
    assert asked.payload["default_at"] == row.default_at.isoformat()
    desk.deposit(loan, "USD", "500")
    late = repayments.record(loan, D(500), key="late", received_at=row.due_at, now=desk.now)
    reversal = corrections.ask_reversal(late, cause="wrong", reason="Quayside's", maker=desk.operations, now=desk.now)
    approvals.decide(reversal, checker=desk.second, approve=True, now=desk.now)
    row.refresh_from_db()
    desk.now = row.default_at
    dunning.work_due(now=desk.now)
    desk.step()
    asked.expires_at = desk.now + dt.timedelta(hours=1)
    asked.save(update_fields=["expires_at"])
    said = desk.page(desk.second, f"/admin/lending/approval/{asked.pk}/approve/", reason="so be it")
    assert "Refused: the default that was meant is over; it is in another by now" in said
    del asked.payload["default_at"]  # as it was asked for by an earlier version
    with pytest.raises(approvals.UnableToApprove, match="ask for it anew"):
        default_sales.carry_out(asked, now=desk.now)
    assert not SaleCause.objects.exists()


def test_what_a_sale_for_a_default_costs_is_of_its_own_loan(desk: Desk) -> None:
    AssetPolicy.objects.filter(asset__code="USDC").update(half_spread=D("0.05"))
    loan, other = in_default_in_a_pool(desk, beside="USDC")
    assert other.asset.code == "USDC"
    agreed(desk, loan)
    desk.step()
    (order,) = desk.orders(loan)
    assert order.quantity * 40_000 < desk.payoff(loan) * D("1.05")


def test_what_is_left_to_people_stays_open_while_another_sale_stands(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    account = loan.margin_account
    cause = agreed(desk, loan)
    desk.step()
    for_margin(desk, loan)
    MarginAccount.objects.filter(pk=account.pk).update(frozen=True)
    incidents.open_once(incidents.SALE_REFUSED, "two persons must agree", now=desk.now, margin_account=account)
    desk.pay(loan, desk.payoff(loan))
    desk.step()
    cause.refresh_from_db()
    refused = Incident.objects.get(kind=incidents.SALE_REFUSED)
    assert (cause.outcome, refused.closed_at) == ("debt_gone", None)
    MarginAccount.objects.filter(pk=account.pk).update(frozen=False)
    desk.step()
    refused.refresh_from_db()
    assert (sales.standing(account.pk), refused.closed_at) == ({}, desk.now)


def test_why_no_call_was_made_goes_on_beside_a_sale_that_does_not_pay_all(desk: Desk) -> None:
    loan, _other = in_default_in_a_pool(desk)
    desk.step(BTC="21500")
    until = desk.now + dt.timedelta(days=1)
    asked = waivers.ask(desk.call(loan), until=until, reason="they pay", maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    desk.step()
    cause = agreed(desk, loan)
    assert reasons(cause, "no_call") == {f"the call is waived until {until:%Y-%m-%d %H:%M} UTC"}
    assert invariants.check() == []

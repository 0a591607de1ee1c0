"""Disputes: the borrower's figure against ours, the part that stays due, the clock meanwhile, and the three answers."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from lending import access, approvals
from lending.models import Asset, ClientUser, Role, User
from risk import disputes, invariants
from risk.models import CallState, Dispute, Incident, MarginCall, SaleCause
from tests.factories.risk import staff

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture
def called(desk):
    """20,000 and a little owed against one bitcoin at 28,000: 71 %; to 60 % are missing 3,200 dollars."""
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    return loan


def signer(loan) -> User:
    return ClientUser.objects.get(client=loan.client).user


def dispute(desk, loan, claimed="30000", part="price", asset="BTC") -> Dispute:
    """Have the borrower say that bitcoin stood at 30,000: then 2,000 of about 3,200 are missing."""
    return disputes.open_against(
        desk.call(loan),
        part=part,
        asset=Asset.objects.get(code=asset) if asset else None,
        claimed=D(claimed),
        statement="Our exchange shows another price",
        by=signer(loan),
        now=desk.now,
    )


def agree(desk, row: Dispute, agreed: str | None = None) -> None:
    if agreed is None:
        asked = disputes.ask_to_withdraw(row, answer="You are right", maker=desk.risk, now=desk.now)
    else:
        asked = disputes.ask_to_amend(row, agreed=D(agreed), answer="Half of it", maker=desk.risk, now=desk.now)
    approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)


def test_what_is_not_disputed_stays_due_and_the_clock_waits_for_the_rest(desk, called):
    call = desk.call(called)
    row = dispute(desk, called)
    # D - t·A: 20,000.2 - 16,800 with our price, 20,000.2 - 18,000 with theirs.
    assert D("0.624") < row.undisputed < D("0.626")
    assert Incident.objects.get(kind="dispute").closed_at is None
    desk.pay(called, (call.cash_cure * row.undisputed).quantize(D("0.01")) + 1)
    desk.minutes(25)
    waiting = desk.call(called)
    assert waiting.state == CallState.PARTIALLY_CURED
    assert waiting.paused_s > 0
    disputes.stand(row, answer="Five venues agree with us", by=desk.risk, now=desk.now)
    stood = desk.call(called)
    # Everything between the dispute and the answer is given back, and no more.
    assert stood.cure_due_at == call.cure_due_at + (desk.now - row.opened_at)
    assert Incident.objects.get(kind="dispute").closed_at == desk.now
    desk.minutes(21)
    assert SaleCause.objects.get().kind == "expired_call"
    assert invariants.check() == []


def test_who_does_not_pay_what_is_undisputed_gets_no_time(desk, called):
    call = desk.call(called)
    dispute(desk, called)
    desk.minutes(21)
    assert SaleCause.objects.get().call == call
    assert desk.call(called).paused_s == 0


def test_a_dispute_of_everything_stops_the_clock_for_two_hours_at_most(desk, called):
    call = desk.call(called)
    row = dispute(desk, called, claimed="34000")
    assert row.undisputed == 0
    desk.minutes(115)
    assert not SaleCause.objects.exists()
    desk.minutes(26)
    late = desk.call(called)
    assert late.cure_due_at == call.cure_due_at + timedelta(hours=2)
    assert SaleCause.objects.get().declared_at >= late.cure_due_at
    assert invariants.check() == []


def test_the_liquidation_level_waits_for_no_dispute(desk, called):
    dispute(desk, called, claimed="34000")
    desk.steps(5, BTC="24000")
    assert SaleCause.objects.get().kind == "liquidation_level"


def test_at_the_liquidation_level_nothing_is_disputed(desk, called):
    desk.round(BTC="24000")
    with pytest.raises(disputes.UnableToDispute, match="liquidation level"):
        dispute(desk, called)


def test_an_amended_call_asks_for_what_the_agreed_figure_leaves(desk, called):
    before = desk.call(called)
    units = before.collateral_cures.get().quantity
    row = dispute(desk, called, claimed="31000")
    agree(desk, row, "30000")
    call = desk.call(called)
    row.refresh_from_db()
    assert (row.outcome, row.agreed, row.maker, row.checker) == ("amended", 30_000, desk.risk, desk.second)
    assert D("0.62") < call.cash_cure / before.cash_cure < D("0.63")
    assert D("0.62") < call.collateral_cures.get().quantity / units < D("0.63")
    assert call.weighted_collateral_usd == before.weighted_collateral_usd + 2000
    desk.pay(called, call.cash_cure)
    desk.step()
    assert desk.call(called).state == CallState.CURED
    assert invariants.check() == []


def test_a_payment_that_is_enough_on_the_agreed_figure_cures_at_once(desk, called):
    row = dispute(desk, called)
    desk.pay(called, "2100")
    desk.step()
    assert desk.call(called).state == CallState.PARTIALLY_CURED
    agree(desk, row, "30000")
    assert desk.call(called).state == CallState.CURED


def test_a_withdrawn_call_is_closed_and_the_same_input_does_not_call_at_once_again(desk, called):
    agree(desk, dispute(desk, called, claimed="34000"))
    call = desk.call(called)
    assert call.state == CallState.WITHDRAWN
    desk.minutes(30)
    assert MarginCall.objects.count() == 1
    assert invariants.check() == []
    desk.minutes(31)
    assert desk.call(called).episode == 2


def test_a_dispute_nobody_answered_ends_with_its_call(desk, called):
    row = dispute(desk, called)
    asked = disputes.ask_to_withdraw(row, answer="You are right", maker=desk.risk, now=desk.now)
    desk.pay(called, desk.call(called).cash_cure)
    desk.step()
    call = desk.call(called)
    assert call.state == CallState.CURED
    assert Incident.objects.get(kind="dispute").closed_at == call.closed_at
    assert call.events.filter(kind="dispute_ended").count() == 1
    row.refresh_from_db()
    assert row.outcome == ""
    with pytest.raises(disputes.UnableToDispute, match="it ended with its call"):
        disputes.stand(row, answer="no", by=desk.risk, now=desk.now)
    with pytest.raises(disputes.UnableToDispute, match="the call is cured"):
        disputes.ask_to_withdraw(row, answer="yes", maker=desk.second, now=desk.now)
    with pytest.raises(approvals.UnableToApprove, match="it ended with its call"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    assert invariants.check() == []


def test_a_dispute_that_the_market_overtook_ends_too(desk, called):
    dispute(desk, called)
    desk.steps(5, BTC="40000")
    desk.minutes(15)
    call = desk.call(called)
    assert call.state == CallState.CURED_BY_MARKET
    assert Incident.objects.get(kind="dispute").closed_at == call.closed_at


def test_in_sale_a_dispute_is_still_answered_but_not_given_in_to(desk, called):
    row = dispute(desk, called)
    desk.minutes(21)
    assert desk.call(called).state in (CallState.EXPIRED, CallState.LIQUIDATING)
    row = Dispute.objects.select_related("call__client").get(pk=row.pk)
    with pytest.raises(disputes.UnableToDispute, match="nothing of it can be given up"):
        disputes.ask_to_withdraw(row, answer="yes", maker=desk.risk, now=desk.now)
    disputes.stand(row, answer="Five venues agree with us", by=desk.risk, now=desk.now)
    assert Incident.objects.get(kind="dispute").closed_at == desk.now


def test_giving_in_takes_two_persons(desk, called):
    row = dispute(desk, called)
    with pytest.raises(access.UnableToAccess, match="does not hold the role"):
        disputes.ask_to_withdraw(row, answer="yes", maker=desk.manager, now=desk.now)
    asked = disputes.ask_to_withdraw(row, answer="yes", maker=desk.second, now=desk.now)
    with pytest.raises(approvals.UnableToApprove, match="can not decide"):
        approvals.decide(asked, checker=desk.second, approve=True, now=desk.now)
    with pytest.raises(disputes.UnableToDispute, match="waits for the second person"):
        disputes.ask_to_amend(row, agreed=D(29_000), answer="yes", maker=desk.risk, now=desk.now)
    with pytest.raises(IntegrityError, match="dispute_given_in_by_maker_and_checker"), transaction.atomic():
        Dispute.objects.filter(pk=row.pk).update(
            outcome="withdrawn", answered_at=desk.now, maker=desk.risk, checker=desk.risk
        )
    disputes.stand(row, answer="no", by=desk.risk, now=desk.now)
    with pytest.raises(approvals.UnableToApprove, match="answered already"):
        approvals.decide(asked, checker=staff(Role.RISK_HEAD), approve=True, now=desk.now)
    with pytest.raises(DatabaseError, match="answered, once"), transaction.atomic():
        Dispute.objects.filter(pk=row.pk).update(answer="another")
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        Dispute.objects.filter(pk=row.pk).update(claimed=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claimed": "27000"}, "would ask for no less"),
        ({"claimed": "28000"}, "would ask for no less"),
        ({"claimed": "NaN"}, "above zero"),
        ({"claimed": "-1"}, "above zero"),
        ({"asset": "ETH"}, "does not rest on such a figure"),
        ({"part": "debt"}, "does not rest on such a figure"),
        ({"part": "debt", "asset": None, "claimed": "30000"}, "would ask for no less"),
        ({"part": "quantity", "claimed": "0.9"}, "would ask for no less"),
    ],
)
def test_a_figure_that_can_not_be_disputed_is_refused_in_words(desk, called, changes, said):
    with pytest.raises(disputes.UnableToDispute, match=said):
        dispute(desk, called, **changes)


def test_what_is_owed_can_be_disputed_too(desk, called):
    row = dispute(desk, called, part="debt", asset=None, claimed="18400")
    assert D("0.49") < row.undisputed < D("0.51")


def test_what_is_pledged_can_be_disputed_too_as_it_was_when_the_call_was_issued(desk):
    loan = desk.loan("20000", BTC="1", ETH="0.5")
    desk.step(BTC="26000")
    desk.top_up(loan, "ETH", "0.1")
    row = dispute(desk, loan, part="quantity", asset="ETH", claimed="0.6")
    assert row.ours == D("0.5")
    assert 0 < row.undisputed < 1


def test_a_call_is_disputed_once(desk, called):
    disputes.stand(dispute(desk, called), answer="no", by=desk.risk, now=desk.now)
    with pytest.raises(disputes.UnableToDispute, match="possible once"):
        dispute(desk, called)


def test_a_call_is_disputed_within_four_hours_of_its_receipt_and_before_its_deadline(desk, called):
    call = desk.call(called)
    assert disputes.may_open(call, now=call.cure_due_at - timedelta(seconds=1)) == ""
    assert disputes.may_open(call, now=call.cure_due_at) == "its deadline has passed"
    late = call.received_at + timedelta(hours=4, seconds=1)
    assert disputes.may_open(call, now=late) == "a call can be disputed within four hours of its receipt"


def test_only_who_may_sign_for_the_client_disputes(desk, called):
    viewer = ClientUser.objects.filter(client=called.client)
    viewer.update(role=Role.BORROWER_VIEWER)
    with pytest.raises(access.UnableToAccess, match="may not sign"):
        dispute(desk, called)


@pytest.mark.parametrize("statement", ["  ", "x" * 1001])
def test_something_is_said_about_it(desk, called, statement):
    with pytest.raises(disputes.UnableToDispute, match="say why, in at most 1000"):
        disputes.open_against(
            desk.call(called), part="debt", asset=None, claimed=D(1), statement=statement, by=signer(called),
            now=desk.now,
        )  # fmt: skip

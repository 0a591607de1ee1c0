"""What a person does about a settlement that was refused, and about a dealer who reports what can not be."""

from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import access, approvals, repayments
from lending.models import Approval, AuditRecord, Role, User
from lending.ports import CustodianRefused
from otc import fills, invariants, settlement
from otc.models import Fill, Quote, Settlement
from risk.models import Incident, OrderState
from tests.factories import lending as make
from tests.factories.otc import trade
from tests.factories.risk import staff
from tests.functional import trying

D = Decimal


def post(desk, who: User, address: str, **fields: str) -> str:
    """Press a button as somebody, and return the page that follows."""
    browser = Browser()
    User.objects.filter(pk=who.pk).update(is_staff=True)
    browser.force_login(User.objects.get(pk=who.pk))
    with time_machine.travel(desk.now, tick=False):
        answer = browser.post(address, fields, follow=True) if fields else browser.get(address)
    return answer.content.decode()


def hold(desk, who: User, address: str) -> None:
    """Try the forms of a page as somebody, and hold what is read against the list of bad input."""
    browser = Browser()
    browser.force_login(who)
    with time_machine.travel(desk.now, tick=False):
        trying.hold(trying.of_page(browser, address))


@pytest.fixture
def refused(desk, monkeypatch) -> Settlement:
    """A settlement that the custodian refused once, and would not refuse again."""
    trade(desk)
    keys = []

    def settle(client_id, **asked):
        keys.append(client_id)
        if len(keys) == 1:
            raise CustodianRefused("the counterparty is not set up")
        return honest(client_id, **asked)

    honest = make.paper().settle
    monkeypatch.setattr(make.paper(), "settle", settle)
    for _ in range(8):
        desk.wait(60)
        desk.step()
    row = Settlement.objects.get()
    assert (row.state, row.reason) == ("failed", "the counterparty is not set up")
    assert Incident.objects.get(kind="settlement_failed").closed_at is None
    return row


def test_a_refused_settlement_is_instructed_again_under_another_key(desk, refused):
    head = staff(Role.DESK_HEAD)
    settlement.instruct_again(refused, reason="they are set up now", by=head, now=desk.now)
    for _ in range(10):
        desk.wait(60)
        desk.step()
    row = Settlement.objects.get()
    assert (row.state, row.attempt, row.reason) == ("settled", 2, "")
    assert make.paper().balances(at=desk.now)["BTC"] == 15
    assert Incident.objects.get(kind="settlement_failed").closed_at
    trail = AuditRecord.objects.get(action="settlement_instructed_again")
    assert (trail.actor, trail.reason, trail.before["reason"]) == (
        head, "they are set up now", "the counterparty is not set up",
    )  # fmt: skip
    assert invariants.check() == []


def test_only_what_failed_only_by_the_head_of_the_desk_and_with_a_word(desk, refused):
    head = staff(Role.DESK_HEAD)
    with pytest.raises(access.UnableToAccess, match="does not hold the role desk head"):
        settlement.instruct_again(refused, reason="why", by=staff(Role.DESK_TRADER), now=desk.now)
    with pytest.raises(settlement.UnableToSettle, match="say what was put right"):
        settlement.instruct_again(refused, reason=" ", by=head, now=desk.now)
    settlement.instruct_again(refused, reason="why", by=head, now=desk.now)
    with pytest.raises(settlement.UnableToSettle, match="it is instructed"):
        settlement.instruct_again(refused, reason="why", by=head, now=desk.now)


def test_the_door_to_it_stands_on_the_settlements_page(desk, refused):
    page, head = f"/admin/otc/settlement/{refused.pk}/", staff(Role.DESK_HEAD)
    shown = post(desk, head, f"{page}change/")
    assert "The custodian refused: the counterparty is not set up" in shown
    assert "Instruct it again" not in post(desk, staff(Role.DESK_TRADER), f"{page}change/")
    hold(desk, head, f"{page}change/")
    again = post(desk, head, f"{page}again/", reason=" ")
    assert "Refused: say what was put right" in again
    assert 'value=" "' in again
    assert "Instructed again" in post(desk, head, f"{page}again/", reason="set up")
    refused.refresh_from_db()
    assert refused.state == "instructed"


@pytest.fixture
def impossible(desk) -> Quote:
    """A dealer reports 4 of 10 and then 7: the second can not be, and holds the rest."""
    desk.dealers["harbour"].parts = (D("0.4"), D("0.7"))
    trade(desk)
    return Quote.objects.get(state="accepted")


def test_a_quote_that_can_not_be_followed_is_ended_by_two_persons_and_the_rest_is_sold(desk, impossible):
    head, risk = staff(Role.DESK_HEAD), staff(Role.RISK)
    asked = fills.ask_to_close(impossible, reason="they voided the second", maker=head, now=desk.now)
    with pytest.raises(fills.UnableToRecord, match="asked for already"):
        fills.ask_to_close(impossible, reason="again", maker=head, now=desk.now)
    approvals.decide(asked, checker=risk, approve=True, now=desk.now)
    impossible.refresh_from_db()
    assert impossible.done_at == desk.now
    assert Incident.objects.get(kind="impossible_fill").closed_at == desk.now
    assert desk.fresh_order().committed_quantity == 0
    desk.dealers["harbour"].parts = ()
    for _ in range(6):
        desk.wait()
        desk.step()
    assert desk.fresh_order().state == OrderState.FILLED
    assert sorted(Fill.objects.values_list("quantity", flat=True)) == [4, 6]
    assert invariants.check() == []


def test_a_fill_in_between_is_looked_at_again(desk, impossible):
    asked = fills.ask_to_close(impossible, reason="voided", maker=staff(Role.DESK_HEAD), now=desk.now)
    report = desk.dealers["harbour"].orders[impossible.client_order_id].fills[0]
    fills.record(type(report)(report.client_order_id, "late", D(1), report.price, report.executed_at), now=desk.now)
    with pytest.raises(approvals.UnableToApprove, match="another fill was recorded"):
        approvals.decide(asked, checker=staff(Role.RISK), approve=True, now=desk.now)


def test_what_is_over_is_not_ended(desk):
    trade(desk)
    quote = Quote.objects.get(state="accepted")
    head = staff(Role.DESK_HEAD)
    with pytest.raises(fills.UnableToRecord, match="not done can be ended"):
        fills.ask_to_close(quote, reason="why", maker=head, now=desk.now)
    with pytest.raises(fills.UnableToRecord, match="what the dealer has confirmed"):
        fills.ask_to_close(quote, reason=" ", maker=head, now=desk.now)
    with pytest.raises(access.UnableToAccess):
        fills.ask_to_close(quote, reason="why", maker=staff(Role.RISK), now=desk.now)


def test_the_door_to_it_stands_on_the_requests_page(desk, impossible):
    page, head = f"/admin/otc/rfq/{impossible.rfq_id}/", staff(Role.DESK_HEAD)
    assert "Ask a second person to end the quote" in post(desk, head, f"{page}change/")
    hold(desk, head, f"{page}change/")
    refused = post(desk, head, f"{page}end-quote/", reason=" ")
    assert "Refused: say what the dealer has confirmed" in refused
    assert 'value=" "' in refused
    assert "it waits on the page Approvals" in post(desk, head, f"{page}end-quote/", reason="they voided it")
    assert Approval.objects.get(kind="close_quote").maker == head


def test_an_unbooked_fills_incident_is_over_when_it_is_booked(desk, monkeypatch):
    def refuse(*args, **asked):
        raise repayments.UnableToRepay("no")

    monkeypatch.setattr(repayments, "apply", refuse)
    trade(desk)
    assert Incident.objects.get(kind="unbooked_fill").closed_at is None
    monkeypatch.undo()
    desk.step()
    assert Incident.objects.get(kind="unbooked_fill").closed_at == desk.now

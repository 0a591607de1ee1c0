"""A borrower disputes a price on the call's page; risk sees both figures, amends, and the head of risk agrees."""

import pytest
import time_machine
from django.test import Client as Browser

from lending.models import Approval, ClientUser, User
from risk.models import CallState, Dispute
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


def page(desk: Desk, who: User, address: str, **fields: str) -> tuple[int, str]:
    """Open a page, or send its form, as somebody at the platform's time."""
    deeds = {"dispute/": "open/" if "portal" in address else "answer/", "waiver/": "ask/"}
    address += next((deed for end, deed in deeds.items() if fields and address.endswith(end)), "")
    browser = Browser()
    browser.force_login(who)
    with time_machine.travel(desk.now, tick=False):
        answer = browser.post(address, fields, follow=True) if fields else browser.get(address)
    return answer.status_code, answer.content.decode()


def test_a_disputed_price_is_amended_by_two_persons() -> None:
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    borrower = ClientUser.objects.get(client=loan.client).user
    theirs, ours = f"/portal/calls/{call.public_id}/dispute/", f"/console/calls/{call.public_id}/dispute/"
    assert "Price of BTC: 28,000.00" in page(desk, borrower, theirs)[1]

    status, kept = page(desk, borrower, theirs, figure="price:BTC", claimed="a lot", statement="Look at Kraken")
    assert status == 422
    assert "That is not a number" in kept
    assert "Look at Kraken" in kept
    status, kept = page(desk, borrower, theirs, figure="price:BTC", claimed="27000", statement="Look at Kraken")
    assert status == 422
    assert "On that figure the call would ask for no less." in kept
    status, told = page(desk, borrower, theirs, figure="price:BTC", claimed="31000", statement="Look at Kraken")
    assert status == 200
    assert "Disputed. The desk answers within two hours" in told
    assert "you dispute the price of BTC" in page(desk, borrower, theirs)[1]

    shown = page(desk, desk.risk, ours)[1]
    assert "Look at Kraken" in shown
    assert "31,000.00" in shown
    status, kept = page(desk, desk.risk, ours, outcome="amended", answer="Half of it")
    assert status == 422
    assert "Say on which figure" in kept
    assert "Half of it" in kept
    status, kept = page(desk, desk.risk, ours, outcome="amended", agreed="32000", answer="Half of it")
    assert "The figure must lie between ours and the borrower&#x27;s." in kept
    told = page(desk, desk.risk, ours, outcome="amended", agreed="30000", answer="Half of it")[1]
    assert "Asked: it waits for another person" in told
    assert "An answer waits for the second person" in page(desk, desk.risk, ours)[1]
    asked = Approval.objects.get(kind="dispute_amend")
    assert "Approved by you" in page(desk, desk.second, f"/admin/lending/approval/{asked.pk}/approve/", reason="ok")[1]
    row = Dispute.objects.get()
    assert (row.outcome, row.maker, row.checker) == ("amended", desk.risk, desk.second)
    assert "The call is amended" in page(desk, borrower, theirs)[1]
    assert desk.call(loan).cash_cure < call.cash_cure


def test_a_late_answer_has_its_door_until_the_dispute_ends_with_the_call() -> None:
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    borrower = ClientUser.objects.get(client=loan.client).user
    theirs, ours = f"/portal/calls/{call.public_id}/dispute/", f"/console/calls/{call.public_id}/dispute/"
    page(desk, borrower, theirs, figure="price:BTC", claimed="34000", statement="Look at Kraken")
    shown = page(desk, desk.risk, "/console/incidents/")[1]
    assert f'<a href="{ours}">Answer the dispute</a>' in shown
    desk.minutes(125)
    shown = page(desk, desk.risk, ours)[1]
    assert "The answer is late" in shown
    assert "0:00:00" not in shown
    assert "<button>Answer</button>" in shown
    assert "is late; your contact has to give it" in page(desk, borrower, theirs)[1]

    desk.minutes(60)  # in sale: it can be answered, and not be given in to
    shown = page(desk, desk.risk, ours)[1]
    assert "<button>Answer</button>" in shown
    assert "is withdrawn: two persons" not in shown

    desk.pay(loan, desk.call(loan).cash_cure)
    desk.steps(3)
    assert desk.call(loan).closed_at is not None
    shown = page(desk, desk.risk, ours)[1]
    assert "it was not answered before" in shown
    assert "<button>Answer</button>" not in shown
    assert "It ended with the call" in page(desk, borrower, theirs)[1]
    assert "disputes the price of BTC" in page(desk, desk.risk, "/console/incidents/")[1].split("<h2>Closed</h2>")[1]


def test_a_call_is_waived_by_two_persons() -> None:
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    door = f"/console/calls/{call.public_id}/waiver/"
    assert "Ask the head of risk" in page(desk, desk.risk, door)[1]
    status, kept = page(desk, desk.risk, door, hours="0", reason="A wire is on its way")
    assert status == 422
    assert "A wire is on its way" in kept
    assert "Asked: it waits" in page(desk, desk.risk, door, hours="3", reason="A wire is on its way")[1]
    assert "asked for already" in page(desk, desk.risk, door, hours="3", reason="Again")[1]
    asked = Approval.objects.get(kind="waive_call")
    assert "Approved by you" in page(desk, desk.second, f"/admin/lending/approval/{asked.pk}/approve/", reason="ok")[1]
    assert desk.call(loan).state == CallState.WAIVED
    assert "there is nothing to waive" in page(desk, desk.risk, door)[1]
    assert "A wire is on its way" in page(desk, desk.risk, f"/console/calls/{call.public_id}/dispute/")[1]

"""Only selling everything is left, and it is a lot: risk asks on the call's page, the head of risk agrees."""

from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending.models import Approval, LoanState, User
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


def post(desk: Desk, who: User, address: str, **fields: str) -> str:
    """Press a button as somebody, at the platform's time, and return the page that follows."""
    browser = Browser()
    browser.force_login(who)
    with time_machine.travel(desk.now, tick=False):
        return browser.post(address, fields, follow=True).content.decode()


def read(desk: Desk, user: User, address: str) -> str:
    """Open a page as somebody."""
    with time_machine.travel(desk.now, tick=False):
        browser = Browser()
        browser.force_login(user)
        return browser.get(address).content.decode()


def test_a_large_account_is_sold_out_by_two_persons() -> None:
    desk = Desk()
    loan = desk.loan("8000000", BTC="400")
    desk.step(BTC="15000")
    call = desk.call(loan)
    assert desk.orders(loan) == []
    door = f"/console/calls/{call.public_id}/two-keys/"
    assert "Not asked: no sale" in post(desk, desk.risk, door, kind="sale_on_degraded")
    assert "Asked: the sale waits" in post(desk, desk.risk, door, kind="full_close")
    assert "asked to sell all collateral" in read(desk, desk.risk, f"/console/calls/{call.public_id}/two-persons/")
    asked = Approval.objects.get()
    button = f"/admin/lending/approval/{asked.pk}/approve/"
    page = read(desk, desk.second, f"/admin/lending/approval/{asked.pk}/change/")
    assert "asks to sell all collateral of the account" in page
    assert "where it stands now" in page
    assert f'formaction="{button}"' in page
    assert "can not decide it" in post(desk, desk.risk, button)
    assert "can not approve, release or waive" in post(desk, desk.manager, button)
    desk.step()
    assert desk.orders(loan) == []
    assert "Approved by you" in post(desk, desk.second, button)
    desk.step()
    (order,) = desk.orders(loan)
    asked.refresh_from_db()
    loan.refresh_from_db()
    assert (order.quantity, asked.state, loan.state) == (
        Decimal(400),
        Approval.State.EXECUTED,
        LoanState.LIQUIDATING,
    )

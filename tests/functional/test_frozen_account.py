"""Risk freezes an account on its loan's page; the head of risk sets it free on the page Approvals."""

import pytest

from lending.models import Approval, Freeze
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


def test_an_account_is_frozen_by_one_and_set_free_by_two() -> None:
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    its_page = f"/admin/lending/loan/{loan.pk}/change/"
    door = f"/admin/freezes/{loan.pk}/"
    assert "Freeze it now" in desk.page(desk.risk, its_page)
    assert "Freeze it now" not in desk.page(desk.manager, its_page)
    assert "Refused: say why" in desk.page(desk.risk, door, reason=" ")
    long = "why " * 101  # more than is kept
    assert f'value="{long}"' in desk.page(desk.risk, door, reason=long)
    told = desk.page(desk.risk, door, reason="A court order")
    assert "Frozen: nothing is drawn" in told
    assert "A court order" in told
    assert "A court order" in desk.page(desk.manager, its_page)
    refused = desk.page(desk.risk, door, reason="Once more")
    assert "Refused: it is frozen already" in refused
    assert 'value="Once more"' in refused
    assert "it waits on the page Approvals" in desk.page(desk.risk, f"{door}lift/", reason="Withdrawn")
    asked = Approval.objects.get(kind="unfreeze")
    assert "Open the request" in desk.page(desk.risk, its_page)
    button = f"/admin/lending/approval/{asked.pk}/approve/"
    assert "can not decide it" in desk.page(desk.risk, button, reason="")
    assert "Approved by you" in desk.page(desk.second, button, reason="fine")
    row = Freeze.objects.get()
    assert (row.lift_maker, row.lift_checker) == (desk.risk, desk.second)
    assert "Freeze it now" in desk.page(desk.risk, its_page)

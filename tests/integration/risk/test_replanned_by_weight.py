"""A sale that has become too much is planned anew, by the weight of what it sells."""

from decimal import Decimal

import pytest

from lending.models import Pledge
from risk.liquidations import open_quantity
from tests.factories.risk import Desk

D = Decimal


@pytest.mark.parametrize(("haircut", "bitcoin"), [("0", "1"), ("0.5", "2")])
def test_half_of_the_gap_paid_is_half_of_the_sale(desk: Desk, haircut: str, bitcoin: str) -> None:
    loan = desk.loan("20000", BTC=bitcoin)
    Pledge.objects.filter(margin_account=loan.margin_account_id).update(haircut=D(haircut))
    desk.step(BTC="28000", ETH="1750", LINK="21")
    desk.minutes(22)
    planned = desk.orders(loan)[-1].quantity
    stands = desk.judged(loan).exposed
    gap = stands.debt - D("0.6") * stands.weighted
    desk.pay(loan, (gap / 2).quantize(D("0.01")))
    desk.minutes(3)
    left = sum(open_quantity(order) for order in desk.orders(loan))
    assert abs(left / planned - D("0.5")) < D("0.02")

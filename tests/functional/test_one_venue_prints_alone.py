"""One venue prints what nobody else does, as on 14 March 2023: nothing fires. The same print on every venue fires."""

import pytest

from lending.models import Notice
from risk.models import MarginCall, Mark, SaleCause
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db

# Dollars against bitcoin gain from a high print and lose from a low one, so the story is told from both sides.
LOW, HIGH = "24000", "45000"


def test_one_venue_fires_nothing_however_long_it_insists():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    for _ in range(6):
        desk.step(BTC={"alder": LOW})
    assert desk.state(loan) == "healthy"
    assert not MarginCall.objects.exists()
    assert not Notice.objects.exists()
    mark = Mark.objects.get(asset__code="BTC")
    assert mark.sources["alder:BTC-USD"]["reason"] == "deviation"


def test_all_venues_fire_a_call_and_after_ten_seconds_a_sale():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="24500")
    assert desk.state(loan) == "liquidate"
    assert not SaleCause.objects.exists()
    desk.steps(2, BTC="24500")
    cause = SaleCause.objects.get()
    assert (cause.kind, cause.evidence["evaluations"]) == ("liquidation_level", 3)
    assert len(desk.orders(loan)) == 1


def test_past_the_gap_limit_a_sale_does_not_wait():
    desk = Desk()
    desk.loan("20000", BTC="1")
    desk.step(BTC="23000")
    assert SaleCause.objects.get().evidence["past_gap_limit"] is True


def test_one_high_print_clears_no_call():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    for _ in range(30):
        desk.step(BTC={"alder": HIGH})
    assert desk.call(loan).closed_at is None
    assert desk.state(loan) == "call"

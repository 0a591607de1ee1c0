"""Bitcoin falls, the client adds collateral in time, nothing is sold."""

from datetime import timedelta
from decimal import Decimal

import pytest

from lending.engine import money
from lending.models import Event, Notice
from risk.models import CallState, SaleCause
from tests.factories.risk import Desk

pytestmark = pytest.mark.django_db


def test_btc_falls_client_tops_up():
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    call = desk.call(loan)
    assert call.state == CallState.NOTIFIED
    assert call.cure_due_at == call.received_at + timedelta(minutes=20)
    needed = call.collateral_cures.get(asset__code="BTC").quantity
    # D = 20,000 and interest, A = 28,000, t = 60 %: about 0.19 bitcoin bring it back.
    assert Decimal("0.19") < needed < Decimal("0.191")

    half = money.quantize_down(needed / 2, 8)
    desk.top_up(loan, "BTC", str(half))
    desk.step()
    call.refresh_from_db()
    assert call.state == CallState.PARTIALLY_CURED
    assert Decimal("0.499") < call.cured_fraction <= Decimal("0.5")

    desk.top_up(loan, "BTC", str(needed - half))
    desk.steps(2)
    call.refresh_from_db()
    assert (call.state, call.close_reason) == (CallState.CURED, "what was called for has been paid")
    assert desk.state(loan) == "healthy"

    desk.minutes(25)
    assert not SaleCause.objects.exists()
    assert desk.orders(loan) == []
    told = list(Notice.objects.order_by("pk").values_list("kind", flat=True))
    assert told == ["margin_call", "margin_call_cured"]
    kinds = list(Event.objects.filter(stream="console").order_by("pk").values_list("kind", flat=True))
    assert kinds == ["call_issued", "call_notified", "call_progress", "call_progress", "call_cured"]

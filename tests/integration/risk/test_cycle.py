"""The marking cycle: what it writes, what it leaves alone, and how many queries it takes."""

import pytest

from risk import cycle
from risk.models import MarginCall

pytestmark = pytest.mark.django_db


def test_a_fall_through_the_ladder_is_followed_level_by_level(desk):
    loan = desk.loan("20000", BTC="1")
    seen = []
    for price in ("40000", "30500", "28000", "26000", "24500", "40000"):
        desk.round(BTC=price)
        seen.append(desk.state(loan))
    assert seen == ["healthy", "warning", "call", "accelerated", "liquidate", "healthy"]


def test_a_repeated_round_does_nothing(desk):
    desk.loan("20000", BTC="1")
    desk.round(BTC="28000")
    before = MarginCall.objects.count()
    assert cycle.run(0, now=desk.now).repeated
    assert before == MarginCall.objects.count() == 1

"""A loan's charts rest on stored marks: LTV as it was, the levels, and each call where it began and where it ended."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client as Browser

from lending import repayments
from risk import margin_calls
from risk.models import MarginCall
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(minutes=4)


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def call(cast: Cast) -> MarginCall:
    """Return a call at 34,000 that cash cured two minutes later, at 35,000."""
    call = stories.called(cast)
    loan = call.margin_account.loans.get()
    repayments.record(loan, Decimal(100_000), key="cure", received_at=LATER, now=LATER, actor=cast.alice)
    margin_calls.assess_due(now=LATER)
    stories.market("35000", at=LATER)
    return call


def history(client: Browser, call: MarginCall, span: str = "24h") -> dict[str, Any]:
    loan = call.margin_account.loans.get()
    found: dict[str, Any] = client.get(f"/portal/loans/{loan.public_id}/history/", {"span": span}).json()
    return found


def second(at: datetime) -> int:
    return int(at.timestamp())


def test_ltv_is_what_it_was_at_each_stored_mark(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    drawn = history(client, call)
    by_time = dict(zip(drawn["at"], drawn["ltv"], strict=True))
    # 600,000 against 25 x 40,000 and 25 x 34,000; after 100,000 were paid, 500,000.7 against 25 x 35,000
    assert by_time[second(NOW + timedelta(minutes=1))] == pytest.approx(0.6, abs=1e-4)
    assert by_time[second(NOW + timedelta(minutes=2))] == pytest.approx(0.70588, abs=1e-4)
    assert by_time[second(LATER)] == pytest.approx(0.57143, abs=1e-4)
    assert drawn["prices"]["BTC"][-1] == 35_000
    assert set(drawn["quality"]) == {"good"}


def test_the_levels_are_named_and_the_call_stands_on_the_chart(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    drawn = history(client, call)
    assert drawn["levels"] == [[name, float(level)] for name, level in call.margin_account.terms.levels]
    assert [(mark["at"], mark["words"]) for mark in drawn["marks"]] == [
        (second(NOW + timedelta(minutes=2)), "Call issued"),
        (second(LATER), "Call cured"),
    ]


@pytest.mark.parametrize("span", ["6h", "7d", "all", "nonsense"])
def test_any_span_is_answered(call: MarginCall, cast: Cast, client: Browser, span: str) -> None:
    client.force_login(cast.bob)
    assert len(history(client, call, span)["at"]) >= 3

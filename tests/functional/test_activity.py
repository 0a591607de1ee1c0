"""A loan's activity page tells everything that happened to it, by kind, the newest first."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import repayments
from risk import margin_calls
from risk.models import MarginCall
from risk.portal import activity
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(minutes=5)


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def call(cast: Cast) -> MarginCall:
    """Return a call that was acknowledged and then cured by cash."""
    call = stories.called(cast)
    margin_calls.acknowledge(call, user=cast.alice, now=NOW + timedelta(minutes=3))
    loan = call.margin_account.loans.get()
    repayments.record(loan, Decimal(95_000), key="cure", received_at=LATER, now=LATER, actor=cast.alice)
    margin_calls.assess_due(now=LATER)
    return call


def test_everything_stands_in_one_list(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    loan = call.margin_account.loans.get()
    page = client.get(f"/portal/loans/{loan.public_id}/activity/").content.decode()
    told = (
        "Loan quoted", "Loan active", "Collateral pledged", "Margin call issued", "Margin call acknowledged",
        "by Alice", "Repaid", "95,000.00", "Margin call cured", "Margin call: pay 90,000.24 USD",
    )  # fmt: skip
    for words in told:
        assert words in page, words
    assert page.index("Margin call cured") < page.index("Margin call acknowledged") < page.index("Loan quoted")


@pytest.mark.parametrize(
    ("kind", "says", "hides"),
    [
        ("payments", "95,000.00", "Margin call cured"),
        ("calls", "Margin call cured", "95,000.00"),
        ("sales", "Nothing of this kind yet", "Repaid"),
        ("nonsense", "Margin call cured", "Nothing of this kind yet"),
    ],
)
def test_a_kind_is_chosen_by_its_tab(
    call: MarginCall, cast: Cast, client: Browser, kind: str, says: str, hides: str
) -> None:
    client.force_login(cast.bob)
    loan = call.margin_account.loans.get()
    page = client.get(f"/portal/loans/{loan.public_id}/activity/", {"kind": kind}).content.decode()
    assert says in page
    assert hides not in page


def test_every_kind_has_a_source(call: MarginCall) -> None:
    loan = call.margin_account.loans.get()
    found = {row.kind for row in activity.of_loan(loan, activity.KINDS)}
    assert found == set(activity.KINDS) - {"sales"}

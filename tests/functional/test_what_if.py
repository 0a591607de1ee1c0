"""A borrower asks what would happen: the exact engine answers, with or without a script, and nothing changes."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending.models import Loan, Pledge, Repayment
from risk import exposures, prices, what_if
from risk.models import MarginState, Mark
from risk.what_if import Change
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


@pytest.fixture
def loan(cast: Cast) -> Loan:
    """Return a loan of 600,000.28 against 25 BTC at 34,000: 70.59 %."""
    loan = stories.running(cast)
    stories.fall()
    return loan


def imagined(loan: Loan, change: Change) -> what_if.Outcome:
    facts = exposures.load([loan.margin_account_id], now=LATER)[loan.margin_account_id]
    return what_if.imagine(facts, prices.current(now=LATER), change, loan_asset="USD")


def test_nothing_imagined_is_where_it_stands(loan: Loan) -> None:
    outcome = imagined(loan, Change())
    assert outcome.state == MarginState.CALL
    assert round(outcome.ltv, 4) == Decimal("0.7059")
    assert outcome.prices == (("BTC", Decimal(34000)),)


def test_prices_move_together(loan: Loan) -> None:
    outcome = imagined(loan, Change(move=Decimal("-0.2")))
    # 600,000.28 / (25 x 27,200)
    assert round(outcome.ltv, 4) == Decimal("0.8824")
    assert outcome.state == MarginState.LIQUIDATE
    assert outcome.collateral_usd == Decimal(680_000)


def test_a_top_up_and_a_repayment_add_up(loan: Loan) -> None:
    outcome = imagined(loan, Change(asset="BTC", added=Decimal(5), repaid=Decimal("90000.28")))
    assert outcome.debt_usd == Decimal(510_000)
    # 510,000 / (30 x 34,000); the sale would then come at 510,000 / (0.8 x 30)
    assert outcome.ltv == Decimal("0.5")
    assert outcome.rungs[-1].prices == (("BTC", Decimal("21250.00")),)


def test_what_cures_the_call_is_healthy_and_a_cent_less_of_collateral_is_above_its_target(loan: Loan) -> None:
    enough = imagined(loan, Change(repaid=Decimal("90000.28")))
    assert enough.ltv <= Decimal("0.6") < imagined(loan, Change(repaid=Decimal("90000.27"))).ltv


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change(move=Decimal(-1)), "100 %"),
        (Change(asset="LINK", added=Decimal(1)), "LINK is not among the collateral"),
        (Change(repaid=Decimal(600_001)), "more than is owed"),
    ],
)
def test_what_can_not_be_is_refused_in_words(loan: Loan, change: Change, says: str) -> None:
    with pytest.raises(what_if.UnableToImagine, match=says):
        imagined(loan, change)


def test_without_a_usable_mark_there_is_no_answer(loan: Loan) -> None:
    Mark.objects.update(quality="stale", price=None)
    with pytest.raises(what_if.UnableToImagine, match="no usable mark of BTC"):
        imagined(loan, Change())


def ask(client: Browser, loan: Loan, door: str, **question: str) -> str:
    return client.get(f"/portal/loans/{loan.public_id}/{door}", question).content.decode()


@pytest.mark.parametrize("door", ["", "what-if/"])
def test_the_page_and_its_part_answer_alike_and_change_nothing(
    loan: Loan, cast: Cast, client: Browser, door: str
) -> None:
    client.force_login(cast.bob)
    page = ask(client, loan, door, move="-20", added="", asset="BTC", repaid="")
    assert "88.24\N{NO-BREAK SPACE}%" in page
    assert "liquidate" in page
    assert "27,200.00" in page
    assert Pledge.objects.get().quantity == 25
    assert not Repayment.objects.exists()


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({"move": "lots"}, "not a whole number of percent"),
        ({"move": "-95"}, "greater than or equal to -90"),
        ({"move": "0", "added": "-1", "asset": "BTC"}, "can not be less than zero"),
        ({"move": "0", "added": "NaN", "asset": "BTC"}, "not a number"),
        ({"move": "0", "repaid": "9999999"}, "more than is owed"),
        ({"move": "0", "asset": "DOGE", "added": "1"}, "DOGE is not one of the available choices"),
    ],
)
def test_a_bad_question_is_told_what_is_wrong_and_kept(
    loan: Loan, cast: Cast, client: Browser, question: dict[str, str], says: str
) -> None:
    client.force_login(cast.bob)
    page = ask(client, loan, "", **question)
    assert says in page
    for value in question.values():
        assert value in page

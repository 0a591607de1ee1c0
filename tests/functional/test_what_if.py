"""A borrower asks what would happen: the exact engine answers, with or without a script, and nothing changes."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext

from lending import collateral
from lending.models import Loan, Pledge, PledgeMovement, Repayment
from risk import exposures, prices, what_if
from risk.models import MarginState, Mark
from risk.what_if import Change
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.prices import policy

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


@pytest.fixture
def mixed(loan: Loan) -> Loan:
    """Return the same loan with 100 ETH at 2,000 beside its bitcoin: 600,000.28 against 1,050,000."""
    also_pledged(loan, "ETH", "100", price="2000")
    return loan


def also_pledged(loan: Loan, code: str, quantity: str, *, price: str) -> None:
    asset = stories.deposited(loan.client, code, Decimal(quantity))
    key = f"top-up:{code}"
    collateral.pledge(loan.margin_account, asset, Decimal(quantity), key=key, now=NOW, kind=PledgeMovement.Kind.TOP_UP)
    policy(code)
    bitcoin = Mark.objects.get(asset__code="BTC")
    Mark.objects.update_or_create(
        asset=asset,
        defaults={"price": Decimal(price), "quality": bitcoin.quality, "as_of": bitcoin.as_of, "sources": {}},
    )


def test_each_asset_moves_by_itself_on_top_of_all(mixed: Loan) -> None:
    alone = imagined(mixed, Change(alone=(("ETH", Decimal("-0.5")),)))
    assert dict(alone.prices) == {"BTC": Decimal(34_000), "ETH": Decimal(1000)}
    assert alone.collateral_usd == Decimal(950_000)
    both = imagined(mixed, Change(move=Decimal("-0.2"), alone=(("ETH", Decimal("-0.5")), ("BTC", Decimal("0.25")))))
    assert dict(both.prices) == {"BTC": Decimal(34_000), "ETH": Decimal(800)}
    assert both.collateral_usd == Decimal(930_000)


def test_what_cures_the_call_is_healthy_and_a_cent_less_of_collateral_is_above_its_target(loan: Loan) -> None:
    enough = imagined(loan, Change(repaid=Decimal("90000.28")))
    assert enough.ltv <= Decimal("0.6") < imagined(loan, Change(repaid=Decimal("90000.27"))).ltv


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change(move=Decimal(-1)), "100 %"),
        (Change(alone=(("BTC", Decimal(-1)),)), "100 %"),
        (Change(alone=(("DOGE", Decimal("0.1")),)), "DOGE is not among the collateral"),
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


@pytest.mark.parametrize("door", ["", "what-if/"])
def test_a_borrower_moves_one_asset_alone(mixed: Loan, cast: Cast, client: Browser, door: str) -> None:
    client.force_login(cast.bob)
    page = ask(client, mixed, door, move="0", move_BTC="0", move_ETH="-50")
    assert "34,000.00" in page
    assert "1,000.00" in page
    assert "63.16\N{NO-BREAK SPACE}%" in page  # 600,000.28 / 950,000
    bad = ask(client, mixed, "", move="0", move_ETH="lots")
    assert "not a whole number of percent" in bad
    assert 'value="lots"' in bad


def test_with_one_asset_there_is_one_field_and_more_assets_ask_no_more(loan: Loan, cast: Cast, client: Browser) -> None:
    client.force_login(cast.bob)
    with CaptureQueriesContext(connection) as few:
        assert "move_BTC" not in client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    also_pledged(loan, "ETH", "100", price="2000")
    also_pledged(loan, "LINK", "100", price="20")
    with CaptureQueriesContext(connection) as many:
        page = client.get(f"/portal/loans/{loan.public_id}/").content.decode()
    assert page.count('name="move_') == 3
    assert len(many) == len(few)

"""The books that a demo desk opens with."""

from collections import Counter
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from deploy.demo import books, reference
from deploy.demo.roster import ROSTER, entrant
from lending import ids
from lending.models import Client

PRICE = {"BTC": Decimal("42915.91"), "ETH": Decimal("3378.64"), "LINK": Decimal("42.725")}


@pytest.fixture(scope="module")
def shown():
    return books.showcase(PRICE, seed=7)


def test_the_showcase_is_four_hundred_loans_of_sixty_clients(shown):
    assert len(shown) == len(ROSTER) == 60
    assert sum(len(party.loans) for party in shown) == 400
    assert all(party.loans for party in shown)


def test_it_covers_every_product_clock_and_mix(shown):
    loans = [plan for party in shown for plan in party.loans]
    products = {ladder.product(asset) for ladder in (*reference.LADDERS, reference.PRIME) for asset in ("USD", "USDC")}
    monthly = {ladder.product("USD") for ladder in (reference.OPEN, reference.INSTALMENT)}
    assert {plan.product for plan in loans} == products | monthly
    mixes = Counter(tuple(code for code, _ in plan.collateral) for plan in loans)
    assert set(mixes) == {
        ("BTC",), ("ETH",), ("LINK",), ("BTC", "ETH"), ("BTC", "LINK"), ("ETH", "LINK"), ("BTC", "ETH", "LINK")
    }  # fmt: skip
    assert min(mixes.values()) >= 3


def test_no_loan_is_above_the_initial_ltv_of_its_ladder(shown):
    initial = {
        ladder.product(asset): Decimal(ladder.levels["initial_ltv"])
        for ladder in reference.OFFERED
        for asset in ("USD", "USDC")
    }
    for party in shown:
        for plan in party.loans:
            value = sum(quantity * PRICE[code] for code, quantity in plan.collateral)
            assert Decimal("0.2") < plan.principal / value <= initial[plan.product]


def test_a_seed_gives_one_book_and_another_seed_another(shown):
    assert books.showcase(PRICE, seed=7) == shown
    assert books.showcase(PRICE, seed=8) != shown


def test_every_set_piece_has_its_loan_and_its_script(shown):
    accounts = {ids.derived("margin_account", plan.public_id) for party in shown for plan in party.loans}
    assert set(books.scripts(7)) <= accounts
    assert len(books.scripts(7)) == len(books.SET_PIECES)


def test_a_small_showcase_still_has_every_set_piece():
    small = books.showcase(PRICE, seed=7, loans=1)
    assert sum(len(party.loans) for party in small) == len(books.SET_PIECES)


def test_no_script_touches_a_drawn_book():
    drawn = {
        ids.derived("margin_account", plan.public_id) for p in books.of_size(60, PRICE, seed=7) for plan in p.loans
    }
    assert not drawn & set(books.scripts(7))


def test_every_client_has_a_zone_that_exists_and_a_person_to_sign():
    for known in ROSTER:
        ZoneInfo(known.zone)
        assert len(known.contact.split()) >= 2
    assert len({known.name for known in ROSTER}) == len(ROSTER)
    assert {known.trade for known in ROSTER} >= {"individual", "family office", "fund", "miner", "market maker"}
    assert entrant(0).kind == Client.Kind.ENTITY
    assert entrant(4).kind == Client.Kind.INDIVIDUAL


def test_a_larger_desk_meets_sister_firms():
    assert entrant(60).name == f"{ROSTER[0].name} 2"
    assert entrant(125).name == f"{ROSTER[5].name} 3"

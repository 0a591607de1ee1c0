"""The order book of a simulated dealer: each id once, nothing acknowledged is lost, every habit reachable."""

import datetime as dt
from decimal import Decimal

import pytest

from otc.adapters.dealers_simulated import Journal, SimulatedDealer, UnableToServe
from otc.ports import QuoteRequest, Status, UnableToTell
from tests.factories.dealers import FlatMarket, character, simulated

AT = dt.datetime(2021, 5, 19, 12, tzinfo=dt.UTC)
D = Decimal


def request(order="o-1", quantity="2", asset="BTC", at=AT):
    return QuoteRequest(order, asset, D(quantity), at)


@pytest.fixture
def market():
    return FlatMarket({"BTC": D(40_000)})


def test_one_id_is_one_quote_and_one_acceptance(market):
    dealer = simulated(market)
    first = dealer.request_quote(request())
    market.prices["BTC"] = D(41_000)
    assert dealer.request_quote(request()) == first
    market.prices["BTC"] = D(40_000)
    accepted = dealer.accept("o-1", at=AT)
    assert accepted.status == Status.ACCEPTED
    assert [(fill.quantity, fill.price) for fill in accepted.fills] == [(D(2), first.price)]
    assert accepted.done
    assert dealer.accept("o-1", at=AT + dt.timedelta(hours=1)).fills == accepted.fills
    assert dealer.query("never", at=AT) is None


def test_an_id_is_not_used_for_two_things(market):
    dealer = simulated(market)
    dealer.request_quote(request())
    with pytest.raises(UnableToServe, match="was used for"):
        dealer.request_quote(request(quantity="3"))


@pytest.mark.parametrize(("asset", "quantity"), [("DOGE", "1"), ("BTC", "0"), ("BTC", "-1"), ("BTC", "NaN")])
def test_nonsense_is_refused_in_words(market, asset, quantity):
    with pytest.raises(UnableToServe):
        simulated(market).request_quote(request(asset=asset, quantity=quantity))


def test_an_acceptance_after_the_end_of_the_quote_or_a_fall_comes_to_nothing(market):
    dealer = simulated(market)
    dealer.request_quote(request())
    assert dealer.accept("o-1", at=AT + dt.timedelta(seconds=61)).status == Status.EXPIRED
    dealer.request_quote(request("o-2"))
    market.prices["BTC"] = D(39_000)
    answer = dealer.accept("o-2", at=AT)
    assert answer.status == Status.REJECTED
    assert "last look" in answer.reason


def test_a_withdrawn_order_is_never_accepted(market):
    dealer = simulated(market)
    dealer.request_quote(request())
    assert dealer.withdraw("o-1", at=AT).status == Status.WITHDRAWN
    assert dealer.accept("o-1", at=AT).status == Status.WITHDRAWN


def test_a_lost_answer_was_acted_on(market):
    dealer = simulated(market, lost_answer_chance=D(1))
    dealer.request_quote(request())
    with pytest.raises(UnableToTell):
        dealer.accept("o-1", at=AT)
    assert dealer.query("o-1", at=AT).status == Status.ACCEPTED


def test_the_second_part_of_a_fill_comes_later(market):
    dealer = simulated(market, partial_chance=D(1))
    seen = set()
    for n in range(20):
        dealer.request_quote(request(f"o-{n}"))
        dealer.accept(f"o-{n}", at=AT)
        now, later = dealer.query(f"o-{n}", at=AT), dealer.query(f"o-{n}", at=AT + dt.timedelta(seconds=5))
        assert len(now.fills) == 1
        assert later.done
        seen.add((now.done, len(later.fills), sum(fill.quantity for fill in later.fills) == 2))
    assert seen == {(True, 1, False), (False, 2, True)}


def test_a_killed_dealer_remembers_what_it_acknowledged(market, tmp_path):
    path = tmp_path / "harbour.jsonl"
    dealer = SimulatedDealer(character(), market, seed=7, journal=Journal(path))
    quoted = dealer.request_quote(request())
    dealer.request_quote(request("o-2"))
    accepted = dealer.accept("o-1", at=AT)
    with path.open("ab") as file:
        file.write(b'{"id": "o-3", "asset": "BT')  # cut off by the kill
    again = SimulatedDealer(character(), market, seed=7, journal=Journal(path))
    assert again.query("o-1", at=AT) == accepted
    assert again.query("o-2", at=AT).status == Status.QUOTED
    assert again.query("o-3", at=AT) is None
    assert again.request_quote(request("o-3")).price == quoted.price or again.query("o-3", at=AT)
    third = SimulatedDealer(character(), market, seed=7, journal=Journal(path))
    assert third.query("o-3", at=AT).status == Status.QUOTED

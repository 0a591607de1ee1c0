"""The default scenario: its own table, bridged by seed, spread over venues that are named as synthetic."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from risk import scenarios
from risk.scenarios import Patch, UnableToLoad
from risk.scenarios.simulated import SIMULATED, figures_of
from tests import bad_input

LOW = datetime(2021, 5, 19, 13, 10, tzinfo=UTC)
TABLE = SIMULATED["may-2021"]


@pytest.fixture(scope="module")
def scenario():
    return scenarios.load("may-2021", seed=7)


def test_the_table_holds_150_to_200_figures_each_densest_through_the_crash():
    for figures in figures_of(TABLE).values():
        assert 150 <= len(figures) <= 200
        crash = sum(1 for step in figures if 12 * 240 <= step < 15 * 240)
        assert crash / 3 > 3 * len(figures) / 44


def test_the_path_goes_through_every_figure(scenario):
    for asset, figures in figures_of(TABLE).items():
        usdt = [asset == feed.base and feed.quote == "USDT" for feed in scenario.feeds]
        middle = np.median(scenario.price[usdt], axis=0)
        for step, price in figures.items():
            assert middle[step] == pytest.approx(price, rel=0.003)


def test_the_published_lows_are_there(scenario):
    ticks = {tick.source: tick.price for tick in scenario.ticks(LOW) if tick.base == "BTC"}
    assert all(abs(price / 30000 - 1) < Decimal("0.002") for price in ticks.values())
    fall = scenario.mid("LINK", LOW - timedelta(minutes=16)) / scenario.mid("LINK", LOW - timedelta(minutes=31)) - 1
    assert Decimal("-0.335") < fall < Decimal("-0.31")


def test_the_window_and_the_sources(scenario):
    assert scenario.start_at == datetime(2021, 5, 19, tzinfo=UTC)
    assert scenario.end_at == datetime(2021, 5, 20, 20, tzinfo=UTC)
    assert scenario.steps == 44 * 240 + 1
    assert scenario.assets == ("BTC", "ETH", "LINK", "USDC", "USDT")
    assert len(scenario.sources) == 3
    assert all(feed.synthetic and "synthetic" in feed.source_name for feed in scenario.feeds)
    assert {feed.quote for feed in scenario.feeds if feed.base == "BTC"} == {"USDT"}
    assert len(scenario.ticks(LOW)) == 15


def test_the_same_seed_gives_the_same_prices_and_another_seed_others(scenario):
    again, other = scenarios.load("may-2021", seed=7), scenarios.load("may-2021", seed=8)
    assert again.ticks(LOW) == scenario.ticks(LOW)
    at = LOW + timedelta(hours=3, seconds=30)
    assert again.mid("ETH", at) == scenario.mid("ETH", at)
    assert other.mid("ETH", at) != scenario.mid("ETH", at)


def test_a_part_says_what_the_whole_says(scenario):
    part = scenarios.load("may-2021", seed=7, start_at=LOW - timedelta(hours=1), end_at=LOW + timedelta(hours=1))
    assert (part.start_at, part.end_at, part.steps) == (LOW - timedelta(hours=1), LOW + timedelta(hours=1), 481)
    assert part.ticks(LOW) == scenario.ticks(LOW)
    assert next(part.rounds()) == part.start_at


def test_an_instant_inside_a_step_belongs_to_the_step(scenario):
    at = LOW + timedelta(seconds=14)
    assert scenario.round_at(at) == LOW
    assert scenario.mid("BTC", at) == scenario.mid("BTC", LOW)
    assert {tick.at for tick in scenario.ticks(at, stamped=at)} == {at}


def test_venues_differ_by_basis_points_and_coins_stay_near_par(scenario):
    for base in ("BTC", "ETH", "LINK"):
        rows = scenario.price[[feed.base == base for feed in scenario.feeds]]
        spread = (rows.max(axis=0) - rows.min(axis=0)) / np.median(rows, axis=0)
        assert 0 < spread.mean() < 0.005
        assert spread.max() < 0.02
    for coin in ("USDC", "USDT"):
        assert np.abs(scenario.mids[coin] - 1).max() < 0.005


def test_the_volatility_of_the_day_lies_between_the_figures(scenario):
    minute = np.log(scenario.mids["BTC"][::4])
    assert 0.002 < np.median(np.abs(np.diff(minute))) / 0.6745 < 0.005


def test_a_cut_silences_one_venue_or_all(scenario):
    silent = scenario.cut(LOW, LOW + timedelta(minutes=20))
    assert silent.ticks(LOW) == []
    assert silent.ticks(LOW - timedelta(seconds=15)) == scenario.ticks(LOW - timedelta(seconds=15))
    assert len(silent.ticks(LOW + timedelta(minutes=20))) == 15
    assert {tick.source for tick in scenario.cut(LOW, LOW + timedelta(minutes=1), source="birch").ticks(LOW)} == {
        "alder",
        "cedar",
    }
    assert silent.mid("BTC", LOW) == scenario.mid("BTC", LOW)


def test_a_patch_prints_a_price(scenario):
    patch = Patch(LOW, LOW + timedelta(seconds=15), source="alder", base="BTC", price=Decimal(31000))
    prices = {tick.source: tick.price for tick in scenario.patched([patch]).ticks(LOW) if tick.base == "BTC"}
    assert prices["alder"] == 31000
    assert prices["birch"] < 30100
    assert scenario.patched([patch]).ticks(LOW + timedelta(seconds=15)) == scenario.ticks(LOW + timedelta(seconds=15))


def test_what_cannot_be_loaded_is_refused():
    read = {}
    for case, arguments in {
        "a scenario that nobody knows": ("--scenario", "june-2021"),
        "a folder that is not there": ("--dir", "/nowhere"),
        "from “soon”": ("--from", "soon"),
        "from after its end": ("--from", f"{LOW + timedelta(days=9)}"),
        "to before from": ("--from", f"{LOW}", "--to", f"{LOW - timedelta(hours=1)}"),
        "a cut that ends before it starts": ("--feed-cut", f"{LOW}..{LOW - timedelta(hours=1)}"),
        "no loan": ("--loans", "0"),
        "loans “many”": ("--loans", "many"),
    }.items():
        with pytest.raises(CommandError) as refusal:
            call_command("replay", *arguments)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.COMMANDS, "replay", read)


def test_an_asset_without_a_price_is_refused(scenario):
    assert scenario.mid("USD", LOW) == 1
    with pytest.raises(UnableToLoad):
        scenario.mid("DOGE", LOW)

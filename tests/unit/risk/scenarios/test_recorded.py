"""Recordings: the documented format, bars inside their minute, one venue spread over three, several as they are."""

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from risk import scenarios
from risk.scenarios import UnableToLoad
from tests import bad_input

AT = datetime(2023, 3, 14, 14, 24, tzinfo=UTC)
HEADER = "venue,symbol,ts,open,high,low,close,volume\n"
ONE = HEADER + (
    "acme,BTC-USDT,2023-03-14T14:24:00Z,100,110,90,105,1\nacme,BTC-USDT,2023-03-14T14:26:00Z,106,111,91,107,1\n"
)


def load(folder, **more):
    return scenarios.load("any", seed=7, directory=folder, **more)


def prices(scenario, at, base="BTC", **wanted):
    return [
        tick.price
        for tick in scenario.ticks(at)
        if tick.base == base and all(getattr(tick, name) == value for name, value in wanted.items())
    ]


@pytest.fixture
def folder(tmp_path):
    with gzip.open(tmp_path / "acme.csv.gz", "wt") as file:
        file.write(ONE)
    return tmp_path


def test_one_venue_is_spread_over_three_synthetic_ones(folder):
    scenario = load(folder)
    assert (scenario.start_at, scenario.steps) == (AT, 12)
    assert scenario.sources == ("alder", "birch", "cedar")
    assert all(feed.synthetic for feed in scenario.feeds)
    opened = prices(scenario, AT)
    assert len(opened) == 3
    assert all(abs(price / 100 - 1) < Decimal("0.002") for price in opened)


def test_coins_without_a_dollar_quote_get_a_simulated_one(folder):
    scenario = load(folder)
    assert scenario.assets == ("BTC", "USDC", "USDT")
    assert len(prices(scenario, AT, base="USDT", quote="USD")) == 3
    assert scenario.mid("BTC", AT) == pytest.approx(Decimal(100) * scenario.mid("USDT", AT), rel=Decimal("0.002"))


def test_a_minute_without_a_bar_is_silent_and_its_mid_stands(folder):
    scenario = load(folder)
    assert prices(scenario, AT + timedelta(minutes=1)) == []
    assert scenario.mid("BTC", AT + timedelta(minutes=1)) == pytest.approx(Decimal(105), rel=Decimal("0.01"))


def test_a_bar_replays_as_open_low_and_high_in_seeded_order_and_close(tmp_path):
    bars = [f"acme,BTC-USD,2023-03-14T14:{minute:02}:00Z,100,110,90,105,1\n" for minute in range(24, 54)]
    (tmp_path / "a.csv").write_text(HEADER + "".join(bars) + "other,BTC-USD,2023-03-14T14:24:00Z,100,110,90,105,1\n")
    scenario = load(tmp_path)
    assert not any(feed.synthetic for feed in scenario.feeds if feed.base == "BTC")
    orders = set()
    for minute in range(30):
        steps = [AT + timedelta(minutes=minute, seconds=15 * n) for n in range(4)]
        opened, second, third, close = (prices(scenario, at, source="acme")[0] for at in steps)
        assert (opened, close) == (100, 105)
        orders.add((int(second), int(third)))
    assert orders == {(110, 90), (90, 110)}
    assert load(tmp_path).ticks(AT + timedelta(seconds=15)) == scenario.ticks(AT + timedelta(seconds=15))


BAD = {
    "an empty file": "",
    "columns too few": "venue,symbol,ts,open,high,low\n",
    "no bar": HEADER,
    "pair “BTCUSD”": HEADER + "acme,BTCUSD,2023-03-14T14:24:00Z,1,1,1,1,1\n",
    "time “yesterday”": HEADER + "acme,BTC-USD,yesterday,1,1,1,1,1\n",
    "price “x”": HEADER + "acme,BTC-USD,2023-03-14T14:24:00Z,1,x,1,1,1\n",
    "price “0”": HEADER + "acme,BTC-USD,2023-03-14T14:24:00Z,1,1,0,1,1\n",
    "price “-1”": HEADER + "acme,BTC-USD,2023-03-14T14:24:00Z,1,1,-1,1,1\n",
    "price “nan”": HEADER + "acme,BTC-USD,2023-03-14T14:24:00Z,1,1,nan,1,1\n",
    "price “1e400”": HEADER + "acme,BTC-USD,2023-03-14T14:24:00Z,1,1e400,1,1,1\n",
    "cells too few": HEADER + "acme,BTC-USD,2023-03-14T14:24:00Z,1\n",
    "no UTF-8": b"venue,symbol,ts\xff\n",
    "a pair that nothing leads from to dollars": HEADER + "acme,BTC-EUR,2023-03-14T14:24:00Z,1,1,1,1,1\n",
}


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    read, day = {}, tmp_path / "day"
    day.mkdir()
    for case, content in BAD.items():
        (day / "bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UnableToLoad) as refusal:
            load(day)
        read[case] = [str(refusal.value)]
    (day / "bad.csv").rename(day / "bad.csv.gz")
    for case, folder in (
        ("a file that is not packed as it says", day),
        ("a folder without one", tmp_path / "none"),
        ("a folder that is not there", tmp_path / "gone"),
    ):
        (tmp_path / "none").mkdir(exist_ok=True)
        with pytest.raises(UnableToLoad) as refusal:
            load(folder)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Recordings of prices, REPLAY_DIR", read)


def test_the_first_tick_of_a_pair_that_starts_later_is_known(folder):
    (folder / "later.csv").write_text(HEADER + "acme,ETH-USDT,2023-03-14T14:26:00Z,10,11,9,10,1\n")
    scenario = load(folder)
    assert prices(scenario, AT, base="ETH") == []
    first = [tick for tick in scenario.first_ticks(stamped=AT) if tick.base == "ETH"]
    assert len(first) == 3
    assert all(abs(tick.price / 10 - 1) < Decimal("0.002") and tick.at == AT for tick in first)


def test_a_desk_is_set_up_where_its_part_of_a_recording_starts_and_where_a_story_starts(folder):
    later = AT + timedelta(minutes=2)
    whole, part = scenarios.stage("any", seed=7, directory=folder, start_at=later)
    assert (whole.start_at, part.start_at) == (later, later)
    noon = datetime(2021, 5, 19, 12, tzinfo=UTC)
    whole, part = scenarios.stage("may-2021", seed=7, start_at=noon)
    assert (whole.start_at, part.start_at) == (datetime(2021, 5, 19, tzinfo=UTC), noon)

"""Published marks: what may be read from them, the order of conversion, and their age."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from risk.engine.ltv import INFINITE, Band
from risk.engine.marks import AssetMark, Marks, conversion_order, plain
from risk.engine.quality import Quality

NOW = datetime(2021, 5, 19, 13, 10, tzinfo=UTC)


def mark(quality: Quality = Quality.GOOD, **more) -> AssetMark:
    facts = {
        "price": Decimal(100),
        "as_of": NOW,
        "band": Decimal("0.1"),
        "last_good_price": Decimal(90),
        "last_good_at": NOW,
        "good_streak": 3,
        "outage_since": None,
        "grace_until": None,
        "spread": Decimal("0.001"),
    } | more
    return AssetMark("BTC", quality=quality, **facts)


def marks(*args, **more) -> Marks:
    return Marks(NOW, {"BTC": mark(*args, **more)})


@pytest.mark.parametrize(
    ("quality", "price", "band"),
    [
        (Quality.GOOD, Decimal(100), Band(Decimal(100), Decimal(100))),
        (Quality.DEGRADED, Decimal(100), Band(Decimal(100), Decimal(100))),
        (Quality.STALE, None, Band(Decimal(0), Decimal(99))),
        (Quality.HALTED, None, Band(Decimal(0), Decimal(99))),
    ],
)
def test_only_usable_marks_have_a_price_and_others_a_band(quality, price, band):
    assert (marks(quality).price("BTC"), marks(quality).band("BTC")) == (price, band)


def test_an_asset_that_was_never_priced_is_stale_and_unbounded():
    assert marks().quality("XYZ") is Quality.STALE
    assert marks().band("XYZ") == Band(Decimal(0), INFINITE)
    assert marks().in_grace("XYZ")


def test_the_dollar_is_one():
    assert (marks().price("USD"), marks().quality("USD"), marks().in_grace("USD")) == (1, Quality.GOOD, False)
    assert marks().last_good("USD") == 1
    assert marks().band("USD").certain


def test_marks_are_judged_again_at_a_later_instant():
    assert marks().judged(now=NOW + timedelta(seconds=60)) == marks()
    late = marks().judged(now=NOW + timedelta(seconds=61))
    assert (late.quality("BTC"), late.price("BTC"), late.as_of) == (Quality.STALE, None, NOW + timedelta(seconds=61))
    assert late.in_grace("BTC")
    halted = marks(Quality.HALTED).judged(now=NOW + timedelta(hours=1))
    assert halted.quality("BTC") is Quality.HALTED


def test_grace_is_an_outage_its_grace_period_or_a_gap_that_nobody_noted():
    assert not marks().in_grace("BTC")
    assert marks(outage_since=NOW).in_grace("BTC")
    assert marks(grace_until=NOW).in_grace("BTC")
    assert marks(last_good_at=NOW - timedelta(seconds=61)).in_grace("BTC")


def test_an_outage_is_measured_to_the_instant_of_reading():
    published = marks(Quality.DEGRADED, last_good_at=NOW - timedelta(seconds=50))
    assert not published.judged(now=NOW + timedelta(seconds=10)).in_grace("BTC")
    late = published.judged(now=NOW + timedelta(seconds=11))
    assert (late.quality("BTC"), late.in_grace("BTC")) == (Quality.DEGRADED, True)


def test_quote_currencies_come_first():
    quoted = {"BTC": {"USDC", "USD"}, "USDC": {"USDT"}, "USDT": {"USD"}, "ETH": {"BTC"}}
    assert conversion_order(quoted) == ["USDT", "USDC", "BTC", "ETH"]
    assert conversion_order({"USDC": {"USDT"}, "USDT": {"USDC"}}) == ["USDC", "USDT"]


@pytest.mark.parametrize(("value", "text"), [("1E+3", "1000"), ("0.500", "0.5"), ("7.000", "7"), ("0", "0")])
def test_plain_text_of_a_number(value, text):
    assert plain(Decimal(value)) == text


def test_a_snapshot_is_plain_text():
    kept = marks().as_json()["BTC"]
    assert (kept["price"], kept["quality"], kept["band"]) == ("100", "good", "0.1")

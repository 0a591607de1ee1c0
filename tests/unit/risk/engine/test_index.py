"""The capped index and its composite: worked numbers, a venue that lies, stalls or dies."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.engine.arrays import ShapeMismatch
from risk.engine.index import IndexPolicy, SourceQuote, UnableToIndex, capped_index, composite, median_of
from risk.engine.quality import Quality

NOW = datetime(2021, 5, 19, 13, 10, tzinfo=UTC)
POLICY = IndexPolicy()


def quote(venue: str, price: str | None, **more) -> SourceQuote:
    facts = {"at": NOW, "stale_after_s": 60, "weight": Decimal(1)} | more
    return SourceQuote(f"{venue}:BTC-USD", venue, None if price is None else Decimal(price), **facts)


def use(result, venue: str):
    return next(item for item in result.uses if item.source.startswith(venue))


@pytest.mark.parametrize(
    ("price", "weight", "clamp", "expected"),
    [
        ((100, 101, 120), (0.25, 0.5, 0.25), 0.005, 101.0),
        ((100, 101, 102), (1, 1, 1), 0.5, 101.0),
        ((100, 102), (1, 3), 0.5, 101.5),
        ((100,), (7,), 0.005, 100.0),
        ((1, 100, 100), (1, 1, 1), 0.0, 100.0),
        ((100, 101, 120), (2, 4, 2), 0.005, 101.0),
    ],
)
def test_capped_index_gives_worked_numbers(price, weight, clamp, expected):
    assert capped_index(np.array(price, float), np.array(weight, float), clamp) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("price", "weight", "clamp"),
    [
        ((100, np.nan, 101), (1, 1, 1), 0.005),
        ((100, np.inf), (1, 1), 0.005),
        ((100, 101), (1, np.nan), 0.005),
        ((100, 0), (1, 1), 0.005),
        ((100, -1), (1, 1), 0.005),
        ((100, 101), (0, 0), 0.005),
        ((100, 101), (1, -1), 0.005),
        ((100, 101), (1, 1), np.nan),
        ((100, 101), (1, 1), -0.1),
        ((), (), 0.005),
    ],
)
def test_capped_index_refuses_what_is_not_a_price(price, weight, clamp):
    with pytest.raises(UnableToIndex):
        capped_index(np.array(price, float), np.array(weight, float), clamp)


def test_capped_index_refuses_arrays_that_do_not_fit():
    with pytest.raises(ShapeMismatch):
        capped_index(np.array([1.0, 2.0]), np.array([1.0]), 0.005)


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=9), st.integers(0, 8), st.floats(1e-6, 1e12))
def test_one_liar_moves_the_index_by_no_more_than_the_honest_range_and_the_clamp(prices, liar, lie):
    honest = [price for n, price in enumerate(prices) if n != liar % len(prices)]
    prices[liar % len(prices)] = lie
    index = capped_index(np.array(prices), np.ones(len(prices)), 0.005)
    assert min(honest) * 0.995 * (1 - 1e-12) <= index <= max(honest) * 1.005 * (1 + 1e-12)


def test_three_live_venues_make_a_good_mark():
    result = composite([quote("a", "100"), quote("b", "100.2"), quote("c", "100.4")], POLICY, now=NOW)
    assert (result.price, result.quality) == (Decimal("100.2"), Quality.GOOD)
    assert all(item.live for item in result.uses)


def test_the_exact_composite_agrees_with_the_float_index():
    prices, weights = ("100", "101", "101.4"), ("0.25", "0.5", "0.25")
    quotes = [quote(v, p, weight=Decimal(w)) for v, p, w in zip("abc", prices, weights, strict=True)]
    expected = capped_index(np.array(prices, float), np.array(weights, float), 0.005)
    assert float(composite(quotes, POLICY, now=NOW).price) == pytest.approx(expected, rel=1e-12)


def test_a_venue_beyond_the_deviation_is_excluded_and_the_mark_degrades_without_quorum():
    result = composite([quote("a", "26000"), quote("b", "26010"), quote("c", "31000")], POLICY, now=NOW)
    assert result.excluded == ("c:BTC-USD",)
    assert result.price == Decimal(26005)
    assert (result.quality, result.reason) == (Quality.DEGRADED, "quorum")


def test_an_excluded_venue_returns_only_below_half_of_the_deviation():
    others = [quote("a", "100"), quote("b", "100"), quote("d", "100")]
    for price, excluded in (("104.9", True), ("103", True), ("102.5", True), ("102.4", False)):
        result = composite([*others, quote("c", price, excluded=True)], POLICY, now=NOW)
        assert use(result, "c").excluded is excluded, price
    assert use(composite([*others, quote("c", "104.9")], POLICY, now=NOW), "c").excluded is False


def test_an_excluded_venue_stays_out_when_it_is_the_only_one_left():
    result = composite([quote("c", "65", excluded=True)], POLICY, now=NOW)
    assert (result.price, result.quality) == (None, Quality.STALE)
    assert use(result, "c").excluded


def test_a_market_split_in_halves_excludes_nobody_and_degrades():
    quotes = [quote("a", "90"), quote("b", "90"), quote("c", "110"), quote("d", "110")]
    result = composite(quotes, POLICY, now=NOW)
    assert (result.excluded, result.quality, result.reason) == ((), Quality.DEGRADED, "spread")


def test_quorum_counts_venues_and_not_symbols():
    twice = SourceQuote("a:BTC-USDT", "a", Decimal(100), NOW, 60, Decimal(1))
    result = composite([quote("a", "100"), twice, quote("b", "100")], POLICY, now=NOW)
    assert (result.quality, result.reason) == (Quality.DEGRADED, "quorum")


@pytest.mark.parametrize(("age_s", "live"), [(60, True), (61, False)])
def test_each_source_has_its_own_staleness_limit(age_s, live):
    old = {"at": NOW - timedelta(seconds=age_s)}
    result = composite([quote("a", "100", **old), quote("b", "100", stale_after_s=90, **old)], POLICY, now=NOW)
    assert use(result, "a").live is live
    assert use(result, "b").live


def test_no_live_source_is_stale_and_has_no_price():
    old = NOW - timedelta(seconds=61)
    result = composite([quote("a", "100", at=old), quote("b", None)], POLICY, now=NOW)
    assert (result.price, result.quality) == (None, Quality.STALE)
    assert {item.reason for item in result.uses} == {"stale", "unconverted"}


def test_a_source_that_stands_still_while_the_median_moves_is_not_live():
    quotes = [quote("a", "98"), quote("b", "98"), quote("d", "98")]
    still = {"unmoved_beats": 20, "moved_from": Decimal(100)}
    assert use(composite([*quotes, quote("c", "100", **still)], POLICY, now=NOW), "c").reason == "frozen"
    still["unmoved_beats"] = 19
    assert use(composite([*quotes, quote("c", "100", **still)], POLICY, now=NOW), "c").live
    calm = {"unmoved_beats": 500, "moved_from": Decimal("98.5")}
    assert use(composite([*quotes, quote("c", "98", **calm)], POLICY, now=NOW), "c").live


def test_a_quote_converted_by_a_degraded_coin_does_not_count_for_quorum():
    quotes = [quote(venue, "100", conversion=Quality.DEGRADED) for venue in "abc"]
    result = composite(quotes, POLICY, now=NOW)
    assert (result.price, result.quality, result.reason) == (Decimal(100), Quality.DEGRADED, "conversion")


@pytest.mark.parametrize(
    ("price", "quality"), [("50", "halted"), ("50.01", "good"), ("199.9", "good"), ("200", "halted")]
)
def test_bounds_halt_the_asset(price, quality):
    policy = IndexPolicy(lower_bound=Decimal(50), upper_bound=Decimal(200))
    assert composite([quote(venue, price) for venue in "abc"], policy, now=NOW).quality == quality


def test_two_persons_can_halt_the_asset():
    result = composite([quote(venue, "100") for venue in "abc"], POLICY, now=NOW, halted=True)
    assert (result.price, result.quality) == (Decimal(100), Quality.HALTED)


def test_the_order_of_the_sources_does_not_matter():
    quotes = [quote("a", "100.1"), quote("b", "99"), quote("c", "107"), quote("d", "100", excluded=True)]
    assert composite(quotes, POLICY, now=NOW) == composite(quotes[::-1], POLICY, now=NOW)


def test_a_clamped_source_is_named():
    result = composite([quote("a", "100"), quote("b", "100"), quote("c", "104")], POLICY, now=NOW)
    assert result.clamped == ("c:BTC-USD",)
    assert use(result, "c").used == Decimal("100.5")


def test_median_is_exact():
    values = [Decimal("0.000000000000000003"), Decimal("0.000000000000000004")]
    assert median_of(values) == Decimal("0.0000000000000000035")
    with pytest.raises(UnableToIndex):
        median_of([])

"""The capped index: one price per asset that survives a venue that lies, stalls or dies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from lending.engine import money
from risk.engine.arrays import FloatArray, ShapeMismatch
from risk.engine.quality import Quality

PRICE_DECIMALS = 12
BPS = Decimal(10_000)


class UnableToIndex(ValueError):
    """The inputs of an index are empty, not finite, not positive, or carry no weight."""


def capped_index(price: FloatArray, weight: FloatArray, clamp: float) -> float:
    """
    Return the weighted mean of live source prices after each is clamped to the median m(1 ± clamp).

    Source: the capped composite of margin.md, section 1, last step alone. (100, 101, 120) with weights
    (.25, .5, .25) and clamp .005 gives 101.0.

    Parameters
    ----------
    price : float64 (S,)
        Prices of S live sources, > 0, in one currency.
    weight : float64 (S,)
        Weights >= 0 with a positive sum; they are renormalised.
    clamp : float
        Allowed distance from the median as a ratio, >= 0.

    Returns
    -------
    index : float, in the currency of the prices.

    Raises
    ------
    ShapeMismatch
        If the arrays are not one-dimensional or differ in length.
    UnableToIndex
        If there is no source, a value is NaN, infinite or out of range, or all weights are zero.
    """
    prices = np.asarray(price, dtype=np.float64)
    weights = np.asarray(weight, dtype=np.float64)
    if prices.ndim != 1 or prices.shape != weights.shape:
        raise ShapeMismatch(f"price {prices.shape} and weight {weights.shape} must be equal and one-dimensional")
    if prices.size == 0:
        raise UnableToIndex("no live source")
    if not (np.isfinite(prices).all() and np.isfinite(weights).all() and math.isfinite(clamp)):
        raise UnableToIndex("a price, a weight or the clamp is not finite")
    if (prices <= 0).any() or (weights < 0).any() or clamp < 0:
        raise UnableToIndex("prices must be > 0, weights and clamp >= 0")
    total = float(weights.sum())
    if total <= 0:
        raise UnableToIndex("all weights are zero")
    median = float(np.median(prices))
    capped = np.clip(prices, median * (1 - clamp), median * (1 + clamp))
    return float(np.dot(capped, weights) / total)


@dataclass(frozen=True, slots=True)
class SourceQuote:
    """
    The newest price of one source for one asset, in USD, with what is remembered about the source.

    Parameters
    ----------
    source : str
        Name of the source, unique within the asset ("kraken:BTC-USD").
    venue : str
        The venue behind it. Quorum counts venues: two symbols of one venue fail together.
    price : Decimal or None
        USD per unit; None when the quote currency has no usable mark.
    at : datetime
        Instant of the tick.
    stale_after_s : int
        Age from which this source no longer counts as live.
    weight : Decimal
        Weight in the index before renormalisation.
    conversion : Quality
        Quality of the mark that converted the quote into USD; GOOD for a USD quote.
    excluded : bool
        Whether the last composite excluded it (hysteresis).
    unmoved_beats : int
        Number of ticks in a row with the same raw price.
    moved_from : Decimal or None
        The asset's mark when the raw price last moved, None if there was none.
    """

    source: str
    venue: str
    price: Decimal | None
    at: datetime
    stale_after_s: int
    weight: Decimal
    conversion: Quality = Quality.GOOD
    excluded: bool = False
    unmoved_beats: int = 0
    moved_from: Decimal | None = None


@dataclass(frozen=True, slots=True)
class IndexPolicy:
    """
    The limits of one asset's index.

    Parameters
    ----------
    quorum : int
        Live venues that a GOOD mark needs (3; stablecoins 2).
    clamp : Decimal
        Ratio around the median (0.005 for majors, 0.015 for others).
    max_deviation : Decimal
        Ratio beyond which a source is excluded; it returns below half of it.
    spread_limit : Decimal
        Highest (max - min)/median over the sources used for a GOOD mark.
    frozen_beats, frozen_move_bps
        A source whose price stood still for so many composites while the median moved so far is not live.
    lower_bound, upper_bound : Decimal or None
        At or beyond these the asset is HALTED.
    """

    quorum: int = 3
    clamp: Decimal = Decimal("0.005")
    max_deviation: Decimal = Decimal("0.05")
    spread_limit: Decimal = Decimal("0.02")
    frozen_beats: int = 20
    frozen_move_bps: Decimal = Decimal(100)
    lower_bound: Decimal | None = None
    upper_bound: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SourceUse:
    """What a composite made of one source: how it was used, or why not, and what to remember."""

    source: str
    price: Decimal | None
    used: Decimal | None
    weight: Decimal
    reason: str
    excluded: bool

    @property
    def live(self) -> bool:
        """Return whether the source took part in the index."""
        return self.used is not None


@dataclass(frozen=True, slots=True)
class Composite:
    """One asset's index with its quality and the use that was made of every source."""

    price: Decimal | None
    quality: Quality
    reason: str
    median: Decimal | None
    spread: Decimal | None
    uses: tuple[SourceUse, ...]

    @property
    def excluded(self) -> tuple[str, ...]:
        """Return the names of the sources that deviated too far."""
        return tuple(use.source for use in self.uses if use.reason == "deviation")

    @property
    def clamped(self) -> tuple[str, ...]:
        """Return the names of the sources whose price was pulled in to the clamp."""
        return tuple(use.source for use in self.uses if use.used is not None and use.used != use.price)


def median_of(values: Sequence[Decimal]) -> Decimal:
    """Return the exact median; the mean of the two middle values when there is an even number."""
    if not values:
        raise UnableToIndex("no live source")
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    with money.exact():
        return (ordered[middle - 1] + ordered[middle]) * Decimal("0.5")


def composite(quotes: Sequence[SourceQuote], policy: IndexPolicy, *, now: datetime, halted: bool = False) -> Composite:
    """
    Return the published price of one asset from its sources, with quality, weights and exclusions.

    Pure fold step: the answer carries what the next step must be told about each source. The price is None when no
    source is live. Source: margin.md, section 1 (median, exclusion with hysteresis, clamp, quorum, spread, bounds).

    Parameters
    ----------
    quotes : sequence of SourceQuote
        Newest quote of each source, in any order.
    policy : IndexPolicy
        Limits of the asset.
    now : datetime
        Platform time; ages are judged against it.
    halted : bool
        Whether two persons have halted the asset.
    """
    ordered = sorted(quotes, key=lambda quote: quote.source)
    dead = {quote.source: reason for quote in ordered if (reason := _not_live(quote, policy, now=now))}
    live = [quote for quote in ordered if quote.source not in dead]
    excluded, median = _exclusions(live, policy)
    dead |= dict.fromkeys(excluded, "deviation")
    dead |= dict.fromkeys(_frozen([quote for quote in live if quote.source not in dead], median, policy), "frozen")
    used = [quote for quote in live if quote.source not in dead]
    if not used:
        uses = _uses(ordered, dead, {})
        return Composite(None, Quality.HALTED if halted else Quality.STALE, "no live source", None, None, uses)
    prices = _prices(used)
    median = median_of(prices)
    capped = _clamped(used, median, policy.clamp)
    price = _weighted(used, capped)
    spread = money.div_up(max(prices) - min(prices), median, PRICE_DECIMALS)
    quality, reason = _judge(used, price, spread, policy, halted=halted)
    return Composite(price, quality, reason, median, spread, _uses(ordered, dead, capped))


def _not_live(quote: SourceQuote, policy: IndexPolicy, *, now: datetime) -> str:
    """Return why a quote cannot be used before any comparison with the others; "" when it can."""
    if quote.price is None:
        return "unconverted"
    if now - quote.at > timedelta(seconds=quote.stale_after_s):
        return "stale"
    if quote.at > now:
        return "future"
    return ""


def _exclusions(live: Sequence[SourceQuote], policy: IndexPolicy) -> tuple[set[str], Decimal | None]:
    """
    Return the sources that are too far from the median of the others that count, and that median.

    One of two cannot be told apart from the other, and a market split in halves has no outlier: in both cases
    nobody new is excluded and the spread limit speaks instead. A source that was excluded stays out while it is the
    only one left: nobody is there to vouch for it.
    """
    trusted = [quote for quote in live if not quote.excluded]
    suspects = [quote for quote in live if quote.excluded]
    if not trusted:
        return {quote.source for quote in suspects}, None
    median = median_of(_prices(trusted))
    back = policy.max_deviation / 2
    gone = {quote.source for quote in suspects if _deviates(quote.price, median, back, or_equal=True)}
    fresh = {quote.source for quote in trusted if _deviates(quote.price, median, policy.max_deviation, or_equal=False)}
    if len(trusted) >= 3 and 2 * len(fresh) < len(trusted):
        gone |= fresh
    return gone, median


def _prices(quotes: Sequence[SourceQuote]) -> list[Decimal]:
    """Return the prices of quotes that have one."""
    return [quote.price for quote in quotes if quote.price is not None]


def _deviates(price: Decimal | None, median: Decimal, limit: Decimal, *, or_equal: bool) -> bool:
    """Return whether |price - median| is beyond limit x median, without dividing."""
    if price is None:
        return False
    with money.exact():
        distance, allowed = abs(price - median), limit * median
    return distance >= allowed if or_equal else distance > allowed


def _frozen(live: Sequence[SourceQuote], median: Decimal | None, policy: IndexPolicy) -> set[str]:
    """Return the sources that beat on with an old price while the median went away."""
    if median is None:
        return set()
    allowed = policy.frozen_move_bps / BPS
    return {
        quote.source
        for quote in live
        if quote.unmoved_beats >= policy.frozen_beats
        and quote.moved_from is not None
        and _deviates(median, quote.moved_from, allowed, or_equal=True)
    }


def _clamped(used: Sequence[SourceQuote], median: Decimal, clamp: Decimal) -> dict[str, Decimal]:
    """Return each used price pulled in to median x (1 ± clamp)."""
    with money.exact():
        low, high = median * (1 - clamp), median * (1 + clamp)
    return {quote.source: min(max(quote.price, low), high) for quote in used if quote.price is not None}


def _weighted(used: Sequence[SourceQuote], capped: dict[str, Decimal]) -> Decimal:
    """Return the weighted mean of the capped prices, cut off after PRICE_DECIMALS."""
    with money.exact():
        total = sum((quote.weight for quote in used), Decimal(0))
        value = sum((quote.weight * capped[quote.source] for quote in used), Decimal(0))
    if total <= 0:
        raise UnableToIndex("all weights are zero")
    return money.div_down(value, total, PRICE_DECIMALS)


def _judge(
    used: Sequence[SourceQuote], price: Decimal, spread: Decimal, policy: IndexPolicy, *, halted: bool
) -> tuple[Quality, str]:
    """Return the quality of a computed price and, unless it is GOOD, the reason."""
    if halted:
        return Quality.HALTED, "halted"
    if policy.lower_bound is not None and price <= policy.lower_bound:
        return Quality.HALTED, "below bounds"
    if policy.upper_bound is not None and price >= policy.upper_bound:
        return Quality.HALTED, "above bounds"
    sound = {quote.venue for quote in used if quote.conversion is Quality.GOOD}
    if len(sound) < policy.quorum:
        everyone = {quote.venue for quote in used}
        reason = "quorum" if len(everyone) < policy.quorum else "conversion"
        return Quality.DEGRADED, reason
    if spread > policy.spread_limit:
        return Quality.DEGRADED, "spread"
    return Quality.GOOD, ""


def _uses(quotes: Sequence[SourceQuote], dead: dict[str, str], capped: dict[str, Decimal]) -> tuple[SourceUse, ...]:
    """Return what became of every source, in order of its name."""
    uses = []
    for quote in quotes:
        reason = dead.get(quote.source, "")
        # A source that is not heard keeps its standing: silence is no proof of honesty.
        unheard = reason in ("stale", "unconverted", "future")
        excluded = quote.excluded if unheard else reason == "deviation"
        used = capped.get(quote.source)
        uses.append(SourceUse(quote.source, quote.price, used, quote.weight, reason, excluded))
    return tuple(uses)

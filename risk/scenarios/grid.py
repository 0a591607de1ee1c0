"""What every scenario is in the end: prices of feeds on a grid of platform time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from risk.engine.ticks import SourceTick

STEP_S = 15
STEP = timedelta(seconds=STEP_S)
STEPS_PER_MINUTE = 60 // STEP_S
FloatArray = NDArray[np.float64]


class UnableToLoad(ValueError):
    """A scenario or a recording is missing or does not say what it should."""


@dataclass(frozen=True, slots=True)
class FeedSpec:
    """One pair at one source, as it is to be set up before its ticks arrive."""

    source: str
    source_name: str
    synthetic: bool
    base: str
    quote: str
    weight: Decimal
    stale_after_s: int
    decimals: int

    @property
    def pair(self) -> str:
        """Return the pair as BASE-QUOTE."""
        return f"{self.base}-{self.quote}"


@dataclass(frozen=True, slots=True)
class Patch:
    """
    A change to a scenario in [start_at, end_at), for proofs.

    Feeds are those of `source` (every source if None) and of `base` (every asset if None). Without a price they fall
    silent; with one they print it, in units of their quote.
    """

    start_at: datetime
    end_at: datetime
    source: str | None = None
    base: str | None = None
    quote: str | None = None
    price: Decimal | None = None

    def concerns(self, feed: FeedSpec) -> bool:
        """Return whether a feed is changed."""
        return (
            self.source in (None, feed.source) and self.base in (None, feed.base) and self.quote in (None, feed.quote)
        )


@dataclass(frozen=True)
class Scenario:
    """
    Prices of F feeds at T steps of 15 s, and the true mid of each asset in USD.

    `price` is (F, T) in units of each feed's quote, NaN where the feed has no tick; `mids` maps an asset to (T,) USD.
    """

    name: str
    seed: int
    start_at: datetime
    feeds: tuple[FeedSpec, ...]
    price: FloatArray
    mids: Mapping[str, FloatArray]
    step_s: int = STEP_S

    @property
    def steps(self) -> int:
        """Return T."""
        return int(self.price.shape[1])

    @property
    def end_at(self) -> datetime:
        """Return the instant of the last step."""
        return self.start_at + (self.steps - 1) * STEP

    @property
    def assets(self) -> tuple[str, ...]:
        """Return the assets with a price, in order."""
        return tuple(sorted(self.mids))

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the codes of the venues, in order."""
        return tuple(sorted({feed.source for feed in self.feeds}))

    def rounds(self) -> Iterator[datetime]:
        """Yield the instant of every step."""
        for step in range(self.steps):
            yield self.start_at + step * STEP

    def round_at(self, at: datetime) -> datetime:
        """Return the newest step that is not after an instant, within the scenario."""
        return self.start_at + self._step(at) * STEP

    def ticks(self, at: datetime, *, stamped: datetime | None = None) -> list[SourceTick]:
        """Return the ticks of the step that an instant falls in, stamped with the step or with another instant."""
        step = self._step(at)
        return self._ticks(self.price[:, step], stamped or self.start_at + step * STEP)

    def first_ticks(self, *, stamped: datetime) -> list[SourceTick]:
        """Return the first tick of every feed, whenever it comes, stamped with an instant."""
        return self._ticks(self.price[np.arange(len(self.feeds)), np.argmin(np.isnan(self.price), axis=1)], stamped)

    def _ticks(self, column: FloatArray, at: datetime) -> list[SourceTick]:
        return [
            SourceTick(feed.source, feed.base, feed.quote, rounded(float(value), feed.decimals), at)
            for feed, value in zip(self.feeds, column, strict=True)
            if value == value  # NaN is silence
        ]

    def mid(self, asset: str, at: datetime) -> Decimal:
        """Return the USD mid of an asset at an instant, the nearest step's beyond the ends; 1 for USD."""
        if asset == "USD":
            return Decimal(1)
        if asset not in self.mids:
            raise UnableToLoad(f"scenario {self.name} has no price of {asset}")
        return rounded(float(self.mids[asset][self._step(at)]), 8)

    def between(self, start_at: datetime, end_at: datetime) -> "Scenario":
        """Return the part of the scenario from one instant to another, both kept inside it."""
        first, last = self._step(start_at), self._step(end_at)
        if last < first or start_at > self.end_at or end_at < self.start_at:
            raise UnableToLoad(f"{start_at} to {end_at} is outside of {self.start_at} to {self.end_at}")
        return replace(
            self,
            start_at=self.start_at + first * STEP,
            price=self.price[:, first : last + 1],
            mids={asset: mid[first : last + 1] for asset, mid in self.mids.items()},
        )

    def patched(self, patches: Sequence[Patch]) -> "Scenario":
        """Return the scenario with feeds silenced or made to print a price; mids stay what they were."""
        price = self.price.copy()
        for patch in patches:
            first = max(-((self.start_at - patch.start_at) // STEP), 0)
            stop = max(-((self.start_at - patch.end_at) // STEP), 0)
            rows = [row for row, feed in enumerate(self.feeds) if patch.concerns(feed)]
            price[rows, first:stop] = np.nan if patch.price is None else float(patch.price)
        return replace(self, price=price)

    def cut(self, start_at: datetime, end_at: datetime, *, source: str | None = None) -> "Scenario":
        """Return the scenario without the ticks of a venue, or of all, in [start_at, end_at)."""
        return self.patched([Patch(start_at, end_at, source=source)])

    def _step(self, at: datetime) -> int:
        """Return the index of the step that an instant falls in, within the scenario."""
        if at.tzinfo is None:
            raise UnableToLoad(f"{at} has no time zone")
        return min(max((at - self.start_at) // STEP, 0), self.steps - 1)


def rounded(value: float, decimals: int) -> Decimal:
    """Return a float as a Decimal with a number of decimal places."""
    return Decimal(f"{value:.{decimals}f}")


def generator(seed: int, *labels: str) -> np.random.Generator:
    """Return a random generator that depends on the seed and some labels only."""
    words = [int.from_bytes(label.encode(), "big") for label in labels]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))


def utc(text: str) -> datetime:
    """Return the instant of an ISO 8601 text, UTC where it names no zone."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)

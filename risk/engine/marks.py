"""Published marks as the rest of risk reads them: immutable, with what an unusable mark still says."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from risk.engine.ltv import Band, unusable_band
from risk.engine.quality import Continuity, OutagePolicy, Quality

USD = "USD"
OUTAGE = OutagePolicy()
# A published mark is judged again when it is read: nobody may lean on it for longer than an asset may do without one.
MARK_LIMIT = OUTAGE.gap


@dataclass(frozen=True, slots=True)
class AssetMark:
    """One asset's mark at an instant: price, quality, where it came from and what its outages were."""

    asset: str
    price: Decimal | None
    quality: Quality
    as_of: datetime
    band: Decimal
    last_good_price: Decimal | None
    last_good_at: datetime | None
    good_streak: int
    outage_since: datetime | None
    grace_until: datetime | None
    spread: Decimal | None
    sources: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the mark as plain text values."""
        return {
            "price": plain(self.price),
            "quality": self.quality.value,
            "as_of": self.as_of.isoformat(),
            "last_good_price": plain(self.last_good_price),
            "last_good_at": self.last_good_at.isoformat() if self.last_good_at else None,
            "band": plain(self.band),
            "spread": plain(self.spread),
            "sources": dict(self.sources),
        }

    @property
    def continuity(self) -> Continuity:
        """Return the outage bookkeeping."""
        return Continuity(self.last_good_at, self.good_streak, self.outage_since, self.grace_until)


@dataclass(frozen=True, slots=True)
class Marks:
    """All marks at one instant. USD is 1 and GOOD; an asset that was never priced is STALE."""

    as_of: datetime
    of: Mapping[str, AssetMark]

    def price(self, asset: str) -> Decimal | None:
        """Return the USD price of an asset while its mark is usable, else None."""
        if asset == USD:
            return Decimal(1)
        mark = self.of.get(asset)
        return mark.price if mark is not None and mark.quality.usable else None

    def quality(self, asset: str) -> Quality:
        """Return the quality of an asset's mark."""
        if asset == USD:
            return Quality.GOOD
        mark = self.of.get(asset)
        return Quality.STALE if mark is None else mark.quality

    def last_good(self, asset: str) -> Decimal | None:
        """Return the last GOOD price of an asset, None if it never had one."""
        if asset == USD:
            return Decimal(1)
        mark = self.of.get(asset)
        return None if mark is None else mark.last_good_price

    def band(self, asset: str) -> Band:
        """Return the interval in which an asset's price lies: the mark while usable, else 0 to beyond the last GOOD."""
        price = self.price(asset)
        if price is not None:
            return Band(price, price)
        mark = self.of.get(asset)
        return unusable_band(None, Decimal(0)) if mark is None else unusable_band(mark.last_good_price, mark.band)

    def in_grace(self, asset: str) -> bool:
        """Return whether automatic sales of an asset must wait: an outage, or the grace period after one."""
        if asset == USD:
            return False
        mark = self.of.get(asset)
        if mark is None or mark.continuity.waiting:
            return True
        return mark.last_good_at is not None and self.as_of - mark.last_good_at > OUTAGE.gap

    @property
    def sources(self) -> Mapping[str, Mapping[str, Any]]:
        """Return per asset what was made of each of its sources."""
        return {asset: mark.sources for asset, mark in self.of.items()}

    def as_json(self) -> dict[str, Any]:
        """Return what a snapshot keeps: every price with quality, sources, weights and exclusions, as text."""
        return {asset: mark.as_json() for asset, mark in sorted(self.of.items())}

    def judged(self, *, now: datetime) -> Marks:
        """
        Return the marks as they may be used at a later instant: what is older than MARK_LIMIT is STALE by then.

        Outages are measured to `now` too. The answer is as of `now` if anything changed, so that it never passes for
        what was published.
        """
        stale = {
            asset: replace(mark, quality=Quality.STALE, good_streak=0)
            for asset, mark in self.of.items()
            if mark.quality.usable and now - mark.as_of > MARK_LIMIT
        }
        later = Marks(now, {**self.of, **stale})
        same = not stale and all(self.in_grace(asset) == later.in_grace(asset) for asset in self.of)
        return self if same else later


def conversion_order(quoted_in: Mapping[str, Set[str]]) -> list[str]:
    """
    Return the assets so that a quote currency is priced before what is quoted in it.

    Two coins that are quoted in each other stand in order of their names: the first of them does without that quote.
    """
    needs = {base: {quote for quote in quotes if quote in quoted_in} - {base} for base, quotes in quoted_in.items()}
    order: list[str] = []
    while needs:
        ready = sorted(base for base, quotes in needs.items() if not quotes - set(order))
        chosen = ready or sorted(needs)[:1]
        order += chosen
        for base in chosen:
            del needs[base]
    return order


def plain(value: Decimal | None) -> str | None:
    """Return a Decimal as text without an exponent and without idle zeros."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

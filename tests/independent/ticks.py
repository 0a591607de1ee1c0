"""Prices as a sceptic would work them out: medians of raw ticks, in plain Decimals, without a line of engine code."""

from bisect import bisect_right
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

_FEEDS = """
SELECT f.id, b.code, q.code, f.stale_after_s
FROM risk_pricefeed f
JOIN lending_pair p ON p.id = f.pair_id
JOIN lending_asset b ON b.id = p.base_id
JOIN lending_asset q ON q.id = p.quote_id
"""
_TICKS = "SELECT feed_id, received_at, price FROM risk_tick ORDER BY feed_id, received_at, id"
_QUORUM = "SELECT a.code, p.quorum FROM risk_assetpolicy p JOIN lending_asset a ON a.id = p.asset_id"

OUTAGE = timedelta(seconds=60)
GRACE = timedelta(minutes=10)


class RawPrices:
    """Median prices in USD by asset and instant, with the number of live sources behind them."""

    def __init__(self, cursor: Any) -> None:
        cursor.execute(_FEEDS)
        self._feeds: dict[str, list[tuple[int, str, timedelta]]] = defaultdict(list)
        for feed, base, quote, stale in cursor.fetchall():
            self._feeds[base].append((feed, quote, timedelta(seconds=stale)))
        self._at: dict[int, list[datetime]] = defaultdict(list)
        self._price: dict[int, list[Decimal]] = defaultdict(list)
        cursor.execute(_TICKS)
        for feed, at, price in cursor.fetchall():
            self._at[feed].append(at)
            self._price[feed].append(price)
        cursor.execute(_QUORUM)
        self._quorum = dict(cursor.fetchall())
        self._known: dict[tuple[str, datetime], tuple[Decimal | None, int]] = {}

    def rounds(self) -> list[datetime]:
        """Return every instant at which a tick was received, in order."""
        return sorted({at for instants in self._at.values() for at in instants})

    def price(self, asset: str, at: datetime) -> Decimal | None:
        """Return the median of the live sources, or None without a quorum of them."""
        price, sources = self._median(asset, at)
        return price if sources >= self._quorum.get(asset, 1) else None

    def bare(self, asset: str, at: datetime) -> Decimal | None:
        """Return the median of whatever sources are live, be it one; None without any."""
        return self._median(asset, at)[0]

    def _median(self, asset: str, at: datetime) -> tuple[Decimal | None, int]:
        if asset == "USD":
            return Decimal(1), 99
        if (asset, at) not in self._known:
            found = []
            for feed, quote, stale in self._feeds[asset]:
                place = bisect_right(self._at[feed], at) - 1
                if place < 0 or at - self._at[feed][place] > stale:
                    continue
                # Two stablecoins may be quoted in each other; only a USD quote of the coin itself breaks the circle.
                in_usd = Decimal(1) if quote == "USD" else self._against_usd(quote, at)
                if in_usd is not None:
                    found.append(self._price[feed][place] * in_usd)
            self._known[asset, at] = (median(found) if found else None, len(found))
        return self._known[asset, at]

    def _against_usd(self, asset: str, at: datetime) -> Decimal | None:
        found = []
        for feed, quote, stale in self._feeds[asset]:
            place = bisect_right(self._at[feed], at) - 1
            if quote == "USD" and place >= 0 and at - self._at[feed][place] <= stale:
                found.append(self._price[feed][place])
        return median(found) if found else None

    def graces(self, asset: str) -> list[tuple[datetime, datetime]]:
        """Return the spans after an outage of more than a minute in which nothing may be sold."""
        spans, last_good, dark = [], None, False
        for at in self.rounds():
            if self.price(asset, at) is None:
                dark = True
                continue
            if last_good is not None and at - last_good > OUTAGE and (dark or at - last_good > OUTAGE):
                spans.append((at, at + GRACE))
            last_good, dark = at, False
        return spans

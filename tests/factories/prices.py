"""Markets for tests: everything that must stand before ticks of a scenario can be recorded and marks published."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from lending.models import Pair
from risk.engine.ticks import SourceTick
from risk.models import AssetPolicy, PriceFeed, Source
from risk.scenarios import FeedSpec, Scenario
from tests.factories.lending import AssetFactory

AT = datetime(2021, 5, 19, 12, 0, tzinfo=UTC)
STABLECOINS = ("USDC", "USDT")


def policy(code: str, **more) -> AssetPolicy:
    """Return an asset's price policy; a second call changes nothing."""
    facts = {
        "quorum": 2 if code in STABLECOINS else 3,
        "clamp": Decimal("0.015") if code == "LINK" else Decimal("0.005"),
        "band": Decimal("0.10"),
        "daily_volume_usd": Decimal(1_000_000_000),
        "daily_volatility": Decimal("0.05"),
        "lot": Decimal("0.0001"),
        "clip_usd": Decimal(1_000_000),
        "throttle_usd_per_minute": Decimal(10_000_000),
    } | more
    return AssetPolicy.objects.get_or_create(asset=AssetFactory(code=code), defaults=facts)[0]


def feed(source: str, base: str, quote: str, *, stale_after_s: int = 60, weight: Decimal = Decimal(1)) -> PriceFeed:
    """Return one feed with its source, pair and policy."""
    policy(base)
    pair, _ = Pair.objects.get_or_create(base=AssetFactory(code=base), quote=AssetFactory(code=quote))
    venue, _ = Source.objects.get_or_create(code=source, defaults={"name": source.title()})
    known, _ = PriceFeed.objects.get_or_create(
        source=venue, pair=pair, defaults={"weight": weight, "stale_after_s": stale_after_s}
    )
    return known


def market(scenario: Scenario) -> list[PriceFeed]:
    """Return every feed of a scenario."""
    return [_feed_of(spec) for spec in scenario.feeds]


def _feed_of(spec: FeedSpec) -> PriceFeed:
    known = feed(spec.source, spec.base, spec.quote, stale_after_s=spec.stale_after_s, weight=spec.weight)
    Source.objects.filter(code=spec.source).update(synthetic=spec.synthetic, name=spec.source_name)
    return known


def ticks(prices: Iterable[tuple[str, str, str]], *, at: datetime) -> list[SourceTick]:
    """Return ticks from (source, pair, price) triples, all of one instant."""
    return [SourceTick(source, *pair.split("-"), Decimal(price), at) for source, pair, price in prices]

"""From raw ticks to published marks: record what venues say, publish one price per asset, keep it for evidence."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from lending.engine import money
from lending.models import Asset
from risk.engine.index import Composite, IndexPolicy, SourceQuote, composite
from risk.engine.marks import OUTAGE, USD, AssetMark, Marks, conversion_order, plain
from risk.engine.quality import Continuity, Quality
from risk.engine.ticks import SourceTick
from risk.models import AssetOutage, AssetPolicy, Mark, MarkMinute, PriceSnapshot
from risk.ticks import FeedRow, RecordReport, feeds_at, newest_tick_at, note_exclusions, record, rejected_on

__all__ = [
    "AssetMark",
    "Market",
    "Marks",
    "RecordReport",
    "SourceTick",
    "current",
    "market",
    "newest_tick_at",
    "publish",
    "record",
    "rejected_on",
    "snapshot",
]

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def publish(*, now: datetime) -> Marks:
    """
    Publish the marks of all assets from the newest ticks, in one transaction and a constant number of statements.

    A stablecoin quote converts through that coin's own mark. A round that is not newer than the last one published
    changes nothing and returns what stands.
    """
    with transaction.atomic():
        before = {row.asset.code: row for row in _mark_rows().select_for_update(of=("self",)).order_by("asset_id")}
        if before and max(row.as_of for row in before.values()) >= now:
            return _marks(before.values())
        by_base: dict[str, list[FeedRow]] = {}
        for feed in feeds_at(now):
            by_base.setdefault(feed.base, []).append(feed)
        policies = {policy.asset.code: policy for policy in AssetPolicy.objects.select_related("asset")}
        marks: dict[str, AssetMark] = {}
        for asset in conversion_order(_quoted_in(by_base)):
            if asset in policies:
                quotes = [_source_quote(feed, marks) for feed in by_base[asset]]
                halted = policies[asset].halted_at is not None
                found = composite(quotes, _index_policy(policies[asset]), now=now, halted=halted)
                marks[asset] = _next_mark(policies[asset], found, by_base[asset], before.get(asset), now=now)
                note_exclusions(by_base[asset], {use.source: use.excluded for use in found.uses}, now=now)
        _write_marks(marks, policies)
        _write_minutes(marks, before, policies, now=now)
        _write_outages(marks, before, policies)
    return Marks(now, marks)


def _mark_rows() -> QuerySet[Mark]:
    """Return the rows of published marks with all that they need to be read."""
    return Mark.objects.select_related("asset", "asset__policy")


def _quoted_in(by_base: Mapping[str, Sequence[FeedRow]]) -> dict[str, set[str]]:
    """Return in which currencies each asset is quoted."""
    return {base: {feed.quote for feed in feeds} for base, feeds in by_base.items()}


def _source_quote(feed: FeedRow, marks: Mapping[str, AssetMark]) -> SourceQuote:
    """Return a feed's newest tick in USD, converted by the mark of its quote currency."""
    rate, quality = (Decimal(1), Quality.GOOD) if feed.quote == USD else _rate(marks.get(feed.quote))
    price = None
    if feed.last_price is not None and rate is not None:
        with money.exact():
            price = feed.last_price * rate
    return SourceQuote(
        source=feed.name,
        venue=feed.source,
        price=price,
        at=feed.last_at or _NEVER,
        stale_after_s=feed.stale_after_s,
        weight=feed.weight,
        conversion=quality,
        excluded=feed.excluded_since is not None,
        unmoved_beats=feed.unchanged_count,
        moved_from=feed.moved_from,
    )


def _rate(mark: AssetMark | None) -> tuple[Decimal | None, Quality]:
    """Return the USD rate of a quote currency and its quality; no rate while its mark is not usable."""
    if mark is None:
        return None, Quality.STALE
    return (mark.price if mark.quality.usable else None), mark.quality


def _index_policy(policy: AssetPolicy) -> IndexPolicy:
    """Return the limits of an asset's index as the engine reads them."""
    return IndexPolicy(
        quorum=policy.quorum,
        clamp=policy.clamp,
        max_deviation=policy.max_deviation,
        spread_limit=policy.max_spread,
        lower_bound=policy.lower_bound,
        upper_bound=policy.upper_bound,
    )


def _next_mark(
    policy: AssetPolicy, found: Composite, feeds: Sequence[FeedRow], before: Mark | None, *, now: datetime
) -> AssetMark:
    """Return the mark that follows the last one, with its outage bookkeeping."""
    last = _continuity(before).after(found.quality, at=now, policy=OUTAGE)
    good = found.quality is Quality.GOOD
    return AssetMark(
        asset=policy.asset.code,
        price=found.price,
        quality=found.quality,
        as_of=now,
        band=policy.band,
        last_good_price=found.price if good else (before.last_good_price if before else None),
        last_good_at=last.last_good_at,
        good_streak=last.good_streak,
        outage_since=last.outage_since,
        grace_until=last.grace_until,
        spread=found.spread,
        sources=_sources(found, {feed.name: feed for feed in feeds}),
    )


def _continuity(row: Mark | None) -> Continuity:
    """Return the outage bookkeeping of a published mark."""
    if row is None:
        return Continuity()
    return Continuity(row.last_good_at, row.good_streak, row.outage_since, row.grace_until)


def _sources(found: Composite, feeds: Mapping[str, FeedRow]) -> dict[str, Any]:
    """Return what became of every source, as it is stored with the mark: the quote, its price in USD, its use."""
    return {
        use.source: {
            "quote": plain(feeds[use.source].last_price),
            "price": plain(use.price),
            "used": plain(use.used),
            "weight": plain(use.weight),
            "reason": use.reason or ("clamped" if use.used != use.price else ""),
            "at": at.isoformat() if (at := feeds[use.source].last_at) else None,
            "synthetic": feeds[use.source].synthetic,
        }
        for use in found.uses
    }


_MARK_FIELDS = (
    "price",
    "quality",
    "as_of",
    "sources",
    "spread",
    "last_good_price",
    "last_good_at",
    "good_streak",
    "outage_since",
    "grace_until",
)


_UPSERT_MARKS = """
    INSERT INTO risk_mark (asset_id, price, quality, as_of, sources, spread, last_good_price, last_good_at,
                           good_streak, outage_since, grace_until)
    SELECT *
      FROM unnest(%s::bigint[], %s::numeric[], %s::text[], %s::timestamptz[], %s::jsonb[], %s::numeric[],
                  %s::numeric[], %s::timestamptz[], %s::integer[], %s::timestamptz[], %s::timestamptz[])
     ORDER BY 1
    ON CONFLICT (asset_id) DO UPDATE
       SET (price, quality, as_of, sources, spread, last_good_price, last_good_at, good_streak, outage_since,
            grace_until)
         = (excluded.price, excluded.quality, excluded.as_of, excluded.sources, excluded.spread,
            excluded.last_good_price, excluded.last_good_at, excluded.good_streak, excluded.outage_since,
            excluded.grace_until)
"""


def _write_marks(marks: Mapping[str, AssetMark], policies: Mapping[str, AssetPolicy]) -> None:
    """Write one row per asset in one statement."""
    written = list(marks.values())
    columns: list[list[Any]] = [[policies[mark.asset].asset_id for mark in written]]
    columns += [[getattr(mark, name) for mark in written] for name in _MARK_FIELDS]
    columns[1 + _MARK_FIELDS.index("sources")] = [json.dumps(mark.sources) for mark in written]
    columns[1 + _MARK_FIELDS.index("quality")] = [mark.quality.value for mark in written]
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT_MARKS, columns)


def _write_minutes(
    marks: Mapping[str, AssetMark], before: Mapping[str, Mark], policies: Mapping[str, AssetPolicy], *, now: datetime
) -> None:
    """Keep the marks of the first round of every minute; an asset without a price keeps its last GOOD one."""
    minute = now.replace(second=0, microsecond=0)
    if any(row.as_of >= minute for row in before.values()):
        return
    rows = [
        MarkMinute(asset=policies[asset].asset, at=minute, price=price, quality=mark.quality)
        for asset, mark in sorted(marks.items())
        if (price := mark.price if mark.price is not None else mark.last_good_price) is not None
    ]
    MarkMinute.objects.bulk_create(rows, ignore_conflicts=True)


def _write_outages(
    marks: Mapping[str, AssetMark], before: Mapping[str, Mark], policies: Mapping[str, AssetPolicy]
) -> None:
    """Open a row for every outage that began and close those that ended, also one that passed between two rounds."""
    for asset, mark in marks.items():
        was = before.get(asset)
        began = mark.outage_since if mark.outage_since and not (was and was.outage_since) else None
        ended = mark.as_of if mark.outage_since is None and was and was.outage_since else None
        if began:
            AssetOutage.objects.create(asset=policies[asset].asset, start_at=began)
        elif ended:
            AssetOutage.objects.filter(asset=policies[asset].asset, end_at=None).update(end_at=ended)
        elif was and was.last_good_at and mark.good_streak == 1 and mark.as_of - was.last_good_at > OUTAGE.gap:
            AssetOutage.objects.create(asset=policies[asset].asset, start_at=was.last_good_at, end_at=mark.as_of)


def current(*, now: datetime) -> Marks:
    """Return the published marks as they may be used now: one that nobody has renewed in time is STALE."""
    return _marks(_mark_rows()).judged(now=now)


@dataclass(frozen=True, slots=True)
class Market:
    """Every asset in order of its key, and the published marks, as they may be used at one instant."""

    assets: tuple[Asset, ...]
    marks: Marks

    @property
    def rows(self) -> list[Mark]:
        """Return the rows of the published marks in order of their assets' names, with the quality of now."""
        found = [asset.mark for asset in sorted(self.assets, key=lambda asset: asset.code) if hasattr(asset, "mark")]
        for row in found:
            row.quality = self.marks.quality(row.asset.code)
        return found

    def volatility(self, asset: Asset) -> Decimal:
        """Return the daily volatility of an asset as a fraction; what has no policy, such as USD, does not move."""
        return asset.policy.daily_volatility if hasattr(asset, "policy") else Decimal(0)


def market(*, now: datetime) -> Market:
    """Return all assets with the marks of now, in one query."""
    assets = tuple(Asset.objects.select_related("mark", "policy").order_by("pk"))
    return Market(assets, _marks(asset.mark for asset in assets if hasattr(asset, "mark")).judged(now=now))


def _marks(rows: Iterable[Mark]) -> Marks:
    """Return published rows as marks."""
    marks = {row.asset.code: _asset_mark(row) for row in rows}
    return Marks(max((mark.as_of for mark in marks.values()), default=_NEVER), marks)


def _asset_mark(row: Mark) -> AssetMark:
    """Return a published row as a mark."""
    policy = getattr(row.asset, "policy", None)
    return AssetMark(
        asset=row.asset.code,
        band=policy.band if policy else Decimal(1),
        **{name: getattr(row, name) for name in _MARK_FIELDS if name != "quality"},
        quality=Quality(row.quality),
    )


def snapshot(marks: Marks, *, now: datetime) -> PriceSnapshot:
    """Return the immutable record of some marks that a decision names as its evidence; one per instant."""
    known = PriceSnapshot.objects.filter(as_of=marks.as_of)
    kept = known.first()
    if kept is None:
        # Whoever comes second writes nothing, and reads what the first one wrote.
        PriceSnapshot.objects.bulk_create(
            [PriceSnapshot(as_of=marks.as_of, marks=marks.as_json())], ignore_conflicts=True
        )
        kept = known.get()
    return kept

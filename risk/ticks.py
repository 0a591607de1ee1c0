"""What the sources say: every tick kept as received, the newest per feed, and a count of what was refused."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Max

from risk.engine.ticks import SourceTick, refusal
from risk.models import PriceFeed, RejectedTicks, Tick


@dataclass(frozen=True, slots=True)
class RecordReport:
    """How many ticks were recorded, and how many refused by reason."""

    accepted: int
    rejected: Mapping[str, int]


class FeedRow(NamedTuple):
    """One feed with its newest tick, as the pricing path reads it many times a second."""

    pk: int
    source: str
    synthetic: bool
    base: str
    quote: str
    weight: Decimal
    stale_after_s: int
    last_price: Decimal | None
    last_at: datetime | None
    unchanged_count: int
    moved_from: Decimal | None
    excluded_since: datetime | None

    @property
    def pair(self) -> str:
        """Return the pair as BASE-QUOTE."""
        return f"{self.base}-{self.quote}"

    @property
    def name(self) -> str:
        """Return the feed's name within its asset."""
        return f"{self.source}:{self.base}-{self.quote}"


_FEEDS = """
    SELECT feed.id, source.code, source.synthetic, base.code, quote.code, feed.weight, feed.stale_after_s,
           feed.last_price, feed.last_at, feed.unchanged_count, feed.moved_from, feed.excluded_since
      FROM risk_pricefeed AS feed
      JOIN risk_source AS source ON source.id = feed.source_id AND source.enabled
      JOIN lending_pair AS pair ON pair.id = feed.pair_id
      JOIN lending_asset AS base ON base.id = pair.base_id
      JOIN lending_asset AS quote ON quote.id = pair.quote_id
     ORDER BY feed.id
"""
_FEEDS_LOCKED = _FEEDS + " FOR UPDATE OF feed"


def _rows(statement: str) -> list[FeedRow]:
    """Return the feeds of enabled sources in order of their keys."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [FeedRow(*row) for row in cursor.fetchall()]


def feeds_at(now: datetime) -> list[FeedRow]:
    """
    Return the feeds with their newest tick up to an instant.

    A marking worker that is a round late must not see the ticks of the next one: for feeds that have gone on, the
    ticks as received say what stood then.
    """
    feeds = _rows(_FEEDS)
    ahead = [feed.pk for feed in feeds if feed.last_at is not None and feed.last_at > now]
    if not ahead:
        return feeds
    known = Tick.objects.filter(feed__in=ahead, at__lte=now).order_by("feed", "-at").distinct("feed")
    stood = {feed_id: (price, at) for feed_id, price, at in known.values_list("feed", "price", "at")}
    return [
        feed._replace(last_price=stood.get(feed.pk, (None, None))[0], last_at=stood.get(feed.pk, (None, None))[1])
        if feed.pk in ahead
        else feed
        for feed in feeds
    ]


def newest_tick_at() -> datetime | None:
    """Return the time of the newest recorded tick of any feed: where a price feed that was killed goes on."""
    newest: datetime | None = PriceFeed.objects.aggregate(newest=Max("last_at"))["newest"]
    return newest


def record(ticks: Iterable[SourceTick], *, received_at: datetime) -> RecordReport:
    """
    Record what the sources say: keep every tick as received, and per feed the newest one.

    A tick that cannot be a price (NaN, infinite, zero, negative, absurd), that claims the future, that is not newer
    than its feed's last, or that comes from a feed nobody knows is refused and counted by reason. Nothing raises.
    """
    accepted: list[tuple[int, SourceTick]] = []
    changed: dict[int, FeedRow] = {}
    moved: set[int] = set()
    refused: Counter[tuple[str, str, str]] = Counter()
    with transaction.atomic():
        feeds = {(feed.source, feed.pair): feed for feed in _rows(_FEEDS_LOCKED)}
        for tick in ticks:
            feed = feeds.get((tick.source, tick.pair))
            reason = _refusal(tick, feed, received_at=received_at)
            if reason or feed is None:
                refused[tick.source[:30], tick.pair[:30], reason] += 1
                continue
            unchanged = feed.unchanged_count + 1 if feed.last_price == tick.price else 0
            if unchanged == 0:
                moved.add(feed.pk)
            feed = feed._replace(last_price=tick.price, last_at=tick.at, unchanged_count=unchanged)
            feeds[feed.source, feed.pair] = changed[feed.pk] = feed
            accepted.append((feed.pk, tick))
        _keep(accepted, list(changed.values()), moved, received_at=received_at)
        count_refused(refused, received_at=received_at)
    reasons: Counter[str] = Counter()
    for (_source, _pair, reason), count in refused.items():
        reasons[reason] += count
    return RecordReport(len(accepted), dict(reasons))


def _refusal(tick: SourceTick, feed: FeedRow | None, *, received_at: datetime) -> str:
    """Return why a tick may not be recorded, "" if it may."""
    if feed is None:
        return "unknown_feed"
    return refusal(tick, received_at=received_at, last_at=feed.last_at, last_price=feed.last_price) or ""


# A price that stands still is measured against the first mark that was published with it: a source that led, or went
# along with, the market's last move is not frozen for having been right.
_KEEP = """
    WITH kept AS (
        INSERT INTO risk_tick (feed_id, price, at, received_at)
        SELECT feed_id, price, at, %s
          FROM unnest(%s::bigint[], %s::numeric[], %s::timestamptz[]) AS heard (feed_id, price, at)
    )
    UPDATE risk_pricefeed AS feed
       SET last_price = new.price, last_at = new.at, last_received_at = %s, unchanged_count = new.unchanged,
           moved_from = CASE WHEN NOT new.moved
                             THEN coalesce(feed.moved_from, CASE WHEN mark.as_of >= old.last_at THEN mark.price END) END
      FROM unnest(%s::bigint[], %s::numeric[], %s::timestamptz[], %s::integer[], %s::boolean[])
           AS new (id, price, at, unchanged, moved)
      JOIN risk_pricefeed AS old ON old.id = new.id
      JOIN lending_pair AS pair ON pair.id = old.pair_id
      LEFT JOIN risk_mark AS mark ON mark.asset_id = pair.base_id
     WHERE feed.id = new.id
"""


def _keep(
    accepted: Sequence[tuple[int, SourceTick]], newest: Sequence[FeedRow], moved: Set[int], *, received_at: datetime
) -> None:
    """Write all accepted ticks, and the newest one of every feed and whether it moved, in one statement."""
    if not accepted:
        return
    heard: list[list[Any]] = [
        [pk for pk, _tick in accepted],
        [tick.price for _pk, tick in accepted],
        [tick.at for _pk, tick in accepted],
    ]
    columns: list[list[Any]] = [
        [feed.pk for feed in newest],
        [feed.last_price for feed in newest],
        [feed.last_at for feed in newest],
        [feed.unchanged_count for feed in newest],
        [feed.pk in moved for feed in newest],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, [received_at, *heard, received_at, *columns])


_COUNT_REFUSED = """
    INSERT INTO risk_rejectedticks AS known (source_code, pair_code, reason, date, count)
    SELECT source, pair, reason, %s, count
      FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[]) AS new (source, pair, reason, count)
    ON CONFLICT (source_code, pair_code, reason, date) DO UPDATE SET count = known.count + excluded.count
"""


def count_refused(refused: Mapping[tuple[str, str, str], int], *, received_at: datetime) -> None:
    """Add refused ticks, by (source, pair, reason), to the day's counts in one statement."""
    if not refused:
        return
    keys = sorted(refused)
    columns: list[list[Any]] = [[key[part] for key in keys] for part in range(3)]
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_REFUSED, [received_at.date(), *columns, [refused[key] for key in keys]])


def rejected_on(day: date) -> dict[str, int]:
    """Return how many ticks were refused, and how many times a source was excluded, on a day by reason."""
    counts: Counter[str] = Counter()
    for reason, count in RejectedTicks.objects.filter(date=day).values_list("reason", "count"):
        counts[reason] += count
    return dict(counts)


def note_exclusions(feeds: Sequence[FeedRow], excluded: Mapping[str, bool], *, now: datetime) -> None:
    """Remember which feeds stand excluded and count each exclusion; writes only when one has changed sides."""
    changed = [feed for feed in feeds if (feed.excluded_since is not None) != excluded[feed.name]]
    if not changed:
        return
    keys = [feed.pk for feed in changed]
    # In key order, as `record` locks them.
    list(PriceFeed.objects.select_for_update().filter(pk__in=keys).order_by("pk").values_list("pk"))
    gone = [feed for feed in changed if excluded[feed.name]]
    PriceFeed.objects.filter(pk__in=[feed.pk for feed in gone]).update(excluded_since=now)
    PriceFeed.objects.filter(pk__in=set(keys) - {feed.pk for feed in gone}).update(excluded_since=None)
    count_refused({(feed.source, feed.pair, "excluded"): 1 for feed in gone}, received_at=now)

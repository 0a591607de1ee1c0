"""Recording and publishing on a real database: what is refused, what is published, and in how many queries."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from risk import prices
from risk.engine.ltv import Band
from risk.engine.quality import Quality
from risk.models import (
    AssetOutage,
    AssetPolicy,
    Mark,
    MarkMinute,
    PriceFeed,
    PriceSnapshot,
    RejectedTicks,
    Source,
    Tick,
)
from tests.factories.prices import AT, feed, ticks

pytestmark = pytest.mark.django_db

VENUES = ("alder", "birch", "cedar")


@pytest.fixture
def market():
    for venue in VENUES:
        feed(venue, "BTC", "USDT")
        feed(venue, "BTC", "USDC")
        feed(venue, "BTC", "USD")
        feed(venue, "USDT", "USD")
        feed(venue, "USDC", "USD")


def quotes(price: str, *, pair: str = "BTC-USD", at=AT, venues=VENUES):
    return ticks([(venue, pair, price) for venue in venues], at=at)


def round_of(price: str, *, at=AT, **more) -> prices.Marks:
    prices.record(quotes(price, at=at, **more), received_at=at)
    return prices.publish(now=at)


def test_every_tick_is_kept_and_the_newest_stands_on_its_feed(market):
    for second, price in ((0, "40000"), (15, "40100")):
        at = AT + timedelta(seconds=second)
        assert prices.record(quotes(price, at=at), received_at=at) == prices.RecordReport(3, {})
    assert Tick.objects.count() == 6
    newest = PriceFeed.objects.filter(last_at=AT + timedelta(seconds=15))
    assert {row.last_price for row in newest} == {Decimal(40100)}


BAD = [
    ({"price": Decimal("NaN")}, "nan"),
    ({"price": Decimal("Infinity")}, "infinite"),
    ({"price": Decimal("-Infinity")}, "infinite"),
    ({"price": Decimal(0)}, "zero"),
    ({"price": Decimal(-1)}, "negative"),
    ({"price": Decimal("1e13")}, "absurd"),
    ({"price": Decimal(4000001)}, "absurd"),
    ({"price": Decimal("399.9")}, "absurd"),
    ({"at": AT + timedelta(seconds=21)}, "future"),
    ({"at": AT - timedelta(seconds=1)}, "older"),
    ({"at": AT}, "repeated"),
    ({"at": AT.replace(tzinfo=None)}, "naive_time"),
    ({"source": "nobody"}, "unknown_feed"),
    ({"base": "DOGE"}, "unknown_feed"),
    ({"price": 40000.0}, "nan"),
]


@pytest.mark.parametrize(("change", "reason"), BAD)
def test_what_is_no_price_is_refused_and_counted(market, change, reason):
    prices.record(quotes("40000"), received_at=AT)
    later = AT + timedelta(seconds=15)
    bad = replace(ticks([("alder", "BTC-USD", "40001")], at=later)[0], **change)
    good = ticks([("birch", "BTC-USD", "40001")], at=later)
    report = prices.record([bad, *good], received_at=later)
    assert report == prices.RecordReport(1, {reason: 1})
    assert prices.record([bad], received_at=later).rejected == {reason: 1}
    assert RejectedTicks.objects.get(reason=reason).count == 2
    assert prices.rejected_on(AT.date()) == {reason: 2}
    assert Tick.objects.count() == 4


def test_a_tick_of_a_disabled_source_is_refused(market):
    Source.objects.filter(code="alder").update(enabled=False)
    assert prices.record(quotes("40000"), received_at=AT).rejected == {"unknown_feed": 1}


def test_a_round_publishes_one_mark_per_asset(market):
    prices.record(quotes("1.0002", pair="USDT-USD"), received_at=AT)
    marks = round_of("40000", pair="BTC-USDT")
    assert marks.price("BTC") == Decimal(40008)
    assert marks.quality("BTC") is Quality.GOOD
    assert marks.price("USD") == 1
    assert marks.price("DOGE") is None
    assert marks.quality("DOGE") is Quality.STALE
    stored = Mark.objects.get(asset__code="BTC")
    assert (stored.price, stored.quality, stored.as_of) == (Decimal(40008), "good", AT)
    used = stored.sources["alder:BTC-USDT"]
    assert (used["quote"], used["price"], used["used"]) == ("40000", "40008", "40008")
    assert prices.current(now=AT) == marks


def test_a_second_publish_of_the_same_or_an_older_round_changes_nothing(market):
    marks = round_of("40000")
    prices.record(quotes("41000", at=AT + timedelta(seconds=1)), received_at=AT + timedelta(seconds=1))
    assert prices.publish(now=AT) == marks
    assert prices.publish(now=AT - timedelta(seconds=15)) == marks
    assert prices.publish(now=AT + timedelta(seconds=1)).price("BTC") == 41000


def test_a_minute_is_kept_once(market):
    for second in (0, 15, 45, 60, 75):
        round_of(str(40000 + second), at=AT + timedelta(seconds=second))
    kept = MarkMinute.objects.filter(asset__code="BTC").order_by("at").values_list("at", "price")
    assert list(kept) == [(AT, Decimal(40000)), (AT + timedelta(seconds=60), Decimal(40060))]


def test_a_coin_quote_waits_for_the_coins_own_mark(market):
    marks = round_of("40000", pair="BTC-USDC")
    assert (marks.price("BTC"), marks.quality("BTC")) == (None, Quality.STALE)
    assert Mark.objects.get(asset__code="BTC").sources["alder:BTC-USDC"]["reason"] == "unconverted"


def test_btc_usdc_is_never_taken_for_btc_usd(market):
    prices.record(quotes("0.88", pair="USDC-USD"), received_at=AT)
    marks = round_of("25000", pair="BTC-USDC")
    assert marks.price("BTC") == Decimal(22000)
    for each in Mark.objects.get(asset__code="BTC").sources.values():
        assert each["price"] in (None, "22000")


def test_a_coin_without_quorum_lends_its_doubt_to_what_is_quoted_in_it(market):
    prices.record(quotes("1", pair="USDT-USD", venues=("alder",)), received_at=AT)
    marks = round_of("40000", pair="BTC-USDT")
    assert (marks.quality("USDT"), marks.quality("BTC")) == (Quality.DEGRADED, Quality.DEGRADED)
    assert marks.price("BTC") == 40000


def test_two_coins_quoted_in_each_other_do_not_hang(market):
    feed("alder", "USDC", "USDT")
    feed("alder", "USDT", "USDC")
    prices.record(quotes("1", pair="USDC-USD"), received_at=AT)
    marks = round_of("1.001", pair="USDT-USD")
    assert (marks.price("USDC"), marks.price("USDT")) == (Decimal(1), Decimal("1.001"))


def test_sources_go_stale_one_by_one_and_the_mark_with_them(market):
    PriceFeed.objects.filter(source__code="cedar").update(stale_after_s=90)
    round_of("40000")
    marks = prices.publish(now=AT + timedelta(seconds=60))
    assert marks.quality("BTC") is Quality.GOOD
    marks = prices.publish(now=AT + timedelta(seconds=75))
    assert (marks.price("BTC"), marks.quality("BTC")) == (Decimal(40000), Quality.DEGRADED)
    marks = prices.publish(now=AT + timedelta(seconds=105))
    assert (marks.price("BTC"), marks.quality("BTC")) == (None, Quality.STALE)
    assert marks.last_good("BTC") == 40000
    assert marks.band("BTC") == Band(Decimal(0), Decimal(44000))


def test_a_mark_that_nobody_renews_is_stale_when_it_is_read(market):
    round_of("40000")
    assert prices.current(now=AT + timedelta(seconds=60)).quality("BTC") is Quality.GOOD
    late = prices.current(now=AT + timedelta(seconds=61))
    assert (late.price("BTC"), late.quality("BTC")) == (None, Quality.STALE)
    assert late.as_of == AT + timedelta(seconds=61)
    assert late.in_grace("BTC")


def test_an_outage_is_kept_with_its_ends_and_followed_by_grace(market):
    round_of("40000")
    for second in (30, 75, 105):
        prices.publish(now=AT + timedelta(seconds=second))
    assert AssetOutage.objects.get(asset__code="BTC").end_at is None
    back = AT + timedelta(seconds=1200)
    marks = round_of("39000", at=back)
    outage = AssetOutage.objects.get(asset__code="BTC")
    assert (outage.start_at, outage.end_at) == (AT + timedelta(seconds=30), back)
    assert marks.quality("BTC") is Quality.GOOD
    assert marks.in_grace("BTC")
    for second in range(15, 601, 15):
        marks = round_of(str(39000 + second), at=back + timedelta(seconds=second))
        assert marks.in_grace("BTC") is (second < 600)
    assert not prices.current(now=back + timedelta(seconds=600)).in_grace("BTC")


def test_an_outage_between_two_rounds_is_kept_too(market):
    round_of("40000")
    back = AT + timedelta(seconds=600)
    assert round_of("39000", at=back).in_grace("BTC")
    outage = AssetOutage.objects.get(asset__code="BTC")
    assert (outage.start_at, outage.end_at) == (AT, back)


def test_a_liar_is_excluded_until_it_comes_close_again(market):
    round_of("40000")
    later = AT + timedelta(seconds=15)
    prices.record(
        ticks([("alder", "BTC-USD", "44000"), ("birch", "BTC-USD", "40000"), ("cedar", "BTC-USD", "40010")], at=later),
        received_at=later,
    )
    marks = prices.publish(now=later)
    assert marks.price("BTC") == Decimal(40005)
    assert PriceFeed.objects.get(excluded_since__isnull=False).source.code == "alder"
    for second, price, excluded in ((30, "41500", True), (45, "40500", False)):
        at = AT + timedelta(seconds=second)
        prices.record(
            ticks([("alder", "BTC-USD", price), ("birch", "BTC-USD", "40001"), ("cedar", "BTC-USD", "40011")], at=at),
            received_at=at,
        )
        prices.publish(now=at)
        assert PriceFeed.objects.filter(excluded_since__isnull=False).exists() is excluded
    assert prices.rejected_on(AT.date()) == {"excluded": 1}


def test_a_source_that_stands_still_is_found_out(market):
    round_of("40000")
    for n in range(1, 25):
        at = AT + timedelta(seconds=15 * n)
        moving = str(40000 - 40 * n)
        prices.record(
            ticks([("alder", "BTC-USD", "40000"), ("birch", "BTC-USD", moving), ("cedar", "BTC-USD", moving)], at=at),
            received_at=at,
        )
        prices.publish(now=at)
    assert Mark.objects.get(asset__code="BTC").sources["alder:BTC-USD"]["reason"] == "frozen"


def test_nobody_is_frozen_after_a_move_that_all_made(market):
    round_of("40000")
    for n in range(1, 40):
        marks = round_of("38000", at=AT + timedelta(seconds=15 * n))
    assert (marks.price("BTC"), marks.quality("BTC")) == (Decimal(38000), Quality.GOOD)
    heard = PriceFeed.objects.filter(pair__base__code="BTC", last_at__isnull=False)
    assert set(heard.values_list("moved_from", flat=True)) == {38000}


def test_ticks_heard_between_two_rounds_do_not_count_an_old_mark_as_theirs(market):
    round_of("40000")
    for n in range(1, 4):
        at = AT + timedelta(seconds=n)
        prices.record(quotes("38000", at=at), received_at=at)
    assert set(PriceFeed.objects.values_list("moved_from", flat=True)) == {None}
    prices.publish(now=AT + timedelta(seconds=15))
    at = AT + timedelta(seconds=16)
    prices.record(quotes("38000", at=at), received_at=at)
    assert PriceFeed.objects.filter(moved_from=38000).count() == 3


def test_a_halted_asset_has_a_price_that_nobody_may_use(market):
    round_of("40000")
    AssetPolicy.objects.filter(asset__code="BTC").update(halted_at=AT)
    marks = round_of("40001", at=AT + timedelta(seconds=15))
    assert (marks.price("BTC"), marks.quality("BTC")) == (None, Quality.HALTED)
    assert Mark.objects.get(asset__code="BTC").price == Decimal(40001)


def test_a_snapshot_is_written_once_and_never_changed(market):
    marks = round_of("40000")
    first = prices.snapshot(marks, now=AT)
    assert prices.snapshot(marks, now=AT + timedelta(seconds=3)).pk == first.pk
    kept = PriceSnapshot.objects.get()
    assert kept.marks["BTC"]["price"] == "40000"
    assert kept.marks["BTC"]["sources"]["alder:BTC-USD"]["weight"] == "1"
    with pytest.raises(DatabaseError), transaction.atomic():
        PriceSnapshot.objects.update(as_of=AT + timedelta(seconds=1))


def test_the_number_of_queries_does_not_grow_with_sources(market):
    def counted(at) -> tuple[int, int]:
        with CaptureQueriesContext(connection) as recording:
            prices.record(quotes("40000", at=at), received_at=at)
        with CaptureQueriesContext(connection) as publishing:
            prices.publish(now=at)
        return len(recording), len(publishing)

    counted(AT)
    few = counted(AT + timedelta(seconds=15))
    for n in range(10):
        feed(f"venue{n}", "BTC", "USD")
        feed(f"venue{n}", "ETH", "USDT")
    counted(AT + timedelta(seconds=30))
    assert counted(AT + timedelta(seconds=45)) == few
    assert few[0] <= 5
    assert few[1] <= 6


def test_a_worker_that_is_a_round_late_marks_what_stood_then(market):
    round_of("40000")
    for second, price in ((15, "41000"), (30, "42000")):
        at = AT + timedelta(seconds=second)
        prices.record(quotes(price, at=at), received_at=at)
    assert prices.publish(now=AT + timedelta(seconds=15)).price("BTC") == 41000
    assert prices.publish(now=AT + timedelta(seconds=30)).price("BTC") == 42000
    assert prices.newest_tick_at() == AT + timedelta(seconds=30)

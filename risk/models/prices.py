"""Ticks, marks and the immutable snapshots that decisions rest on."""

from datetime import datetime

from django.db import models
from django.db.models import Q

from lending.models.fields import AmountField, PublicIdField, RatioField


class Quality(models.TextChoices):
    """What a mark may be used for; see the table in prices.py."""

    GOOD = "good"
    DEGRADED = "degraded"
    STALE = "stale"
    HALTED = "halted"


class Source(models.Model):
    """A venue that publishes prices."""

    code = models.CharField(max_length=30, unique=True)
    name = models.CharField(max_length=60)
    synthetic = models.BooleanField(
        default=False, help_text="made from another venue's recording; said wherever it shows"
    )
    enabled = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.code


class PriceFeed(models.Model):
    """One pair at one source: its weight, its staleness limit and its heartbeat."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="feeds")
    pair = models.ForeignKey("lending.Pair", on_delete=models.PROTECT)
    weight = RatioField(default=1)
    stale_after_s = models.PositiveIntegerField()
    # The newest tick, upserted: the marking path reads nothing else.
    last_price = AmountField(null=True)
    last_at = models.DateTimeField(null=True)
    last_received_at = models.DateTimeField(null=True)
    unchanged_count = models.PositiveIntegerField(default=0, help_text="beats since the price last moved")
    moved_from = AmountField(null=True, help_text="mark of the base asset when the price last moved")
    excluded_since = models.DateTimeField(null=True, help_text="too far from the median; null while it counts")

    class Meta:
        constraints = [models.UniqueConstraint(name="feed_once", fields=["source", "pair"])]

    def is_silent(self, now: datetime) -> bool:
        """Return whether its newest tick is too old to count, or none has come."""
        return self.last_at is None or (now - self.last_at).total_seconds() > self.stale_after_s


class Tick(models.Model):
    """A raw observation, kept as received."""

    feed = models.ForeignKey(PriceFeed, on_delete=models.PROTECT)
    price = AmountField()
    at = models.DateTimeField(help_text="the venue's time")
    received_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["feed", "at"])]


class RejectedTicks(models.Model):
    """How many ticks of a feed were refused on a day, by reason."""

    source_code = models.CharField(max_length=30)
    pair_code = models.CharField(max_length=30)
    reason = models.CharField(max_length=30)
    date = models.DateField()
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "rejected ticks"
        constraints = [
            models.UniqueConstraint(name="rejected_once", fields=["source_code", "pair_code", "reason", "date"])
        ]

    def __str__(self) -> str:
        return f"{self.source_code} {self.pair_code} {self.date:%d %b %Y}"


class AssetPolicy(models.Model):
    """How an asset is priced and sold: clamp, quorum, bounds, band, liquidity."""

    named_by = ("asset",)

    asset = models.OneToOneField("lending.Asset", on_delete=models.PROTECT, related_name="policy")
    quorum = models.PositiveSmallIntegerField(default=3)
    clamp = RatioField(default="0.005")
    max_deviation = RatioField(default="0.05")
    max_spread = RatioField(default="0.02", help_text="venue spread above which a mark is DEGRADED")
    band = RatioField(default="0.10", help_text="how far an unusable mark may have moved, for bounding accounts")
    lower_bound = AmountField(default=0, help_text="HALTED at or below")
    upper_bound = AmountField(null=True, help_text="HALTED at or above")
    daily_volume_usd = AmountField(help_text="that the desk can reach")
    daily_volatility = RatioField()
    impact_y = RatioField(default="0.7", help_text="Y of the square-root law")
    half_spread = RatioField(default="0.0005")
    execution_fee = RatioField(default="0.001")
    collar = RatioField(default="0.05", help_text="no clip below mark x (1 - collar) without two persons")
    lot = AmountField(help_text="smallest quantity that is sold")
    block_window_s = models.PositiveIntegerField(default=60)
    clip_usd = AmountField(help_text="largest clip that one RFQ asks for")
    throttle_usd_per_minute = AmountField(help_text="most that is put out for quote in a minute of platform time")
    halted_at = models.DateTimeField(null=True, help_text="halted by two persons")

    class Meta:
        verbose_name_plural = "asset policies"

    def __str__(self) -> str:
        return self.asset.code


class Mark(models.Model):
    """The newest published price of an asset; one row each, updated together once per round."""

    named_by = ("asset",)

    asset = models.OneToOneField("lending.Asset", on_delete=models.PROTECT, related_name="mark")
    price = AmountField(null=True, help_text="USD; null when there is none")
    quality = models.CharField(max_length=8, choices=Quality.choices)
    as_of = models.DateTimeField()
    sources = models.JSONField(default=dict, help_text="per feed: price, weight, clamped, excluded, age")
    spread = RatioField(null=True)
    last_good_price = AmountField(null=True)
    last_good_at = models.DateTimeField(null=True)
    good_streak = models.PositiveIntegerField(default=0, help_text="consecutive GOOD marks")
    outage_since = models.DateTimeField(null=True, help_text="set after more than 60 s without a GOOD mark")
    grace_until = models.DateTimeField(null=True, help_text="no sale before it and three GOOD marks in a row")

    def __str__(self) -> str:
        return self.asset.code


class MarkMinute(models.Model):
    """A mark as it stood at a minute; what charts and the P&L read."""

    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    at = models.DateTimeField()
    price = AmountField()
    quality = models.CharField(max_length=8, choices=Quality.choices)

    class Meta:
        constraints = [models.UniqueConstraint(name="mark_minute_once", fields=["asset", "at"])]


class PriceSnapshot(models.Model):
    """All marks with sources, weights and exclusions at one instant; immutable, one per decision round and minute."""

    public_id = PublicIdField()
    as_of = models.DateTimeField(unique=True)
    marks = models.JSONField()

    def __str__(self) -> str:
        return f"Marks of {self.as_of:%d %b %Y %H:%M:%S} UTC"


class AssetOutage(models.Model):
    """A span in which an asset had no GOOD mark for more than 60 s; pauses clocks and starts grace."""

    named_by = ("asset",)

    asset = models.ForeignKey("lending.Asset", on_delete=models.PROTECT)
    start_at = models.DateTimeField()
    end_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="one_open_outage", fields=["asset"], condition=Q(end_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.asset.code} since {self.start_at:%d %b %Y %H:%M}"

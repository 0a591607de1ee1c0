"""Marks, the sources behind them and the policies that judge them, to be read."""

from django.contrib import admin

from lending.access import STAFF_ROLES
from lending.admin.base import Lines, Table
from risk.models import AssetOutage, AssetPolicy, Mark, PriceFeed, PriceSnapshot, RejectedTicks, Source


@admin.register(Mark)
class MarkAdmin(Table):
    units = {"price": "=USD", "last_good_price": "=USD"}
    seen_by = STAFF_ROLES
    list_display = ("asset", "price", "quality", "as_of", "spread", "last_good_at", "outage_since")
    ordering = ("asset__code",)


class Feeds(Lines):
    units = {"last_price": "pair__quote"}
    model = PriceFeed
    fields = readonly_fields = ("pair", "weight", "stale_after_s", "last_price", "last_at", "excluded_since")


@admin.register(Source)
class SourceAdmin(Table):
    list_display = ("code", "name", "synthetic", "enabled")
    inlines = (Feeds,)


@admin.register(AssetPolicy)
class AssetPolicyAdmin(Table):
    units = dict.fromkeys(
        ("lower_bound", "upper_bound", "daily_volume_usd", "clip_usd", "throttle_usd_per_minute"), "=USD"
    )
    list_display = ("asset", "quorum", "clamp", "max_deviation", "max_spread", "band", "collar", "halted_at")


@admin.register(PriceSnapshot)
class PriceSnapshotAdmin(Table):
    list_display = ("public_id", "as_of")
    ordering = ("-as_of",)


@admin.register(AssetOutage)
class AssetOutageAdmin(Table):
    list_display = ("asset", "start_at", "end_at")
    ordering = ("-start_at",)


@admin.register(RejectedTicks)
class RejectedTicksAdmin(Table):
    list_display = ("date", "source_code", "pair_code", "reason", "count")
    list_filter = ("reason", "source_code")
    ordering = ("-date", "-count")

"""Dealers, blocks, requests, quotes, fills and settlements, to be read."""

from django.contrib import admin

from lending.admin.base import SEE_CLIENTS, SEE_DESK, Lines, Table
from otc.models import Allocation, Block, BlockOrder, Dealer, Fill, Quote, Rfq, Settlement


@admin.register(Dealer)
class DealerAdmin(Table):
    seen_by = SEE_DESK
    list_display = ("code", "name", "simulated", "enabled")


class Parts(Lines):
    """The orders behind a block say who was called: not for a trader's eyes."""

    units = dict.fromkeys(("quantity", "filled_quantity"), "block__asset")
    seen_by = SEE_CLIENTS & SEE_DESK
    model = BlockOrder
    fields = readonly_fields = ("order", "quantity", "filled_quantity")


class Rfqs(Lines):
    hide_title = False
    units = {"quantity": "block__asset", "mark_price": "=USD", "collar_price": "=USD"}
    seen_by = SEE_DESK
    model = Rfq
    fields = readonly_fields = ("clip", "quantity", "mark_price", "collar_price", "state", "opened_at", "expires_at")


@admin.register(Block)
class BlockAdmin(Table):
    seen_by = SEE_DESK
    list_display = ("asset", "window_start", "quantity", "filled_quantity", "state", "created_at", "closed_at")
    list_filter = ("state", "asset")
    ordering = ("-window_start", "asset")
    list_select_related = ("asset",)
    inlines = (Rfqs, Parts)


class Quotes(Lines):
    units = {"quantity": "rfq__block__asset", "price": "=USD"}
    seen_by = SEE_DESK
    model = Quote
    fields = readonly_fields = ("dealer", "price", "quantity", "state", "asked_at", "quoted_at", "reason")


@admin.register(Rfq)
class RfqAdmin(Table):
    units = {"quantity": "block__asset", "mark_price": "=USD", "collar_price": "=USD"}
    seen_by = SEE_DESK
    list_display = ("block", "clip", "quantity", "mark_price", "collar_price", "basis", "state", "opened_at", "note")
    list_filter = ("state", "basis")
    ordering = ("-opened_at", "-pk")
    list_select_related = ("block__asset",)
    inlines = (Quotes,)


class Allocations(Lines):
    """Which client's coins were sold: not for a trader's eyes."""

    units = {"quantity": "fill__block__asset", "proceeds": "=USD"}
    seen_by = SEE_CLIENTS & SEE_DESK
    model = Allocation
    fields = readonly_fields = ("client", "quantity", "proceeds", "entry")


@admin.register(Fill)
class FillAdmin(Table):
    units = {"quantity": "block__asset", "price": "=USD", "mark_price": "=USD"}
    seen_by = SEE_DESK
    list_display = (
        "dealer_fill_id",
        "dealer",
        "block",
        "quantity",
        "price",
        "slippage_bps",
        "executed_at",
        "settled_at",
    )
    list_filter = ("dealer", "block__asset")
    ordering = ("-executed_at", "-pk")
    list_select_related = ("dealer", "block__asset")
    inlines = (Allocations,)


@admin.register(Settlement)
class SettlementAdmin(Table):
    units = {"cash": "=USD"}
    seen_by = SEE_DESK
    list_display = ("fill", "dealer", "asset", "quantity", "cash", "state", "due_at", "settled_at", "reason")
    list_filter = ("state", "dealer", "asset")
    ordering = ("-due_at", "-pk")
    list_select_related = ("fill", "dealer", "asset")

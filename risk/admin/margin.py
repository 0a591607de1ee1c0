"""Margin states, calls, causes, orders, incidents and decisions, to be read."""

from django.contrib import admin
from django.db.models import Q

from lending.admin.base import Lines, Table
from risk import incidents
from risk.models import (
    CallEvent,
    CollateralCure,
    DecisionLog,
    Incident,
    LiquidationOrder,
    MarginCall,
    MarginStatus,
    SaleCause,
)


@admin.register(MarginStatus)
class MarginStatusAdmin(Table):
    client_path = "margin_account__client"
    list_display = ("margin_account", "state", "ltv", "episode", "since")
    list_filter = ("state",)
    ordering = ("-since",)


class Cures(Lines):
    units = {"price": "=USD"}
    model = CollateralCure
    fields = readonly_fields = ("asset", "quantity", "price")


class Evidence(Lines):
    model = CallEvent
    fields = readonly_fields = ("happened_at", "kind", "actor", "facts")
    verbose_name_plural = "evidence"


@admin.register(MarginCall)
class MarginCallAdmin(Table):
    units = {
        "cash_cure": "cure_asset",
        "cash_cured": "cure_asset",
        "debt_usd": "=USD",
        "weighted_collateral_usd": "=USD",
    }
    client_path = "client"
    list_display = (
        "public_id",
        "client",
        "state",
        "level",
        "ltv",
        "cash_cure",
        "cure_asset",
        "issued_at",
        "cure_due_at",
    )
    list_filter = ("state", "level", "cure_asset")
    search_fields = ("client__name", "public_id")
    ordering = ("-issued_at", "-pk")
    inlines = (Cures, Evidence)


class Orders(Lines):
    hide_title = False
    units = {"proceeds": "=USD", "mark_price": "=USD"}
    model = LiquidationOrder
    fields = readonly_fields = ("slice", "asset", "quantity", "filled_quantity", "proceeds", "state", "ordered_at")


@admin.register(SaleCause)
class SaleCauseAdmin(Table):
    client_path = "client"
    list_display = ("margin_account", "kind", "episode", "declared_at", "closed_at", "outcome")
    list_filter = ("kind", "outcome")
    ordering = ("-declared_at", "-pk")
    inlines = (Orders,)


@admin.register(LiquidationOrder)
class LiquidationOrderAdmin(Table):
    units = {"proceeds": "=USD", "mark_price": "=USD"}
    client_path = "client"
    list_display = ("public_id", "client", "asset", "quantity", "filled_quantity", "proceeds", "state", "ordered_at")
    list_filter = ("state", "asset")
    search_fields = ("client__name", "public_id")
    ordering = ("-ordered_at", "-pk")


@admin.register(Incident)
class IncidentAdmin(Table):
    client_path = "client"
    kept_from_managers = Q(kind=incidents.TRANSFER_HELD)
    list_display = ("opened_at", "kind", "summary", "asset", "client", "closed_at", "acknowledged_by")
    list_filter = ("kind", "asset")
    ordering = ("-opened_at", "-pk")


@admin.register(DecisionLog)
class DecisionLogAdmin(Table):
    client_path = "client"
    list_display = ("first_at", "client", "decision", "reason", "count", "last_at")
    list_filter = ("decision", "reason")
    ordering = ("-last_at", "-pk")

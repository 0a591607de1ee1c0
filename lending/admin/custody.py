"""Where coins and cash came in, went out, and do not agree; and what clients were told."""

from django.contrib import admin

from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.models import CustodyBreak, Deposit, Notice, NoticeDelivery, Withdrawal


@admin.register(Deposit)
class DepositAdmin(Table):
    client_path = "client"
    list_display = ("custodian_ref", "client", "asset", "quantity", "confirmations", "state", "seen_at", "credited_at")
    list_filter = ("state", "asset")
    search_fields = ("custodian_ref", "address__address")
    ordering = ("-seen_at", "-pk")
    list_select_related = ("client", "asset")


@admin.register(Withdrawal)
class WithdrawalAdmin(Table):
    client_path = "client"
    list_display = ("key", "client", "asset", "quantity", "purpose", "state", "maker", "checker", "requested_at")
    list_filter = ("state", "purpose", "asset")
    ordering = ("-requested_at", "-pk")
    list_select_related = ("client", "asset", "maker", "checker")


@admin.register(CustodyBreak)
class CustodyBreakAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("custodian", "asset", "ledger_quantity", "custodian_quantity", "found_at", "closed_at")
    list_filter = ("custodian",)
    ordering = ("-found_at",)
    list_select_related = ("asset",)


class Deliveries(Lines):
    model = NoticeDelivery
    fields = readonly_fields = ("channel", "address", "attempts", "delivered_at", "evidence")


@admin.register(Notice)
class NoticeAdmin(Table):
    client_path = "client"
    list_display = ("subject", "client", "kind", "created_at", "deemed_received_at")
    list_filter = ("kind",)
    search_fields = ("subject",)
    ordering = ("-created_at", "-pk")
    list_select_related = ("client",)
    inlines = (Deliveries,)

"""Dealers, blocks, requests, quotes, fills and settlements, to be read."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse

from lending.admin import acts
from lending.admin.base import SEE_CLIENTS, SEE_DESK, Lines, Table
from lending.staff import roles
from otc import fills, settlement
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
    inlines = (Quotes,)
    change_form_template = "admin/repair.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the button before those of the table."""
        guard = self.admin_site.admin_view
        return [path("<int:pk>/end-quote/", guard(self.end_quote), name="otc_rfq_end_quote"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a request, and for the head of the desk how to end a quote that its dealer can not be followed on."""
        extras = {}
        shown = self.get_object(request, object_id)
        stuck = shown is not None and shown.quotes.filter(state=Quote.State.ACCEPTED, done_at=None).exists()
        if stuck and roles(request) & fills.CLOSERS:
            extras = {
                "repair": reverse("admin:otc_rfq_end_quote", args=[object_id]),
                "words": "Its accepted quote is not done. If the dealer confirms that no other execution stands, two "
                "persons can end it: what was recorded stands, the rest goes back to its orders.",
                "asks": "What the dealer has confirmed",
                "button": "Ask a second person to end the quote",
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def end_quote(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask a second person to end the accepted quote of a request."""

        def ask(request: HttpRequest, row: Rfq, now: datetime) -> str:
            quote = row.quotes.filter(state=Quote.State.ACCEPTED).first()
            if quote is None:
                raise fills.UnableToRecord("no quote of it was accepted")
            maker: Any = request.user
            fills.ask_to_close(quote, reason=request.POST.get("reason", ""), maker=maker, now=now)
            return "Asked: it waits on the page Approvals for a second person of risk."

        again = acts.on_its_page(self.change_view)
        refusals = (fills.UnableToRecord,)
        return acts.perform(request, self.get_queryset(request), pk, ask, refusals=refusals, again=again)


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
    inlines = (Allocations,)


@admin.register(Settlement)
class SettlementAdmin(Table):
    units = {"cash": "=USD"}
    seen_by = SEE_DESK
    list_display = ("fill", "dealer", "asset", "quantity", "cash", "state", "due_at", "settled_at", "reason")
    list_filter = ("state", "dealer", "asset")
    ordering = ("-due_at", "-pk")
    change_form_template = "admin/repair.html"

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the button before those of the table."""
        guard = self.admin_site.admin_view
        return [path("<int:pk>/again/", guard(self.again), name="otc_settlement_again"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a settlement, and one that failed with the way to instruct it again."""
        shown, extras = self.get_object(request, object_id), {}
        if shown and shown.state == Settlement.State.FAILED and roles(request) & settlement.INSTRUCTORS:
            extras = {
                "repair": reverse("admin:otc_settlement_again", args=[object_id]),
                "words": f"The custodian refused: {shown.reason}. Once that is put right it can be instructed again, "
                "under another key.",
                "asks": "What was put right",
                "button": "Instruct it again",
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extras})

    def again(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Instruct a failed settlement again."""

        def instruct(request: HttpRequest, row: Settlement, now: datetime) -> str:
            by: Any = request.user
            settlement.instruct_again(row, reason=request.POST.get("reason", ""), by=by, now=now)
            return "Instructed again: the custodian is asked with the next round."

        again = acts.on_its_page(self.change_view)
        refusals = (settlement.UnableToSettle,)
        return acts.perform(request, self.get_queryset(request), pk, instruct, refusals=refusals, again=again)

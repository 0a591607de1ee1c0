"""The ledger: to be read, and never to be changed."""

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from lending.admin.base import SEE_BOOKS, Lines, Table
from lending.models import Asset, AssetNetwork, Entry, LedgerAccount, Posting
from lending.templatetags.plimsoll import amount


class Postings(Lines):
    seen_by = SEE_BOOKS
    model = Posting
    fields = readonly_fields = ("account", "signed", "category", "client", "loan", "book", "cause")

    @admin.display(description="amount, debit positive")
    def signed(self, row: Posting) -> SafeString:
        return amount(row.amount, row.asset.code)


@admin.register(Entry)
class EntryAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("idempotency_key", "kind", "effective_at", "recorded_at", "reverses")
    list_filter = ("kind",)
    search_fields = ("idempotency_key",)
    date_hierarchy = "effective_at"
    ordering = ("-effective_at", "-pk")
    fields = ("idempotency_key", "kind", "effective_at", "recorded_at", "reverses", "actor", "fingerprint")
    readonly_fields = ("fingerprint",)
    inlines = (Postings,)

    @admin.display(description="content hash")
    def fingerprint(self, row: Entry) -> str:
        return bytes(row.content_hash).hex()


@admin.register(Posting)
class PostingAdmin(Table):
    seen_by = SEE_BOOKS
    client_path = "client"
    list_reads = ("entry",)
    list_display = ("entry_link", "effective_at", "account", "signed", "category", "client", "book")
    list_display_links = None
    list_filter = ("category", "asset", "book", "account__kind")
    search_fields = ("entry__idempotency_key", "account__key")
    ordering = ("-entry__effective_at", "-pk")
    fields = ("entry", "account", "signed", "category", "client", "loan", "book", "cause")
    readonly_fields = ("signed",)

    @admin.display(description="entry")
    def entry_link(self, row: Posting) -> SafeString:
        address = reverse("admin:lending_entry_change", args=[row.entry_id])
        return format_html('<a href="{}">{}</a>', address, row.entry)

    @admin.display(description="effective at", ordering="entry__effective_at")
    def effective_at(self, row: Posting) -> Any:
        return row.entry.effective_at

    @admin.display(description="amount, debit positive", ordering="amount")
    def signed(self, row: Posting) -> SafeString:
        return amount(row.amount, row.asset.code)


@admin.register(LedgerAccount)
class LedgerAccountAdmin(Table):
    seen_by = SEE_BOOKS
    client_path = "client"
    list_display = ("key", "kind", "asset", "client", "standing", "opened_at")
    list_reads = ("balance",)
    list_filter = ("kind", "asset")
    search_fields = ("key",)
    fields = ("key", "kind", "asset", "client", "margin_account", "loan", "book", "party", "stripe", "standing")
    readonly_fields = ("standing",)

    @admin.display(description="balance, debit positive")
    def standing(self, row: LedgerAccount) -> SafeString:
        return amount(row.balance.amount, row.asset.code)


class Networks(Lines):
    model = AssetNetwork
    fields = readonly_fields = ("chain", "contract", "confirmations", "block_s")


@admin.register(Asset)
class AssetAdmin(Table):
    list_display = ("code", "name", "kind", "decimals")
    inlines = (Networks,)

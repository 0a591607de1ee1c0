"""What two people of a client sign jointly: what waits for the second, and what became of it."""

from django.contrib import admin

from lending.admin.base import Table
from lending.models import JointSignature


@admin.register(JointSignature)
class JointSignatureAdmin(Table):
    client_path = "client"
    list_display = ("words", "client", "action", "first", "first_at", "second", "expires_at", "withdrawn_at")
    list_filter = ("action",)
    search_fields = ("client__name", "words")
    ordering = ("-first_at", "-pk")

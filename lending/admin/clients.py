"""Clients, the people who act for them, and the people of the desk."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from lending.admin.base import Lines, Table
from lending.models import Client, ClientUser, Loan, Role, RoleGrant, User
from lending.staff import roles


class ClientPeople(Lines):
    model = ClientUser
    fields = readonly_fields = ("user", "role", "created_at")
    verbose_name_plural = "people who sign in"


class ClientLoans(Lines):
    hide_title = False
    model = Loan
    fields = readonly_fields = ("product", "asset", "principal", "state", "maturity_date")


@admin.register(Client)
class ClientAdmin(Table):
    client_path = "pk"
    list_display = ("name", "kind", "jurisdiction", "stage", "relationship_manager", "created_at")
    list_filter = ("stage", "kind")
    search_fields = ("name",)
    change_list_template = "admin/guided.html"
    change_form_template = "admin/client.html"
    inlines = (ClientPeople, ClientLoans)
    fields = (
        "name",
        "kind",
        "jurisdiction",
        "time_zone",
        "stage",
        "stage_at",
        "source",
        "geography",
        "expected_size_usd",
        "classification",
        "relationship_manager",
        "created_at",
        "public_id",
    )
    units = {"expected_size_usd": "=USD"}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the clients; who may take one on finds the way to it there."""
        manages = Role.RELATIONSHIP_MANAGER in roles(request)
        words = {"guided": "Take a client on", "way": "admin:lending_onboard"} if manages else {}
        return super().changelist_view(request, {**(extra_context or {}), **words})


class Grants(Lines):
    model = RoleGrant
    fk_name = "user"
    fields = readonly_fields = ("role", "granted_by", "granted_at", "revoked_at")


@admin.register(User)
class UserAdmin(Table):
    seen_by = frozenset({Role.RISK_HEAD, Role.DESK_HEAD, Role.OPERATIONS, Role.COMPLIANCE, Role.AUDITOR})
    list_display = ("email", "name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    fields = ("email", "name", "is_staff", "is_active", "last_login", "public_id")
    inlines = (Grants,)

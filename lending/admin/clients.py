"""Clients, the people who act for them, and the people of the desk."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from lending import clock, people
from lending.admin.base import Lines, Table
from lending.models import Client, ClientUser, Loan, Role, RoleGrant, User
from lending.staff import roles


class ClientForm(forms.ModelForm):
    """What is asked of a new client."""

    class Meta:
        model = Client
        fields = ("name", "kind", "jurisdiction", "time_zone")

    def clean_jurisdiction(self) -> str:
        """Return the country code in capitals."""
        code = str(self.cleaned_data["jurisdiction"]).upper()
        if len(code) != 2 or not code.isalpha():
            raise forms.ValidationError("Two letters, as in ISO 3166: GB, CH, SG.")
        return code


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
    list_select_related = ("relationship_manager",)
    form = ClientForm
    inlines = (ClientPeople, ClientLoans)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        asked = ClientForm.Meta.fields
        known = (*asked, "stage", "relationship_manager", "created_at", "public_id")
        return asked if obj is None else self.written(known, request)

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> Any:
        return () if obj is None else self.inlines

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return Role.RELATIONSHIP_MANAGER in roles(request)

    def save_model(self, request: HttpRequest, obj: Client, form: Any, change: bool) -> None:
        """Register the client through its verb; a row is never written past it."""
        manager: Any = request.user
        made = people.register(**form.cleaned_data, manager=manager, now=clock.now())
        obj.pk, obj.relationship_manager = made.pk, made.relationship_manager


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

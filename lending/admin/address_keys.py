"""Extended public keys: what deposit addresses are derived from, who set them, how many were given out."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib import messages as notes
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from lending import access, address_keys, clock, staff
from lending.admin import acts
from lending.admin.base import SEE_BOOKS, Table
from lending.engine.addresses import CHAINS
from lending.models import AddressKey
from lending.staff import roles


class KeyForm(forms.Form):
    """A key, and where it comes from."""

    chain = forms.ChoiceField(choices=[(chain, chain) for chain in CHAINS])
    xpub = forms.CharField(max_length=200, label="Extended public key (xpub, or zpub for bitcoin)")
    reason = forms.CharField(max_length=400, label="Where it comes from")


@admin.register(AddressKey)
class AddressKeyAdmin(Table):
    seen_by = SEE_BOOKS
    list_display = ("chain", "key", "next_index", "used_from", "maker", "checker", "retired_at")
    list_filter = ("chain",)
    ordering = ("retired_at", "chain")
    list_before_template = "admin/address_keys.html"
    change_form_template = "admin/address_key.html"

    @admin.display(description="key")
    def key(self, row: AddressKey) -> str:
        return f"{row.xpub[:4]}…{row.xpub[-6:]}"

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the buttons before those of the table."""
        guard = self.admin_site.admin_view
        return [
            path("ask/", guard(self.ask), name="lending_addresskey_ask"),
            path("<int:pk>/retire/", guard(self.retire), name="lending_addresskey_retire"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the keys below those that wait for a second person, and to operations the form for another."""
        given = extra_context or {}
        may = bool(roles(request) & address_keys.ASKERS)
        extras = {"waiting": address_keys.waiting(now=staff.now(request)), "key_form": KeyForm() if may else None}
        return super().changelist_view(request, {**extras, **given})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a key, and while it is used the button that stops it."""
        shown = self.get_object(request, object_id)
        may = shown is not None and shown.retired_at is None and bool(roles(request) & address_keys.RETIRERS)
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "retirable": shown if may else None}
        )

    def ask(self, request: HttpRequest) -> HttpResponse:
        """Ask a second person for a key; what may be private is not shown again when it is refused."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form, maker = KeyForm(request.POST), _user(request)
        refusal = "choose a chain, give the key, and say where it comes from"
        if form.is_valid():
            try:
                address_keys.ask(**form.cleaned_data, maker=maker, now=clock.now())
            except (address_keys.UnableToUse, access.UnableToAccess) as error:
                refusal = str(error)
            else:
                notes.success(request, "Asked: it waits on the page Approvals for a second person of risk.")
                return HttpResponseRedirect(reverse("admin:lending_addresskey_changelist"))
        request.method = "GET"  # the list itself is only to be read
        typed = {name: request.POST.get(name, "") for name in ("chain", "xpub", "reason")}
        if not typed["xpub"].strip().startswith(("xpub", "zpub")):
            typed["xpub"] = ""
        answer = self.changelist_view(request, {"key_form": KeyForm(initial=typed), "refusal": f"Refused: {refusal}."})
        answer.status_code = 422
        return answer

    def retire(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Derive nothing more from a key."""
        return acts.perform(request, self.get_queryset(request), pk, _retire, refusals=(address_keys.UnableToUse,))


def _retire(request: HttpRequest, row: AddressKey, now: datetime) -> str:
    address_keys.retire(row, by=_user(request), now=now)
    return "Nothing more is derived from it; what was given out stays watched."


def _user(request: HttpRequest) -> Any:
    return request.user

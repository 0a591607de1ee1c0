"""Asking for collateral to go back: on the loan's page, for operations and the client's relationship manager."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import access, allow_list
from lending.admin import acts
from lending.models import Asset, Loan, Pledge
from lending.staff import Page, roles
from risk import releases


class ReleaseForm(forms.Form):
    """What is to go back, and where to."""

    asset = forms.ModelChoiceField(queryset=Asset.objects.order_by("code"), to_field_name="code")
    quantity = forms.DecimalField(max_digits=38, decimal_places=18)
    destination = forms.CharField(max_length=120)


def form(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the form that asks for a release from a loan's account, with the requests that wait; or nothing."""
    if not roles(request) & releases.ASKERS:
        return SafeString("")
    held = Pledge.objects.filter(margin_account=subject.margin_account_id, quantity__gt=0).select_related("asset")
    pledges = list(held.order_by("asset__code"))
    if not pledges:
        return SafeString("")
    allowed = list(allow_list.standing(subject.client))
    context = {
        "now": now,
        "addresses": allowed,
        "usable": [row for row in allowed if row.usable_at <= now],
        "addresses_asked": allow_list.waiting(subject.client, now=now),
        "loan": subject,
        "pledges": pledges,
        "waiting": releases.waiting(subject.margin_account),
    }
    return render_to_string("admin/release.html", context, request=request)


def ask(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for collateral of a loan's account to go back to its client."""
    mine = Loan.objects.filter(client__in=access.clients_for(request.user)).select_related("margin_account__client")
    return acts.perform(request, mine, pk, _ask, refusals=(releases.UnableToAsk,))


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    asked = ReleaseForm(request.POST)
    if not asked.is_valid():
        name, errors = next(iter(asked.errors.items()))
        raise releases.UnableToAsk(f"{name}: {' '.join(map(str, errors))}".rstrip("."))
    maker: Any = request.user
    wanted = asked.cleaned_data
    releases.ask(
        loan.margin_account,
        wanted["asset"],
        wanted["quantity"],
        destination=wanted["destination"],
        maker=maker,
        now=now,
    )
    return "Asked: it waits on the page Approvals for a second person of risk."


def allow(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for an address of a loan's client to be allowed."""
    mine = Loan.objects.filter(client__in=access.clients_for(request.user)).select_related("client")
    return acts.perform(request, mine, pk, _allow, refusals=(allow_list.UnableToAllow,))


def _allow(request: HttpRequest, loan: Loan, now: datetime) -> str:
    asset = Asset.objects.filter(code=request.POST.get("asset", "")).first()
    if asset is None:
        raise allow_list.UnableToAllow("choose the asset that goes there")
    maker: Any = request.user
    said = request.POST.get("address", ""), request.POST.get("reason", "")
    allow_list.ask(loan.client, asset, said[0], reason=said[1], maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of risk, then for its cooling-off."


def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Strike an address of a loan's client off the list."""
    mine = Loan.objects.filter(client__in=access.clients_for(request.user)).select_related("client")
    return acts.perform(request, mine, pk, _revoke, refusals=(allow_list.UnableToAllow,))


def _revoke(request: HttpRequest, loan: Loan, now: datetime) -> str:
    chosen = request.POST.get("row", "")
    row = allow_list.standing(loan.client).filter(pk=chosen).first() if chosen.isdecimal() else None
    if row is None:
        raise allow_list.UnableToAllow("it is not on the list")
    by: Any = request.user
    allow_list.revoke(row, by=by, now=now)
    return "Struck off: nothing is sent there any more."


_site: Any = admin.site
_site.add_page(Page("addresses/<int:pk>/", "risk_allow", allow, allow_list.ASKERS, "risk"))
_site.add_page(Page("addresses/<int:pk>/revoke/", "risk_revoke", revoke, allow_list.ASKERS, "risk"))
_site.add_page(Page("releases/<int:pk>/", "risk_release", ask, releases.ASKERS, "risk"))

"""Asking for collateral to go back: a part of the loan's page, for operations and the client's manager."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from lending import allow_list
from lending.admin.loan_parts import LoanPart
from lending.models import Asset, Loan, Pledge
from lending.staff import Page, roles
from lending.typed import Figure, first_error, key_of
from risk import releases, substitutions


class ReleaseForm(forms.Form):
    """What is to go back, and where to."""

    asset = forms.ModelChoiceField(queryset=Asset.objects.order_by("code"), to_field_name="code")
    quantity = Figure(max_digits=38, decimal_places=18)
    destination = forms.CharField(max_length=120)


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the place of the form on a loan's page, which fetches it by itself: what it reads is read apart."""
    if not roles(request) & releases.ASKERS:
        return SafeString("")
    return render_to_string("admin/release_part.html", {"loan": subject}, request=request)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    """Return what is pledged, where it may go, and the requests that wait."""
    held = Pledge.objects.filter(margin_account=loan.margin_account_id, quantity__gt=0).select_related("asset")
    allowed = list(allow_list.standing(loan.client))
    return {
        "now": now,
        "addresses": allowed,
        "usable": [row for row in allowed if row.usable_at <= now],
        "assets": allow_list.assets(loan.client),
        "addresses_asked": allow_list.waiting(loan.client, now=now),
        "pledges": list(held.order_by("asset__code")),
        "waiting": releases.waiting(loan.margin_account),
        "exchange": substitutions.of_account(loan.margin_account, open_only=True),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    asked = ReleaseForm(request.POST)
    if not asked.is_valid():
        raise releases.UnableToAsk(first_error(asked))
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


def _allow(request: HttpRequest, loan: Loan, now: datetime) -> str:
    asset = Asset.objects.filter(code=request.POST.get("asset", "")).first()
    if asset is None:
        raise allow_list.UnableToAllow("choose the asset that goes there")
    maker: Any = request.user
    said = request.POST.get("address", ""), request.POST.get("reason", "")
    allow_list.ask(loan.client, asset, said[0], reason=said[1], maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of risk, then for its cooling-off."


def _revoke(request: HttpRequest, loan: Loan, now: datetime) -> str:
    row = allow_list.standing(loan.client).filter(pk=key_of(request.POST.get("row", ""))).first()
    if row is None:
        raise allow_list.UnableToAllow("it is not on the list")
    by: Any = request.user
    allow_list.revoke(row, by=by, now=now)
    return "Struck off: nothing is sent there any more, but what has left already."


_PART = LoanPart(
    title="Send collateral back",
    template="admin/release.html",
    facts=_facts,
    act=_ask,
    refusals=(releases.UnableToAsk,),
    reads=("margin_account__client",),
)
_PART.at("releases", "risk_release", releases.ASKERS, "risk")
_site: Any = admin.site
for _address, _name, _act in (
    ("addresses/<int:pk>/", "risk_allow", _allow),
    ("addresses/<int:pk>/revoke/", "risk_revoke", _revoke),
):
    _button = _PART.button(_act, (allow_list.UnableToAllow,))
    _site.add_page(Page(_address, _name, _button, allow_list.ASKERS, "risk"))

"""Asking for collateral to go back: a part of the loan's page, for operations and the client's manager."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from lending import allow_list, staff
from lending.admin import acts
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


@require_http_methods(["GET", "HEAD", "POST"])
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what may go back and where to, as a part of the loan's page or a page of its own; and ask for it."""
    if request.method == "POST":
        refusals = (releases.UnableToAsk,)
        return acts.perform(request, _mine(request), pk, _ask, refusals=refusals, again=_page)
    loan = get_object_or_404(_mine(request), pk=pk)
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/release.html", _shown(request, loan))
    return _page(request, loan)


def _mine(request: HttpRequest) -> QuerySet[Loan]:
    mine = Loan.objects.filter(client__in=staff.clients(request))
    return mine.select_related("client", "margin_account__client")


def _shown(request: HttpRequest, loan: Loan) -> dict[str, Any]:
    """Return what is pledged, where it may go, and the requests that wait."""
    now = staff.now(request)
    held = Pledge.objects.filter(margin_account=loan.margin_account_id, quantity__gt=0).select_related("asset")
    allowed = list(allow_list.standing(loan.client))
    return {
        "now": now,
        "addresses": allowed,
        "usable": [row for row in allowed if row.usable_at <= now],
        "assets": allow_list.assets(loan.client),
        "addresses_asked": allow_list.waiting(loan.client, now=now),
        "loan": loan,
        "pledges": list(held.order_by("asset__code")),
        "waiting": releases.waiting(loan.margin_account),
        "exchange": substitutions.of_account(loan.margin_account, open_only=True),
    }


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    """Show the form as a page; after a refusal with its words and with what was typed."""
    frame = {**admin.site.each_context(request), "title": "Send collateral back", "refusal": refusal}
    context = {**frame, **_shown(request, loan), "typed": request.POST}
    return TemplateResponse(request, "admin/release_page.html", context, status=422 if refusal else 200)


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


def allow(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for an address of a loan's client to be allowed."""
    return acts.perform(request, _mine(request), pk, _allow, refusals=(allow_list.UnableToAllow,), again=_page)


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
    return acts.perform(request, _mine(request), pk, _revoke, refusals=(allow_list.UnableToAllow,))


def _revoke(request: HttpRequest, loan: Loan, now: datetime) -> str:
    row = allow_list.standing(loan.client).filter(pk=key_of(request.POST.get("row", ""))).first()
    if row is None:
        raise allow_list.UnableToAllow("it is not on the list")
    by: Any = request.user
    allow_list.revoke(row, by=by, now=now)
    return "Struck off: nothing is sent there any more, but what has left already."


_site: Any = admin.site
_site.add_page(Page("addresses/<int:pk>/", "risk_allow", allow, allow_list.ASKERS, "risk"))
_site.add_page(Page("addresses/<int:pk>/revoke/", "risk_revoke", revoke, allow_list.ASKERS, "risk"))
_site.add_page(Page("releases/<int:pk>/", "risk_release", release, releases.ASKERS, "risk"))

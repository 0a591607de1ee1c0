"""A loan in default, on its page: what its collateral would have to bring, and the request to sell it."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from lending import staff
from lending.admin import acts
from lending.admin.base import SEE_CLIENTS
from lending.models import Loan
from lending.staff import Page, roles
from risk import default_sales


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the place to which a default is fetched, with what is sold for it; nothing for a loan without one."""
    if not default_sales.may_be_sold(subject, now=now):
        return SafeString("")
    return render_to_string("admin/default_place.html", {"loan": subject}, request=request)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a loan's default and what is sold for it, and ask the head of risk: a page, or the part of the loan's."""
    if request.method == "POST":
        return acts.perform(request, _seen(request), pk, _ask, refusals=(default_sales.UnableToSell,), again=_page)
    return _page(request, get_object_or_404(_seen(request), pk=pk))


def _seen(request: HttpRequest) -> QuerySet[Loan]:
    mine = Loan.objects.filter(client__in=staff.clients(request))
    return mine.select_related("client", "asset")


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    facts = _facts(request, loan, staff.now(request)) | {"refusal": refusal, "typed": request.POST}
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/default_sale.html", facts)
    frame = {**admin.site.each_context(request), "title": "Sell for its default", **facts}
    return TemplateResponse(request, "admin/default_sale_page.html", frame, status=422 if refusal else 200)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    row = default_sales.default_of(loan)
    cause = next(iter(default_sales.of_accounts([loan.margin_account_id] if row else [])), None)
    why_not = default_sales.why_not(loan, row, cause)
    asked = default_sales.waiting(loan, now=now) if not why_not else None
    return {
        "loan": loan,
        "now": now,
        "asset": loan.asset.code,
        "row": row,
        "cause": cause if cause and cause.loan_id == loan.pk else None,
        "why_not": why_not,
        "asked": asked,
        "reason_length": default_sales.REASON_LENGTH,
        "may": not why_not and asked is None and bool(roles(request) & default_sales.ASKERS),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    default_sales.ask(loan, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for the head of risk."


_site: Any = admin.site
_site.add_page(Page("defaults/<int:pk>/", "risk_default_sale", page, SEE_CLIENTS, "risk"))

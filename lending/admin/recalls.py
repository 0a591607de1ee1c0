"""How a loan without a fixed end is ended from the desk: one person asks for the notice, another gives it."""

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

from lending import recalls, staff
from lending.admin import acts
from lending.models import Loan, LoanState
from lending.staff import Page, roles

_ASKED = "Asked: it waits on the page Approvals for a second person."


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return how a running loan ends that has no fixed end, with the form that asks for it; nothing for others."""
    if subject.has_fixed_end or subject.state not in (LoanState.ACTIVE, LoanState.RECALLED):
        return SafeString("")
    return render_to_string("admin/recall.html", _facts(request, subject, now), request=request)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show how a loan ends, and ask for its notice or for taking that back."""
    if request.method == "POST":
        return acts.perform(request, _seen(request), pk, _ask, refusals=(recalls.UnableToRecall,), again=_page)
    return _page(request, get_object_or_404(_seen(request), pk=pk))


def _seen(request: HttpRequest) -> QuerySet[Loan]:
    return Loan.objects.filter(client__in=staff.clients(request)).select_related("client", "asset")


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    facts = _facts(request, loan, staff.now(request)) | {"refusal": refusal, "typed": request.POST}
    frame = {**admin.site.each_context(request), "title": "How it ends", **facts}
    return TemplateResponse(request, "admin/recall_page.html", frame, status=422 if refusal else 200)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    asked = recalls.waiting(loan, now=now)
    runs = not loan.has_fixed_end and loan.state == LoanState.ACTIVE
    given = loan.events.filter(to_state=LoanState.RECALLED).select_related("actor").order_by("-pk")
    return {
        "loan": loan,
        "now": now,
        "asked": asked,
        "runs": runs,
        "would_end_on": recalls.end_date(loan, now=now) if runs else None,
        "step": given.first() if loan.ends_on else None,
        "may": asked is None and bool(roles(request) & recalls.ASKERS),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    ask = recalls.ask_to_keep if request.POST.get("act") == "keep" else recalls.ask
    ask(loan, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return _ASKED


_site: Any = admin.site
_site.add_page(Page("recalls/<int:pk>/", "lending_recall", page, recalls.ASKERS, "lending"))

"""What a sale left unpaid of a loan: what came back, and the request to give the rest up."""

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

from lending import staff, workouts
from lending.admin import acts
from lending.models import Loan, LoanState
from lending.staff import Page, roles


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return what is unpaid of a loan after a loss, with the form that asks to give it up; nothing for others."""
    if subject.state not in (*workouts.BROKEN, LoanState.RECOVERED):
        return SafeString("")
    return render_to_string("admin/workout.html", _facts(request, subject, now), request=request)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what is unpaid of a loan after a loss, and ask to give it up."""
    if request.method == "POST":
        return acts.perform(request, _seen(request), pk, _ask, refusals=(workouts.UnableToWriteOff,), again=_page)
    return _page(request, get_object_or_404(_seen(request), pk=pk))


def _seen(request: HttpRequest) -> QuerySet[Loan]:
    return Loan.objects.filter(client__in=staff.clients(request)).select_related("client", "asset")


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    facts = _facts(request, loan, staff.now(request)) | {"refusal": refusal, "typed": request.POST}
    frame = {**admin.site.each_context(request), "title": "What a sale left unpaid", **facts}
    return TemplateResponse(request, "admin/workout_page.html", frame, status=422 if refusal else 200)


def _facts(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    asked = workouts.waiting(loan, now=now)
    return {
        "loan": loan,
        "now": now,
        "asset": loan.asset.code,
        "loss": workouts.loss_of(loan),
        "recoveries": workouts.recoveries(loan),
        "asked": asked,
        "open": loan.state in workouts.BROKEN,
        "may": asked is None and loan.state in workouts.BROKEN and bool(roles(request) & workouts.ASKERS),
    }


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    closes = request.POST.get("act") == "close"
    workouts.ask(loan, closes=closes, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for the head of the desk or of risk."


_site: Any = admin.site
_site.add_page(Page("workouts/<int:pk>/", "lending_workout", page, workouts.ASKERS, "lending"))

"""Stopping a margin account and setting it free: on the loan's page, for risk and compliance."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from lending import access, freezes, staff
from lending.admin import acts
from lending.models import Loan
from lending.staff import Page, roles


def form(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the form that stops a loan's account, or asks to set it free; for others only that it is frozen."""
    context = _shown(request, subject, now)
    if context["freeze"] is None and not context["may"]:
        return SafeString("")
    return render_to_string("admin/freeze.html", context, request=request)


def _shown(request: HttpRequest, loan: Loan, now: datetime) -> dict[str, Any]:
    row = freezes.current(loan.margin_account) if loan.margin_account.frozen else None
    asked = freezes.waiting(row, now=now) if row else None
    return {"loan": loan, "freeze": row, "asked": asked, "may": bool(roles(request) & freezes.FREEZERS)}


def _page(request: HttpRequest, loan: Loan, refusal: str) -> HttpResponse:
    """Show the form as a page after a refusal, with its words and with what was typed."""
    frame = {**admin.site.each_context(request), "title": "Freeze", "refusal": refusal, "typed": request.POST}
    context = {**frame, **_shown(request, loan, staff.now(request))}
    return TemplateResponse(request, "admin/freeze_page.html", context, status=422)


def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Freeze the account of a loan."""
    return acts.perform(request, _mine(request), pk, _stop, refusals=(freezes.UnableToFreeze,), again=_page)


def lift(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask a second person to set the account of a loan free."""
    return acts.perform(request, _mine(request), pk, _ask, refusals=(freezes.UnableToFreeze,), again=_page)


def _mine(request: HttpRequest) -> Any:
    mine = Loan.objects.filter(client__in=access.clients_for(request.user))
    return mine.select_related("margin_account__client")


def _stop(request: HttpRequest, loan: Loan, now: datetime) -> str:
    by: Any = request.user
    freezes.freeze(loan.margin_account, reason=request.POST.get("reason", ""), by=by, now=now)
    return "Frozen: nothing is drawn, released or sold, and the clocks stand still. Cures go through."


def _ask(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    freezes.ask_to_lift(loan.margin_account, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person of risk."


_site: Any = admin.site
_site.add_page(Page("freezes/<int:pk>/", "risk_freeze", stop, freezes.FREEZERS, "risk"))
_site.add_page(Page("freezes/<int:pk>/lift/", "risk_lift", lift, freezes.FREEZERS, "risk"))

"""Draws of a revolving line: proposed by the client's manager, checked at the marks of now and paid by operations."""

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

from lending import access, draws, loans, staff, withdrawals
from lending.admin import acts
from lending.models import Draw, Loan, Role
from lending.permits import UnableToVerify
from lending.staff import Page, roles
from lending.typed import Figure, first_error
from risk import permits

_SHOWN = 20
_MAY = draws.ASKERS | {Role.OPERATIONS}
_REFUSALS = (
    draws.UnableToDraw,
    loans.UnableToMove,
    permits.UnableToPermit,
    UnableToVerify,
    withdrawals.UnableToWithdraw,
)


class DrawForm(forms.Form):
    """How much of a line is to be paid out."""

    amount = Figure(max_digits=38, decimal_places=18)


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return the place of a line's draws on its loan's page, which fetches them by itself; nothing for others."""
    if not subject.is_line or subject.start_at is None or not roles(request) & _MAY:
        return SafeString("")
    return render_to_string("admin/draws_part.html", {"loan": subject}, request=request)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a line's draws, as a part of its loan's page or a page of its own; ask for one, drop it, pay it out."""
    if request.method == "POST":
        return acts.perform(request, _mine(request), pk, _act, refusals=_REFUSALS, again=_page)
    loan = get_object_or_404(_mine(request), pk=pk)
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/draws.html", _shown(request, loan))
    return _page(request, loan)


def _mine(request: HttpRequest) -> QuerySet[Loan]:
    mine = Loan.objects.filter(client__in=staff.clients(request))
    return mine.select_related("client", "asset", "margin_account")


def _shown(request: HttpRequest, loan: Loan) -> dict[str, Any]:
    rows = list(loan.draws.select_related("asked_by").order_by("-pk")[:_SHOWN])
    held = roles(request)
    return {
        "loan": loan,
        "asset": loan.asset.code,
        "available": draws.available(loan),
        "rows": rows,
        "waits": next((row for row in rows if row.state in (Draw.State.PROPOSED, Draw.State.REQUESTED)), None),
        "asks": bool(held & draws.ASKERS),
        "pays": Role.OPERATIONS in held,
    }


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    frame = {**admin.site.each_context(request), "title": "Draws", "refusal": refusal, "typed": request.POST}
    context = {**frame, **_shown(request, loan)}
    return TemplateResponse(request, "admin/draws_page.html", context, status=422 if refusal else 200)


def _act(request: HttpRequest, loan: Loan, now: datetime) -> str:
    actor: Any = request.user
    act = request.POST.get("act", "ask")
    if act == "ask":
        access.require_role(actor, *draws.ASKERS)
        form = DrawForm(request.POST)
        if not form.is_valid():
            raise draws.UnableToDraw(first_error(form))
        draws.ask(loan, form.cleaned_data["amount"], by=actor, now=now)
        return "Proposed: once the client has signed it, operations check the collateral and pay it out."
    if act == "drop":
        draws.drop_waiting(loan, by=actor, now=now)
        return "Dropped."
    access.require_role(actor, Role.OPERATIONS)
    waits = draws.signed(loan)
    permit = permits.issue_draw(loan.margin_account, loan.asset, waits.amount, now=now)
    draws.pay_out(waits, permit=permit, actor=actor, now=now)
    where = "is on its way to the client's address" if loan.payout_address else "lies in the client's free balance"
    return f"Paid out: the collateral holds at the marks of now, and the money {where}."


_site: Any = admin.site
_site.add_page(Page("draws/<int:pk>/", "risk_draws", page, _MAY, "risk"))

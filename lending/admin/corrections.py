"""Putting a loan's past right: a payment that nobody recorded, or one that was none; one asks, another agrees."""

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

from lending import corrections, recoveries, replays, staff, waivers, workouts
from lending.admin import acts
from lending.admin.base import SEE_CLIENTS, Lines, Table
from lending.models import LOSS_TAKEN, Approval, Correction, Loan, Repayment, SplitChange
from lending.staff import Page, roles
from lending.typed import Figure, Instant, first_error, key_of

_FORMATS = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S")
_CAUSES = [(cause.value, cause.label) for cause in (Correction.Cause.WRONG, Correction.Cause.BOUNCED)]


class PaymentForm(forms.Form):
    """A payment that counts from an instant in the past, in UTC."""

    amount = Figure(max_digits=38, decimal_places=18)
    received_at = Instant(input_formats=_FORMATS)


@require_http_methods(["GET", "HEAD"])
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a loan's payments as they stand, what was corrected, and the forms that ask for more of it."""
    return _page(request, get_object_or_404(_seen(request), pk=pk))


def add(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for a payment of the past to be recorded."""
    return acts.perform(request, _seen(request), pk, _add, refusals=(corrections.UnableToCorrect,), again=_page)


def take_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for a payment to be taken back."""
    return acts.perform(request, _seen(request), pk, _take_back, refusals=(corrections.UnableToCorrect,), again=_page)


def take_back_recovery(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for what was paid of a loss to be taken back."""
    refusals = (corrections.UnableToCorrect,)
    return acts.perform(request, _seen(request), pk, _take_back_recovery, refusals=refusals, again=_page)


def waive(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for what a prepayment cost to be waived."""
    return acts.perform(request, _seen(request), pk, _waive, refusals=(corrections.UnableToCorrect,), again=_page)


def foreseen(request: HttpRequest, subject: Approval, *, now: datetime) -> SafeString:
    """Return what a correction that is asked for would change, each payment before and after; nothing for others."""
    if subject.kind not in corrections.KINDS or subject.state != Approval.State.REQUESTED:
        return SafeString("")
    found = corrections.foreseen(subject)
    # The request itself is shown to who sees its client.
    if not found or any(loan.client_id != subject.client_id for loan, _ in found):
        return SafeString("")
    return render_to_string("admin/correction_foreseen.html", {"found": found, "now": now}, request=request)


def _seen(request: HttpRequest) -> QuerySet[Loan]:
    return Loan.objects.filter(client__in=staff.clients(request)).select_related("client", "asset")


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    now = staff.now(request)
    paid = replays.as_they_stand(loan)
    made = loan.corrections.select_related("maker", "checker", "repayment").order_by("-recorded_at", "-pk")
    return TemplateResponse(
        request,
        "admin/corrections.html",
        {
            **admin.site.each_context(request),
            "title": "Put the past right",
            "loan": loan,
            "asset": loan.asset.code,
            "now": now,
            "payments": paid,
            "corrections": made,
            "waiting": [*corrections.waiting(loan, now=now), *recoveries.waiting(loan, now=now)],
            "asks": bool(roles(request) & corrections.ASKERS),
            "may": bool(roles(request) & corrections.ASKERS) and loan.state in corrections.CORRECTED,
            "may_take_back": bool(roles(request) & corrections.ASKERS) and loan.state in corrections.TAKEN_BACK,
            "causes": _CAUSES,
            "recovered": workouts.recoveries(loan) if loan.state in LOSS_TAKEN else [],
            "cost": [(row, part) for row, part, gone in paid if part.make_whole and not gone],
            "refusal": refusal,
            "typed": {request.resolver_match.url_name: request.POST} if request.resolver_match else {},  # by its form
        },
        status=422 if refusal else 200,
    )


def _add(request: HttpRequest, loan: Loan, now: datetime) -> str:
    asked = PaymentForm(request.POST)
    if not asked.is_valid():
        raise corrections.UnableToCorrect(first_error(asked))
    maker: Any = request.user
    corrections.ask_payment(
        loan,
        asked.cleaned_data["amount"],
        received_at=asked.cleaned_data["received_at"],
        reason=request.POST.get("reason", ""),
        maker=maker,
        now=now,
    )
    return "Asked: it waits on the page Approvals for a second person, who sees there what it would change."


def _take_back(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    cause, reason = request.POST.get("cause", ""), request.POST.get("reason", "")
    corrections.ask_reversal(_chosen(request, loan), cause=cause, reason=reason, maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person, who sees there what it would change."


def _take_back_recovery(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    entry, cause = key_of(request.POST.get("recovery", "")), request.POST.get("cause", "")
    recoveries.ask(loan, entry, cause=cause, reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for a second person."


def _waive(request: HttpRequest, loan: Loan, now: datetime) -> str:
    maker: Any = request.user
    waivers.ask(_chosen(request, loan), reason=request.POST.get("reason", ""), maker=maker, now=now)
    return "Asked: it waits on the page Approvals for the head of the desk or of risk."


def _chosen(request: HttpRequest, loan: Loan) -> Repayment:
    payment: Repayment | None = loan.repayments.filter(pk=key_of(request.POST.get("payment", ""))).first()
    if payment is None:
        raise corrections.UnableToCorrect("choose one of the loan's payments")
    return payment


class Changes(Lines):
    model = SplitChange
    verbose_name_plural = "What each payment pays more, or less"
    fields = readonly_fields = (
        "repayment",
        "amount",
        "fees",
        "interest",
        "principal",
        "surplus",
        "make_whole",
        "entry",
    )
    units = dict.fromkeys(
        ("amount", "fees", "interest", "principal", "surplus", "make_whole"), "correction__loan__asset"
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        named = ("correction__loan__asset", "repayment", "entry")
        return super().get_queryset(request).select_related(*named).order_by("repayment__received_at", "pk")


@admin.register(Correction)
class CorrectionAdmin(Table):
    client_path = "client"
    units = {"interest": "loan__asset"}
    list_display = ("kind", "client", "loan", "cause", "effective_at", "interest", "by")
    list_filter = ("kind", "cause")
    search_fields = ("client__name", "loan__public_id")
    list_reads = ("loan__asset", "maker", "checker")
    ordering = ("-recorded_at", "-pk")
    inlines = (Changes,)


_site: Any = admin.site
_site.add_page(Page("corrections/<int:pk>/", "lending_corrections", page, SEE_CLIENTS, "lending"))
_site.add_page(Page("corrections/<int:pk>/add/", "lending_correction_add_payment", add, corrections.ASKERS, "lending"))
_site.add_page(Page("corrections/<int:pk>/take-back/", "lending_take_back", take_back, corrections.ASKERS, "lending"))
_back = Page(
    "corrections/<int:pk>/recovery/", "lending_take_back_recovery", take_back_recovery, corrections.ASKERS, "lending"
)
_site.add_page(_back)
_site.add_page(Page("corrections/<int:pk>/waive/", "lending_waive", waive, corrections.ASKERS, "lending"))

"""Conditional credit: which transfers count before they are final, by policies that two persons begin and end."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import staff
from lending.admin.base import SEE_CLIENTS
from lending.models import Asset
from lending.staff import Page, roles
from lending.typed import Figure
from risk import credit_policies
from risk.credit_policies import UnableToSetPolicy
from risk.models import ConditionalCredit, CreditPolicy

_HUNDRED, _MINUTE_S = Decimal(100), 60
_NEWEST = 20


class PolicyForm(forms.Form):
    """A policy: how much counts of which asset, from which confirmation on, up to what, how long, and why."""

    asset = forms.ModelChoiceField(
        queryset=Asset.objects.annotate(needed=Max("networks__confirmations")).filter(needed__gt=1).order_by("code"),
        to_field_name="code", empty_label=None,
    )  # fmt: skip
    share = Figure(label="Share that counts, %", max_digits=9, decimal_places=4)
    min_confirmations = forms.IntegerField(label="From this confirmation on")
    cap_usd = Figure(label="At most, USD for one call", max_digits=20, decimal_places=2)
    minutes = forms.IntegerField(label="For at most, minutes", help_text="Then it counts no more until it is final.")
    reason = forms.CharField(label="Why", max_length=240)
    start_at = forms.DateTimeField(
        label="From, UTC", required=False, help_text="Empty: as soon as a second person agrees.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
    )  # fmt: skip

    def clean_start_at(self) -> datetime | None:
        """Return the instant in UTC, in which it was asked for."""
        at: datetime | None = self.cleaned_data["start_at"]
        return at.replace(tzinfo=UTC) if at else None


class EndForm(forms.Form):
    """Which policy ends, and why."""

    policy = forms.ModelChoiceField(
        queryset=CreditPolicy.objects.filter(end_at=None).select_related("asset").order_by("asset__code"),
        empty_label=None,
    )
    reason = forms.CharField(label="Why", max_length=240)


@require_http_methods(["GET", "HEAD", "POST"])
def conditional_credit_page(request: HttpRequest) -> HttpResponse:
    """Show the policies and what counted by them, and ask for one to begin or to end, as risk."""
    now = staff.now(request)
    may = bool(roles(request) & credit_policies.MAKERS)
    act = request.POST.get("act") if request.method == "POST" else None
    if act and not may:
        raise PermissionDenied
    policy = PolicyForm(request.POST if act == "policy" else None, auto_id="policy_%s")
    end = EndForm(request.POST if act == "end" else None, auto_id="end_%s")
    asked = policy if act == "policy" else end
    if act and asked.is_valid() and _asked(request, asked):
        messages.success(request, "Asked: it waits on the page Approvals for a second person.")
        return HttpResponseRedirect(reverse("admin:risk_conditional_credit"))
    rows = list(
        CreditPolicy.objects.select_related("asset", "maker", "checker", "end_maker", "end_checker")
        .order_by("-start_at", "-pk")
    )  # fmt: skip
    counted = ConditionalCredit.objects.select_related("client", "deposit__asset", "call").filter(
        client__in=staff.clients(request)
    )
    frame = {
        **admin.site.each_context(request), "title": "Conditional credit", "now": now, "rows": rows,
        "waiting": credit_policies.waiting(now=now), "counted": counted.order_by("-begun_at", "-pk")[:_NEWEST],
        "policy_form": policy if may else None,
        "end_form": end if may and any(row.end_at is None for row in rows) else None,
    }  # fmt: skip
    return TemplateResponse(request, "admin/conditional_credit.html", frame, status=422 if act else 200)


def _asked(request: HttpRequest, form: forms.Form) -> bool:
    """Ask for what a valid form says; a refusal becomes the form's own error."""
    said, now = dict(form.cleaned_data), staff.now(request)
    maker: Any = request.user
    try:
        if isinstance(form, EndForm):
            credit_policies.ask_end(said["policy"], reason=said["reason"], maker=maker, now=now)
        else:
            said["start_at"] = said["start_at"] or now
            said["share"] /= _HUNDRED
            said["wait_s"] = said.pop("minutes") * _MINUTE_S
            credit_policies.ask(**said, maker=maker, now=now)
    except UnableToSetPolicy as refusal:
        form.add_error(None, f"Not asked: {refusal}.")
        return False
    return True


_site: Any = admin.site
_site.add_page(
    Page(
        "conditional-credit/", "risk_conditional_credit", conditional_credit_page, SEE_CLIENTS, "risk",
        title="Conditional credit",
    )
)  # fmt: skip

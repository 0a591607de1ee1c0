"""Conditional credit: which transfers count before they are final, by policies that two persons begin and end."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Max
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import staff
from lending.admin.asking import Asking
from lending.admin.base import SEE_CLIENTS
from lending.models import Asset
from lending.staff import Page
from lending.typed import Figure, Instant
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
    start_at = Instant(
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
    asking = Asking(request, "policy", PolicyForm, EndForm, makers=credit_policies.MAKERS)
    if asking.done(_ask, _ask_end, refusal=UnableToSetPolicy):
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
        "policy_form": asking.begin, "end_form": asking.end if any(row.end_at is None for row in rows) else None,
    }  # fmt: skip
    return TemplateResponse(request, "admin/conditional_credit.html", frame, status=422 if asking.act else 200)


def _ask(said: dict[str, Any], maker: Any, now: datetime) -> object:
    said["start_at"] = said["start_at"] or now
    said["share"] /= _HUNDRED
    said["wait_s"] = said.pop("minutes") * _MINUTE_S
    return credit_policies.ask(**said, maker=maker, now=now)


def _ask_end(said: dict[str, Any], maker: Any, now: datetime) -> object:
    return credit_policies.ask_end(said["policy"], reason=said["reason"], maker=maker, now=now)


_site: Any = admin.site
_site.add_page(
    Page(
        "conditional-credit/", "risk_conditional_credit", conditional_credit_page, SEE_CLIENTS, "risk",
        title="Conditional credit",
    )
)  # fmt: skip

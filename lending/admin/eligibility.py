"""What may be offered to whom: rules with their dates, what they say of one case, and the forms that change them."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from lending import eligibility, staff
from lending.admin.asking import Asking
from lending.admin.base import SEE_CLIENTS
from lending.dated_rules import MOST, UnableToRule
from lending.models import Client, EligibilityRule, Product
from lending.staff import Page
from lending.typed import Country, Day

_ANY = ("", "any classification")


class CaseForm(forms.Form):
    """Of which clients and which product something is to be said; empty means any."""

    jurisdiction = Country(label="Country", required=False, help_text="Its name, or its ISO 3166 code; empty: any.")
    classification = forms.ChoiceField(required=False, choices=[_ANY, *Client.Classification.choices])
    product = forms.ModelChoiceField(
        required=False, queryset=Product.objects.order_by("name"), to_field_name="code", empty_label="every product"
    )


class RuleForm(CaseForm):
    """A rule: of whom, whether they are allowed or refused, why, and from when on."""

    allowed = forms.TypedChoiceField(
        label="Says", choices=[("yes", "allowed"), ("no", "refused")], coerce=lambda said: said == "yes"
    )
    reason = forms.CharField(label="Why", max_length=MOST, help_text="Clients are told it with a refusal.")
    start_date = Day(label="From")


class TryForm(CaseForm):
    """One case: a country, a classification and a product."""

    jurisdiction = Country(label="Country")
    product = forms.ModelChoiceField(queryset=Product.objects.order_by("name"), to_field_name="code", empty_label=None)


class EndForm(forms.Form):
    """Which rule ends, when, and why."""

    rule = forms.ModelChoiceField(
        queryset=EligibilityRule.objects.filter(end_date=None).select_related("product").order_by("pk")
    )
    end_date = Day(label="From this day on it no longer holds")
    reason = forms.CharField(label="Why", max_length=MOST)


@require_http_methods(["GET", "HEAD", "POST"])
def eligibility_page(request: HttpRequest) -> HttpResponse:
    """Show the rules, say what they come to for one case, and ask for one to begin or to end, as compliance."""
    now = staff.now(request)
    initial = {"start_date": now.date()}
    asking = Asking(request, "rule", RuleForm, EndForm, makers=eligibility.RULES.makers, initial=initial)
    if asking.done(_ask, _ask_end, refusal=UnableToRule):
        return HttpResponseRedirect(reverse("admin:lending_eligibility"))
    tried = TryForm(request.GET if "product" in request.GET else None)
    rows = EligibilityRule.objects.select_related("product", "maker", "checker", "end_maker", "end_checker")
    frame = {
        **admin.site.each_context(request), "title": "Eligibility", "today": now.date(),
        "rows": rows.order_by("jurisdiction", "classification", "-start_date", "pk"),
        "waiting": eligibility.RULES.waiting(now=now), "rule_form": asking.begin, "end_form": asking.end,
        "try_form": tried, "verdict": _verdict(tried, now) if tried.is_valid() else None,
    }  # fmt: skip
    wrong = asking.act or tried.errors
    return TemplateResponse(request, "admin/eligibility.html", frame, status=422 if wrong else 200)


def _ask(said: dict[str, Any], maker: Any, now: datetime) -> object:
    return eligibility.ask(**said, maker=maker, now=now)


def _ask_end(said: dict[str, Any], maker: Any, now: datetime) -> object:
    return eligibility.RULES.ask_end(said["rule"], on=said["end_date"], reason=said["reason"], maker=maker, now=now)


def _verdict(form: forms.Form, now: Any) -> dict[str, Any]:
    """Return what the rules of today say of a case, and in which words a refusal is told."""
    said = form.cleaned_data
    client = Client(jurisdiction=said["jurisdiction"], classification=said["classification"])
    why = eligibility.refusal(eligibility.in_force(on=now.date()), client, said["product"])
    return {"allowed": not why, "why": why, "product": said["product"]}


_site: Any = admin.site
_site.add_page(
    Page("eligibility/", "lending_eligibility", eligibility_page, SEE_CLIENTS, "lending", title="Eligibility")
)
